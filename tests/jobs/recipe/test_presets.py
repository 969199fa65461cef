"""Every shipped recipe is valid, complete and commented."""

from pathlib import Path

import pytest
import yaml

from whisperslim.errors import UsageError
from whisperslim.jobs.recipe.paths import with_absolute_paths
from whisperslim.jobs.recipe.presets import (
    preset_names,
    preset_path,
    preset_summary,
)
from whisperslim.jobs.recipe.recipe import dotted_specs, from_mapping, load_recipe, to_yaml
from whisperslim.jobs.recipe.text import flatten, from_yaml
from whisperslim.machine.places import PRESETS

SHIPPED = {
    "quick-demo", "sgl-hindi", "sgl-paper", "dense-tuned", "gates-hindi", "gates-paper", "l0-hindi",
    "imp-baseline", "layerdrop-distil", "whisper-ctc-hindi",
    "pinching-ctc", "l0-conformer", "fisher-hindi", "any-depth-ctc",
}  # fmt: skip


def test_these_are_shipped() -> None:
    assert set(preset_names()) >= SHIPPED
    assert {path.suffix for path in PRESETS.iterdir()} == {".yaml"}


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_valid_and_carries_its_own_name(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert from_mapping(yaml.safe_load(to_yaml(recipe))) == recipe


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_names_every_key_so_that_there_is_nothing_to_look_up(name: str) -> None:
    mapping = from_yaml(preset_path(name))
    missing = set(dotted_specs(mapping["method"]["name"])) - set(flatten(mapping))
    assert not missing, f"{name}.yaml lacks {', '.join(sorted(missing))}"


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_commented(name: str) -> None:
    lines = preset_path(name).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ") and preset_summary(name) == lines[0][2:]
    assert sum("#" in line for line in lines) > 20
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("name", preset_names())
def test_the_dev_set_chooses_how_far_whisper_for_hindi_is_tuned(name: str) -> None:
    recipe = load_recipe(name)
    ours = recipe.head.kind == "own" and name not in {
        "quick-demo", "sgl-paper", "gates-paper", "l0-conformer",
    }  # fmt: skip
    shares = (recipe.interpolate.prepared, recipe.interpolate.result)
    assert shares == ((0.0, 0.0) if ours else (1.0, 1.0))


def test_the_demo_works_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = with_absolute_paths(load_recipe("quick-demo"))
    for source in (*recipe.data.train, *recipe.data.test):
        assert Path(source.partition("#")[0]).is_dir()


def test_the_paper_s_recipe_has_the_paper_s_form() -> None:
    recipe = load_recipe("sgl-paper")
    assert (recipe.model, recipe.evaluate.window) == ("openai/whisper-small", "30s")
    options = recipe.options
    assert (options.grouping, options.form, options.prune) == ("paper", "squared", "bisection")
    assert recipe.target.removed + recipe.target.zeroed == pytest.approx(0.354, abs=0.005)


def test_the_baseline_prunes_nothing_and_updates_as_often_as_the_recipe_it_is_for() -> None:
    dense, slim = load_recipe("dense-tuned"), load_recipe("sgl-hindi")
    assert (dense.method, dense.target.removed, dense.target.zeroed) == ("none", 0.0, 0.0)
    assert dense.data == slim.data and dense.model == slim.model
    stages = (slim.prepare, slim.train, slim.recover)
    assert dense.prepare.steps == dense.recover.steps == 0
    assert dense.train.steps == sum(stage.steps for stage in stages)


def test_the_cut_without_training_gets_the_same_updates_of_the_weights() -> None:
    fisher, slim = load_recipe("fisher-hindi"), load_recipe("sgl-hindi")
    assert fisher.train.steps == 0
    assert fisher.recover.steps == slim.train.steps + slim.recover.steps
    assert (fisher.prepare, fisher.target, fisher.distill) == (
        slim.prepare, slim.target, slim.distill,
    )  # fmt: skip


def test_an_unknown_preset_is_reported_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="quick-demo"):
        preset_path("quik-demo")
