"""Data sets of the hub: what may be named, and what of them is opened."""

import sys
import types
from pathlib import Path

import pytest

from whisperslim.errors import DataError, RecipeError, UsageError
from whisperslim.jobs.recipe.paths import with_absolute_paths
from whisperslim.jobs.recipe.recipe import Recipe, from_mapping
from whisperslim.speech.corpus.dataset import load_items, scored_source
from whisperslim.speech.corpus.hub import HubName, hub_name
from whisperslim.speech.corpus.source import parse_source
from whisperslim.ui.guard.folders import listening_folders, refused_paths

NO_NAMES = (
    "", "json", "csv", "audiofolder", "text", "/etc", "/etc/passwd", "~/corpus", "~root/x", "./a/b",
    "../a/b", "a/..", "../b", "a/b/c", "a//b", "a/b/", "hf://datasets/a/b", "file:///etc",
    "C:/x", "a\\b", "a/b:", "a/b:../x", "a/b:c/d", "a/b@", "a/b@../x", "a/b@x:y", "a/b:c:d",
    "a/.b",
    "a/b..c", "a /b", "a/b ", "a/b\n", "a/b\0", "buckets/a/b", "\u0430/b", "a/b?x=1",
    "a/" + "b" * 200,
)  # fmt: skip


class FakeAudio:
    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class FakeData:
    """The part of `datasets.Dataset` that is used, without the package."""

    def __init__(self, rows: list[dict], decode: bool = True) -> None:
        self.rows, self.column_names = rows, list(rows[0])
        self.features = {n: FakeAudio() if n == "audio" else object() for n in rows[0]}
        self.decode = decode

    def cast_column(self, name: str, feature: FakeAudio) -> "FakeData":
        assert name == "audio"
        return FakeData(self.rows, feature.decode)

    def __iter__(self):
        assert not self.decode, "decoding is not the data set library's"
        return iter(self.rows)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> types.ModuleType:
    """The package `datasets`, and a hub whose data sets have no parquet files."""
    monkeypatch.setattr("whisperslim.speech.corpus.hub.find_files", lambda *_: None)
    module, errors = types.ModuleType("datasets"), types.ModuleType("datasets.exceptions")
    errors.DatasetsError = type("DatasetsError", (Exception,), {})
    module.exceptions, module.Audio, module.__version__ = errors, FakeAudio, "4.8.0"
    module.config = types.SimpleNamespace(HF_DATASETS_CACHE=str(tmp_path / "datasets"))
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setitem(sys.modules, "datasets.exceptions", errors)
    return module


def test_a_hub_data_set_becomes_files_and_items(hub):
    sound = {"bytes": b"encoded", "path": "clip.ogg"}
    asked = []

    def load_dataset(*args: object, **options: object) -> FakeData:
        asked.append((args, options))
        return FakeData([{"audio": sound, "sentence": "एक", "n": n} for n in (1, 2)])

    hub.load_dataset = load_dataset
    items = load_items("hub:owner/name:hi#train[:2]")
    assert asked == [(("hf://datasets/owner/name", "hi"), {"split": "train[:2]", "revision": None})]
    assert [(i.text, i.split, i.columns) for i in items] == [
        ("एक", "train[:2]", (("n", "1"),)),
        ("एक", "train[:2]", (("n", "2"),)),
    ]
    assert [i.path.read_bytes() for i in items] == [b"encoded", b"encoded"]
    assert items[0].path.suffix == ".ogg"


def test_an_unreachable_hub_is_a_data_error(hub):
    def load_dataset(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    hub.load_dataset = load_dataset
    with pytest.raises(DataError, match="no route to host"):
        load_items("hub:owner/name#train")
    with pytest.raises(DataError, match="needs a split"):
        load_items("hub:owner/name")


def test_a_hub_data_set_without_the_package_says_what_to_install(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="pip install 'datasets"):
        load_items("hub:owner/name#train")


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("hub:a/b", ("a/b", None, None, None)),
        ("hub:a-1/B_2.c:hi-IN@v1.0#train[:10%]", ("a-1/B_2.c", "hi-IN", "v1.0", "train[:10%]")),
        ("hub:a/b@abc#train+test", ("a/b", None, "abc", "train+test")),
    ],
)
def test_a_name_is_taken_apart(source, parts):
    assert hub_name(source) == HubName(*parts)


