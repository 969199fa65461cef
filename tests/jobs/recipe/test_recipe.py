"""Recipes: what is accepted, what is said about the rest, and the round trip through YAML."""

from pathlib import Path

import pytest
import yaml

from whisperslim import methods
from whisperslim.errors import RecipeError, UsageError
from whisperslim.fields import FieldSpec
from whisperslim.jobs.recipe.paths import with_absolute_paths
from whisperslim.jobs.recipe.recipe import (
    Recipe,
    dotted_defaults,
    dotted_specs,
    dotted_values,
    from_mapping,
    load_recipe,
    to_yaml,
    with_values,
)

ROOT = Path(__file__).parents[3]
MINIMAL = {"name": "r", "data": {"train": ["a#train"], "test": ["a#test"]}}


def problems_of(mapping: dict) -> dict[str, str]:
    with pytest.raises(RecipeError) as caught:
        from_mapping(mapping)
    return caught.value.problems


def test_missing_keys_take_the_defaults_of_their_own_section() -> None:
    recipe = from_mapping(MINIMAL)
    assert recipe.method == "sgl"
    assert recipe.options == methods.get("sgl").options()
    assert recipe.train.steps == 200
    assert recipe.recover.steps == 0  # recovery is off unless asked for, training is not


def test_round_trip_through_yaml_is_equal() -> None:
    given = {
        **MINIMAL,
        "method": {"name": "sgl", "lambda_group_encoder": 3, "form": "squared"},
        "train": {"learning_rate": 1e-6, "freeze_encoder": True},
        "target": {"removed": 0.25},
        "language": "hi",
        "evaluate": {"window": "30s"},
    }
    recipe = from_mapping(given)
    assert from_mapping(yaml.safe_load(to_yaml(recipe))) == recipe


def test_yaml_is_complete() -> None:
    written = yaml.safe_load(to_yaml(from_mapping(MINIMAL)))
    keys = {f"{s}.{k}" for s, v in written.items() if isinstance(v, dict) for k in v}
    assert keys | {"name", "model", "language"} == set(dotted_specs("sgl"))


def test_all_problems_are_reported_at_once_by_dotted_name() -> None:
    found = problems_of(
        {
            **MINIMAL,
            "naem": "x",
            "method": {"name": "sgl", "lambda_group_encodr": 2.0, "form": "cubic"},
            "train": {"steps": -1, "batch_size": "many"},
            "runtime": {"threads": 1.5},
            "augment": [1],
        }
    )
    assert set(found) == {
        "naem",
        "method.lambda_group_encodr",
        "train.steps",
        "train.batch_size",
        "runtime.threads",
        "augment",
        "method.form",
    }
    assert "did you mean name?" in found["naem"] and "runtime" in found["naem"]
    assert "did you mean lambda_group_encoder?" in found["method.lambda_group_encodr"]
    assert "proximal" in found["method.form"]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"data": {"train": []}}, "data.train"),
        ({"data": {"train": ["a"], "test": ["a"]}}, "data.test"),
        ({"data": {"train": ["a"], "dev": ["b"], "test": ["b"]}}, "data.test"),
        ({"data": {"train": ["a"], "dev": ["a"]}}, "data.dev"),
        ({"data": {"train": ["a"], "dev_fraction": 0.0}}, "data.dev_fraction"),
        ({"target": {"removed": 0.6, "zeroed": 0.5}}, "target.zeroed"),
        ({"runtime": {"precision": "fp16"}}, "runtime.precision"),
        ({"method": "none"}, "target.removed"),
        ({"train": {"patience": 2}}, "train.patience"),
        ({"train": {"take": "best"}}, "train.take"),
        ({"recover": {"steps": 5, "take": "best", "evaluate_every": 0}}, "recover.take"),
        ({"recover": {"steps": 5, "patience": 1, "evaluate_every": 0}}, "recover.patience"),
        ({"prepare": {"steps": 5, "take": "best", "evaluate_every": 0}}, "prepare.take"),
        ({"method": "magic"}, "method.name"),
        ({"method": ["sgl"]}, "method"),
        ({"name": "../up"}, "name"),
        ({"name": 7}, "name"),
        ({"model": ""}, "model"),
        ({"language": False}, "language"),  # what YAML makes of `language: no`
    ],
)
def test_what_is_refused(change: dict, name: str) -> None:
    assert set(problems_of({**MINIMAL, **change})) == {name}


