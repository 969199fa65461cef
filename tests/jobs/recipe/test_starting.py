"""What is refused before a run begins, at the field that it is about."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.app.fake_app import Acts, fake_app
from tests.support.tiny import tiny_model_folder
from whisperslim.errors import RecipeError
from whisperslim.jobs.recipe.paths import with_absolute_paths
from whisperslim.jobs.recipe.recipe import Recipe, from_mapping, load_recipe, with_values
from whisperslim.ui.compress.check import check_places
from whisperslim.ui.guard.folders import Folders


def refused(recipe: Recipe) -> dict[str, str]:
    with pytest.raises(RecipeError) as caught:
        with_absolute_paths(recipe)
    return caught.value.problems


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """It knows English and Hindi."""
    return str(tiny_model_folder(tmp_path_factory.mktemp("m") / "tiny"))


def test_a_preset_without_its_data_says_what_was_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    problems = refused(load_recipe("l0-hindi"))
    assert set(problems) == {"data.train", "data.dev", "data.test"}
    for message in problems.values():
        assert message.startswith("data/cv-hi was not found. Give "), message


@pytest.mark.parametrize("field", ["model", "distill.teacher"])
def test_a_model_that_is_nowhere_is_reported_at_its_field(tmp_path: Path, field: str) -> None:
    for name in (str(tmp_path / "none"), "whisper"):
        problems = refused(with_values(load_recipe("quick-demo"), {field: name}))
        assert set(problems) == {field}
        assert problems[field].startswith(f"{name} was not found")


def test_an_unknown_language_is_reported_with_the_near_ones(model: str) -> None:
    recipe = with_values(load_recipe("quick-demo"), {"vocabulary.languages": []})
    problems = refused(with_values(recipe, {"language": "marati"}))
    assert set(problems) == {"language"}
    assert "Marathi (mr)" in problems["language"]
    own = with_values(recipe, {"model": model, "language": "mr"})
    assert refused(own)["language"].endswith("it knows English (en), Hindi (hi)")
    with_absolute_paths(with_values(own, {"language": "hi"}))


def test_data_that_may_not_be_opened_hides_no_wrong_language(tmp_path: Path, model: str) -> None:
    recipe = with_values(load_recipe("quick-demo"), {"data.train": ["data/none#train"]})
    recipe = with_values(recipe, {"model": model, "vocabulary.languages": [], "language": "mr"})
    app = fake_app(tmp_path / "runs", Acts())
    fenced = replace(app, folders=Folders((Path(model).parent.resolve(),)))
    with pytest.raises(RecipeError) as caught:
        check_places(fenced, recipe)
    assert set(caught.value.problems) >= {"data.train", "language"}
    assert caught.value.problems["data.train"].startswith("data/none was not found")
    shut = replace(
        app,
        folders=Folders((tmp_path / "elsewhere",)),
    )
    with pytest.raises(RecipeError) as caught:
        check_places(shut, recipe)
    assert "model" in caught.value.problems and "language" not in caught.value.problems


def test_a_ctc_head_learns_the_letters_of_any_language(model: str) -> None:
    recipe = with_values(load_recipe("whisper-ctc-hindi"), {"data.train": ["assets/demo_hi#train"]})
    recipe = with_values(recipe, {"data.dev": [], "data.test": [], "model": model})
    with_absolute_paths(with_values(recipe, {"language": "or"}))
    assert set(refused(with_values(recipe, {"language": "klingon"}))) == {"language"}


def test_a_wrong_language_is_marked_itself_and_not_the_vocabulary_kept_for_it() -> None:
    for language, field in (("klingon", "language"), ("mr", "vocabulary.languages")):
        with pytest.raises(RecipeError) as caught:
            with_values(load_recipe("quick-demo"), {"language": language})
        assert set(caught.value.problems) == {field}, "quick-demo keeps the tokens of Hindi"


def test_languages_are_kept_by_code_however_they_are_written() -> None:
    given = {"language": "Hindi", "vocabulary": {"languages": ["Hindi", "mr", "Tamil (ta)"]}}
    recipe = from_mapping({**given, "data": {"train": ["x"]}})
    assert recipe.language == "hi" and recipe.vocabulary.languages == ("hi", "mr", "ta")
    assert load_recipe("quick-demo", ["language=Hindi"]).language == "hi"