@pytest.mark.parametrize("split", ["", "#train", "#", "#../x", "#a/b", "#a#b"])
@pytest.mark.parametrize("name", NO_NAMES)
def test_paths_and_builders_are_no_names_wherever_they_are_given(name, split, hub):
    def load_dataset(*_: object, **__: object) -> None:
        pytest.fail("the package was asked for a name that was not looked at")

    hub.load_dataset = load_dataset
    source = f"hub:{name}{split}"
    for ask in (parse_source, load_items, scored_source):
        with pytest.raises(UsageError, match="write hub:OWNER/NAME"):
            ask(source)


@pytest.mark.parametrize("split", ["#", "#../x", "#a/b", "#a#b", "#a b"])
def test_a_split_is_no_path(split):
    with pytest.raises(UsageError, match="write hub:OWNER/NAME"):
        parse_source(f"hub:a/b{split}")


def _recipe(source: str) -> Recipe:
    return from_mapping({"name": "x", "data": {"train": [source]}, "method": {"name": "sgl"}})


def test_app_and_command_line_refuse_a_recipe_alike_and_say_nothing_of_the_disk(tmp_path):
    there, missing = tmp_path / "there", tmp_path / "miss?"
    there.mkdir()
    said = []
    for path in (there, missing):
        recipe = _recipe(f"hub:{path}#train")
        with pytest.raises(RecipeError) as refused:
            with_absolute_paths(recipe)
        for problems in (refused.value.problems, refused_paths(listening_folders(), recipe)):
            (words,) = problems.values()
            said.append(words.replace(str(path), ""))
    assert len(set(said)) == 1


def test_a_folder_of_the_name_is_not_what_the_package_is_asked_for(hub, tmp_path, monkeypatch):
    """Without `hf://` the package would take owner/name of the current folder."""
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    asked = []

    def load_dataset(path: str, *_: object, **options: object) -> FakeData:
        asked.append((path, options["revision"]))
        return FakeData([{"audio": {"bytes": b"x", "path": None}, "text": "एक"}])

    hub.load_dataset = load_dataset
    load_items("hub:owner/name@v2#train")
    assert asked == [("hf://datasets/owner/name", "v2")]


def test_a_package_that_would_look_here_first_is_refused(hub):
    hub.__version__ = "4.7.3"
    with pytest.raises(DataError, match=r"4\.8 or newer"):
        load_items("hub:owner/name#train")


def test_a_row_opens_what_was_fetched_and_nothing_else(hub, tmp_path):
    fetched = tmp_path / "datasets" / "downloads" / "clip.wav"
    fetched.parent.mkdir(parents=True)
    fetched.write_bytes(b"fetched")
    (tmp_path / "secret.wav").write_bytes(b"secret")
    (tmp_path / "datasets" / "link.wav").symlink_to(tmp_path / "secret.wav")

    def items(path: object) -> list:
        rows = [{"audio": {"bytes": None, "path": path}, "text": "एक"}]
        hub.load_dataset = lambda *_, **__: FakeData(rows)
        return load_items("hub:owner/name#train")

    assert [item.path.read_bytes() for item in items(str(fetched))] == [b"fetched"]
    up = tmp_path / "datasets" / ".." / "secret.wav"
    for path in (tmp_path / "secret.wav", up, tmp_path / "datasets" / "link.wav", "", None, "a\0b"):
        with pytest.raises(DataError, match="row 1: holds no sound"):
            items(None if path is None else str(path))


def test_the_end_of_a_stored_name_is_an_ending(hub):
    rows = [{"audio": {"bytes": b"x", "path": f"a.{'w' * 300}"}, "text": "एक"}]
    hub.load_dataset = lambda *_, **__: FakeData(rows)
    (item,) = load_items("hub:owner/name#train")
    assert item.path.suffix == ""