def test_no_dev_set_is_fine_when_nothing_looks_at_one() -> None:
    data = {"train": ["a"], "dev_fraction": 0.0}
    recipe = from_mapping({"data": data, "train": {"evaluate_every": 0}})
    assert recipe.data.dev == ()


def test_bisection_needs_a_dev_set_before_any_work_is_done() -> None:
    mapping = {
        "data": {"train": ["a"], "dev_fraction": 0.0},
        "train": {"evaluate_every": 0},
        "method": {"name": "sgl", "prune": "bisection"},
    }
    assert set(problems_of(mapping)) == {"data.dev_fraction"}


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    text = "data: {train: a#train}\ntrain: {learning_rate: 3e-5}\n"
    loaded = yaml.safe_load(text)
    assert loaded["train"]["learning_rate"] == "3e-5"
    recipe = from_mapping(loaded)
    assert recipe.train.learning_rate == 3e-5
    assert recipe.data.train == ("a#train",)


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_overrides_are_read_in_the_type_of_their_key(tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump(MINIMAL))
    recipe = load_recipe(
        path,
        [
            "name=5",
            "train.steps=7",
            "train.learning_rate=1e-4",
            "train.freeze_encoder=true",
            "data.train=x#train, y",
            "data.dev=[]",
            "method.rounds=3",
        ],
    )
    assert (recipe.name, recipe.train.steps, recipe.options.rounds) == ("5", 7, 3)
    assert recipe.train.learning_rate == 1e-4 and recipe.train.freeze_encoder is True
    assert recipe.data.train == ("x#train", "y") and recipe.data.dev == ()


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("a#train", ("a#train",)),
        ("a#train,b#train", ("a#train", "b#train")),
        ("[a#train,b#train]", ("a#train", "b#train")),
        ("[a#train, 'my data#train']", ("a#train", "my data#train")),
        ('["a#train"]', ("a#train",)),
        ('["a#train","b, c#train"]', ("a#train", "b, c#train")),
        ('"a#train", "b#train"', ("a#train", "b#train")),
        ("[no, 1, 2024-01-01, ~/x]", ("no", "1", "2024-01-01", "~/x")),
        ("hub:a/b:hi#train[:9],c", ("hub:a/b:hi#train[:9]", "c")),
        ('["hub:a/b:hi#train[:9]"]', ("hub:a/b:hi#train[:9]",)),
        ("a#train,", ("a#train",)),
    ],
)
@pytest.mark.parametrize("name", ["train", "dev", "test"])
def test_lists_are_typed_with_commas_or_as_yaml_and_json(
    text: str, entries: tuple[str, ...], name: str, tmp_path: Path
) -> None:
    others = {"data": {other: [f"{other} set"] for other in ("train", "test") if other != name}}
    recipe = load_recipe(write(tmp_path, yaml.safe_dump(others)), [f"data.{name}={text}"])
    assert getattr(recipe.data, name) == entries


@pytest.mark.parametrize("text", ["hi,mr", "[hi,mr]", '["hi", "mr"]'])
def test_languages_are_a_list_like_any_other(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump(MINIMAL))
    assert load_recipe(path, [f"vocabulary.languages={text}"]).vocabulary.languages == ("hi", "mr")


@pytest.mark.parametrize(
    "text",
    ['["a#train"', "[a#train", "a#train]", '"a#train', "[a,,b]", "[[a]]", "[a: b]", "[a #train]",
     "[a] b"],
)  # fmt: skip
def test_a_malformed_list_is_refused_with_what_is_accepted(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump(MINIMAL))
    with pytest.raises(RecipeError, match="is not a list; write a,b") as caught:
        load_recipe(path, [f"data.train={text}", f"data.test={text}", "train.steps=5"])
    assert set(caught.value.problems) == {"data.train", "data.test"}


