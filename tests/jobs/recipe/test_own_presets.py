"""A user's own recipes on disk, and files that strangers bring."""

from pathlib import Path

import pytest

from whisperslim.errors import RecipeError, UsageError
from whisperslim.jobs.recipe.own_presets import LARGEST_FILE, OwnPresets, read_recipe
from whisperslim.jobs.recipe.recipe import load_recipe, to_yaml, with_values
from whisperslim.jobs.recipe.text import Change, changes

DEMO = load_recipe("quick-demo")


@pytest.fixture
def own(tmp_path: Path) -> OwnPresets:
    return OwnPresets(tmp_path / "presets")


def test_saved_recipes_come_back_equal_and_can_be_deleted(own: OwnPresets) -> None:
    assert own.names() == ()
    mine = with_values(DEMO, {"train.steps": 7, "data.test": ("a#test",)})
    path = own.save(" mine ", mine)
    assert (path.parent, path.name) == (own.folder, "mine.yaml")
    assert own.names() == ("mine",) and own.load("mine") == mine
    own.save("mine", DEMO)
    assert own.load("mine") == DEMO
    own.delete("mine")
    assert own.names() == ()


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 61, "a\nb", None, 3])
def test_names_that_are_no_file_names_are_refused(own: OwnPresets, name: object) -> None:
    with pytest.raises(UsageError, match="cannot name a preset"):
        own.save(name, DEMO)
    for act in (own.load, own.delete):
        with pytest.raises(UsageError, match="you have no preset"):
            act(name)
    assert not own.folder.exists()


def test_shipped_names_stay_what_they_are(own: OwnPresets) -> None:
    with pytest.raises(UsageError, match="comes with the project"):
        own.save("quick-demo", DEMO)


def test_links_are_neither_listed_nor_written_through(own: OwnPresets, tmp_path: Path) -> None:
    own.folder.mkdir()
    secret = tmp_path / "secret.yaml"
    secret.write_text(to_yaml(DEMO))
    (own.folder / "link.yaml").symlink_to(secret)
    assert own.names() == ()
    with pytest.raises(UsageError, match="no preset"):
        own.load("link")
    with pytest.raises(UsageError, match="is a link"):
        own.save("link", with_values(DEMO, {"train.steps": 1}))
    assert secret.read_text() == to_yaml(DEMO)


def test_a_taken_name_gets_a_number(own: OwnPresets) -> None:
    assert own.free_name("mine") == "mine"
    own.save("mine", DEMO)
    assert own.free_name("mine") == "mine-2"
    assert own.free_name("quick-demo") == "quick-demo-2"
    assert own.free_name("../../क") == "preset"


def test_a_brought_file_is_read_like_any_recipe() -> None:
    assert read_recipe(to_yaml(DEMO).encode(), "mine.yaml") == DEMO
    assert read_recipe(b"\xef\xbb\xbf" + to_yaml(DEMO).encode(), "mine.yaml") == DEMO
    with pytest.raises(RecipeError, match="outside"):
        read_recipe(b"train: {steps: -5}\ndata: {train: [a]}\n", "mine.yaml")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not a recipe"),
        (b"[1, 2]", "not a recipe"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"a: [", "not valid YAML"),
        (b"\x00", "not valid YAML"),
        (b"name: 2020-13-45", "not valid YAML"),
        (b"name: !!python/object/apply:os.getcwd []", "not valid YAML"),
        (b"a: &x [1]\nb: [*x, *x]", "aliases"),
        (b"a: " + b"[" * 5000, "nested more than"),
        (b"# " + b"x" * LARGEST_FILE, "larger than"),
    ],
)
def test_what_is_no_recipe_is_refused_with_words(raw: bytes, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        read_recipe(raw, "mine.yaml")


@pytest.mark.parametrize(
    "number",
    [
        "1" * 5000,
        "-" + "9" * 5000,
        "0x" + "f" * 5000,
        "1" * 25,
        "1e400",
        "-1.0e+400",
        ".nan",
        ".inf",
    ],
    ids=lambda number: number[:12],
)
@pytest.mark.parametrize("key", ["train.steps", "train.learning_rate", "target.removed"])
def test_numbers_that_cannot_be_counted_with_are_refused_in_words(key: str, number: str) -> None:
    section, name = key.split(".")
    raw = f"{section}: {{{name}: {number}}}\ndata: {{train: [a]}}\n".encode()
    with pytest.raises(RecipeError) as refused:
        read_recipe(raw, "mine.yaml")
    assert len(str(refused.value)) < 1000


def test_changes_are_reported_in_order_and_lists_are_values() -> None:
    before = {"name": "a", "data.train": ["x"], "flag": False, "target.removed": 0.3}
    after = {"name": "a", "data.train": ("x",), "flag": 0, "target.removed": 0.5, "new": 1}
    assert changes(before, after) == [Change("flag", False, 0), Change("target.removed", 0.3, 0.5)]


def test_with_another_method_its_knobs_are_not_compared() -> None:
    before = {"method.name": "sgl", "method.rounds": 5, "train.steps": 3}
    after = {"method.name": "imp", "method.rounds": 2, "train.steps": 4}
    assert [change.dotted for change in changes(before, after)] == ["method.name", "train.steps"]