@pytest.mark.parametrize("text", ["train.steps", "=3", "train.stepz=3", "train.steps=3.5", "a.b=1"])
def test_wrong_overrides_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        load_recipe(write(tmp_path, yaml.safe_dump(MINIMAL)), [text])


def test_another_method_brings_its_own_options(tmp_path: Path) -> None:
    mapping = {**MINIMAL, "method": {"name": "sgl", "rounds": 3}}
    path = write(tmp_path, yaml.safe_dump(mapping))
    off = ["method.name=none", "target.removed=0", "target.zeroed=0"]
    assert load_recipe(path, off).options == methods.get("none").options()
    values = {"method.name": "none", "target.removed": 0.0, "target.zeroed": 0.0}
    assert with_values(from_mapping(mapping), values).method == "none"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train: {steps: 1}\ntrain: {steps: 2}\n", "twice"),
        ("train: {steps: [}\n", "not valid YAML"),
        ("- 1\n", "not a recipe"),
        ("1: 2\n", "not text"),
        ("name: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
    ],
)
def test_files_that_are_no_recipes(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=says):
        load_recipe(write(tmp_path, text))


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="did you mean quick-demo"):
        load_recipe("quick-dem")


def test_with_values_changes_only_what_is_named() -> None:
    recipe = from_mapping(MINIMAL)
    changed = with_values(recipe, {"train.steps": 9, "method.k_w": 0.5})
    assert (changed.train.steps, changed.options.k_w) == (9, 0.5)
    assert with_values(changed, {"train.steps": 200, "method.k_w": 0.3}) == recipe


def test_specs_values_and_defaults_have_the_same_names() -> None:
    recipe = from_mapping(MINIMAL)
    specs = dotted_specs(recipe.method)
    assert list(specs) == list(dotted_values(recipe))
    assert set(specs) == set(dotted_defaults(recipe.method))
    assert all(isinstance(spec, FieldSpec) and spec.help for spec in specs.values())
    assert specs["method.name"].choices == methods.names()


def test_values_of_a_recipe_can_be_given_back() -> None:
    recipe = from_mapping({**MINIMAL, "train": {"steps": 5}})
    assert with_values(from_mapping(MINIMAL), dotted_values(recipe)) == recipe


def test_paths_become_absolute_from_here_or_from_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.tsv").write_text("path\ttext\n", encoding="utf-8")
    (tmp_path / "small-model").mkdir()
    (tmp_path / "x-0.tar").touch()
    archives = ["x-*.tar?text=said", "x-{0..1}.tar#train", "mdc:id#train?text=sentence"]
    data = {"train": ["assets/demo_hi#train", "mine.tsv", "hub:a/b#train"], "dev": archives}
    found = with_absolute_paths(from_mapping({"data": data, "model": "small-model"}))
    demo = f"{ROOT / 'assets' / 'demo_hi'}#train"
    assert found.data.train == (demo, str(tmp_path / "mine.tsv"), "hub:a/b#train")
    assert found.data.dev == (
        f"{tmp_path / 'x-*.tar'}?text=said", f"{tmp_path / 'x-{0..1}.tar'}#train", archives[2],
    )  # fmt: skip
    assert found.model == str(tmp_path / "small-model")


def test_data_that_is_not_there_is_reported_before_a_run_begins() -> None:
    recipe = from_mapping({"data": {"train": ["nowhere#train"], "test": ["assets/none"]}})
    with pytest.raises(RecipeError) as caught:
        with_absolute_paths(recipe)
    assert set(caught.value.problems) == {"data.train", "data.test"}


def test_a_recipe_made_in_code_is_checked_too() -> None:
    with pytest.raises(RecipeError):
        Recipe(name="x")


def test_dense_training_and_recovery_may_end_early_and_take_the_best() -> None:
    early = {"patience": 2, "take": "best"}
    nothing = {"removed": 0.0, "zeroed": 0.0}
    dense = {**MINIMAL, "method": "none", "target": nothing, "train": early}
    assert from_mapping(dense).train.patience == 2
    assert from_mapping({**MINIMAL, "recover": early}).recover.take == "best"
