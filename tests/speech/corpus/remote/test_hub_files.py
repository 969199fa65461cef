"""Data sets of the hub that are kept in parquet files, against answers as the hub gives them."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.speech.corpus.archives.making import heard
from tests.speech.corpus.remote.hub_answers import SET, answer, shard
from tests.speech.corpus.remote.server import Server
from whisperslim.errors import DataError, UsageError
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.clip_reader import ClipReader
from whisperslim.speech.corpus.dataset import Item, load_items
from whisperslim.speech.corpus.remote import shard_store
from whisperslim.speech.corpus.report import examine


@pytest.fixture
def voices(server: Server, tmp_path: Path) -> dict[str, bytes]:
    files = {
        "hindi/train-00000-of-00002.parquet": shard(tmp_path, range(3), verbatim=["v"] * 3),
        "hindi/train-00001-of-00002.parquet": shard(tmp_path, range(3, 5), verbatim=["v"] * 2),
        "hindi/valid-00000-of-00001.parquet": shard(tmp_path, range(5, 6), verbatim=["v"]),
        "tamil/train-00000-of-00001.parquet": shard(tmp_path, range(6, 7), verbatim=["v"]),
    }
    answer(server, files)
    return files


def texts(source: str) -> list[str]:
    return [item.text for item in load_items(source)]


def wholes(server: Server) -> list[str]:
    """Files that were fetched from their beginning to their end."""
    return [name.rpartition("/")[2] for name, _, stretch in server.asked if not stretch]


@pytest.mark.usefixtures("voices")
def test_texts_are_read_first_and_files_are_fetched_when_they_are_heard(
    server: Server, tmp_path: Path
) -> None:
    items = load_items(f"hub:{SET}:hindi#train")
    assert [item.text for item in items] == [f"पाठ {n}" for n in range(5)]
    assert not list((tmp_path / "cache").rglob("*.parquet"))
    server.asked.clear()
    reader = ClipReader()
    assert [heard(reader.samples(item)) for item in items[:3]] == [[100], [200], [300]]
    assert [name for name in wholes(server)] == ["train-00000-of-00002.parquet"]
    server.asked.clear()
    assert heard(ClipReader().samples(items[1])) == [200] and not server.asked
    assert load_items(f"hub:{SET}:hindi#train") == items
    assert len(server.asked) == 1  # the commit; the list of it is kept


@pytest.mark.usefixtures("voices")
def test_slices_and_sums_of_splits() -> None:
    source = f"hub:{SET}:hindi"
    assert texts(f"{source}#train[:4]") == [f"पाठ {n}" for n in range(4)]
    assert texts(f"{source}#train[1:2]+valid") == ["पाठ 1", "पाठ 5"]
    assert texts(f"{source}#train[80%:]") == ["पाठ 4"]
    assert texts(f"{source}#train?text=verbatim") == ["v"] * 5
    assert {item.split for item in load_items(f"{source}#train[:4]")} == {"train[:4]"}


@pytest.mark.usefixtures("voices")
def test_a_row_is_in_a_set_once() -> None:
    with pytest.raises(DataError, match="keep one of them"):
        load_items(f"hub:{SET}:hindi#train[:2]+train[1:3]")


@pytest.mark.usefixtures("voices")
def test_a_column_named_as_a_path_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column '\.\./x' of recordings"):
        load_items(f"hub:{SET}:hindi#train?audio=../x")
    assert texts(f"hub:{SET}:hindi#valid?audio=audio_filepath") == ["पाठ 5"]


@pytest.mark.usefixtures("voices")
def test_a_listing_that_breaks_off_begins_again_at_that_file(server: Server) -> None:
    source = f"hub:{SET}:hindi#train"
    texts(f"{source}[:3]")  # the first file
    server.breaks = [10]
    with pytest.raises(DataError, match=r"ended early.*try again: what is here already is kept"):
        load_items(source)
    server.asked.clear()
    assert len(load_items(source)) == 5
    assert not [name for name, _, _ in server.asked if "train-00000" in name]


@pytest.mark.usefixtures("voices")
def test_a_damaged_list_is_said_to_be(tmp_path: Path) -> None:
    texts(f"hub:{SET}:hindi#valid")
    (kept,) = (tmp_path / "cache").rglob("*.list")
    for damaged in ("", "3", '["a"]\n{'):
        kept.write_text(damaged)
        with pytest.raises(DataError, match="delete it, it is made again"):
            load_items(f"hub:{SET}:hindi#valid")


@pytest.mark.usefixtures("voices")
def test_the_files_after_a_slice_are_not_asked_for(server: Server) -> None:
    texts(f"hub:{SET}:hindi#train[:3]")
    assert not [name for name, _, _ in server.asked if "train-00001" in name]


@pytest.mark.usefixtures("voices")
def test_what_is_not_there_is_said_with_what_is() -> None:
    for source, words in (
        (f"hub:{SET}#train", "needs a config.* Known: hindi, tamil"),
        (f"hub:{SET}:urdu#train", "Known: hindi, tamil"),
        (f"hub:{SET}:hindi#test", "no split 'test'; known: train, valid"),
        (f"hub:{SET}:hindi", "needs a split"),
        ("hub:ai/other#train", "no such data set or revision"),
    ):
        with pytest.raises(DataError, match=words):
            load_items(source)


def test_the_card_says_which_files_a_config_has(server: Server, tmp_path: Path) -> None:
    files = {"a/x.parquet": shard(tmp_path, range(1)), "b/y.parquet": shard(tmp_path, range(1, 2))}
    configs = [
        {"config_name": "one", "data_files": [{"split": "train", "path": "a/*"}], "default": True},
        {"config_name": "two", "data_files": [{"split": "dev", "path": ["b/*", "c/*"]}]},
    ]
    answer(server, files, cardData={"configs": configs})
    assert texts(f"hub:{SET}#train") == ["पाठ 0"] and texts(f"hub:{SET}:two#dev") == ["पाठ 1"]
    with pytest.raises(DataError, match="no config 'three'; known: one, two"):
        load_items(f"hub:{SET}:three#train")


def test_other_formats_are_taken_as_the_hub_has_converted_them(
    server: Server, tmp_path: Path
) -> None:
    """So it is with FLEURS, which has no speakers."""
    answer(server, {})
    content = shard(tmp_path, range(2), "audio", transcription=["a", "b"], gender=[0, 1])
    answer(server, {"hi_in/test/0000.parquet": content}, revision="refs%2Fconvert%2Fparquet")
    items = load_items(f"hub:{SET}:hi_in#test?text=transcription")
    assert [(item.text, item.speaker) for item in items] == [("a", ""), ("b", "")]
    assert heard(ClipReader().samples(items[1])) == [200]


def test_what_is_converted_in_part_only_is_fetched_whole_by_the_package(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(server, {})
    monkeypatch.setitem(sys.modules, "datasets", None)
    for files in ({}, {"hi/partial-train/0000.parquet": shard(tmp_path, range(1), "audio")}):
        if files:
            answer(server, files, revision="refs%2Fconvert%2Fparquet")
        with pytest.raises(DataError, match="needs the optional package `datasets`"):
            load_items(f"hub:{SET}:hi#train")


def test_a_revision_may_be_named(server: Server, tmp_path: Path) -> None:
    answer(server, {"train-0.parquet": shard(tmp_path, range(1))}, revision="v2")
    assert texts(f"hub:{SET}@v2#train") == ["पाठ 0"]


@pytest.mark.usefixtures("voices")
def test_a_gated_set_says_what_it_needs(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.token = "hf_right"
    source = f"hub:{SET}:hindi#train"
    with pytest.raises(DataError, match=r"there is no token.*Accept its conditions.*HF_TOKEN"):
        load_items(source)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(DataError, match="the token in HF_TOKEN may not read it"):
        load_items(source)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    items = load_items(source)
    assert heard(ClipReader().samples(items[0])) == [100]
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")  # taken back between listing and hearing
    with pytest.raises(DataError, match="may not read it"):
        ClipReader().samples(items[4])


@pytest.mark.usefixtures("voices")
def test_an_interrupted_download_loses_nothing_and_no_clip(server: Server, tmp_path: Path) -> None:
    items = load_items(f"hub:{SET}:hindi#train[:3]")
    server.breaks = [1000, *[0] * 5]
    load = AudioCache(tmp_path / "audio").load
    with pytest.raises(DataError, match=r"interrupted at .* the next attempt continues"):
        examine(items, load=load)
    server.asked.clear()
    assert not examine(items, load=load).count("unreadable")
    assert [stretch for _, _, stretch in server.asked] == ["bytes=1000-"]


def test_files_used_longest_ago_make_room(
    server: Server, voices: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    items = load_items(f"hub:{SET}:hindi#train")
    first, second = (items[n].part.shard for n in (0, 4))
    both = sum(len(content) for name, content in voices.items() if "hindi/train" in name)
    os.utime(first.fetched(), (1, 1))
    monkeypatch.setenv(shard_store.LIMIT_VARIABLE, str((both - 1) / 1e9))
    assert second.fetched().is_file() and not first.local().exists()
    assert [heard(ClipReader().samples(item)) for item in items] == [[100 * n] for n in range(1, 6)]
    monkeypatch.setenv(shard_store.LIMIT_VARIABLE, "much")
    with pytest.raises(UsageError, match="a number of GB"):
        shard_store.limit()


@pytest.mark.usefixtures("voices")
def test_a_file_that_another_process_deletes_for_room_is_fetched_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    item = load_items(f"hub:{SET}:hindi#train")[0]
    usual, deleted = shard_store.HubShard.fetched, []

    def fetched(self: shard_store.HubShard, *rest: Any) -> Path:
        path = usual(self, *rest)
        if not deleted:
            deleted.append(path)
            path.unlink()
        return path

    monkeypatch.setattr(shard_store.HubShard, "fetched", fetched)
    assert heard(ClipReader().samples(item)) == [100] and deleted


@pytest.mark.usefixtures("voices")
def test_that_files_are_fetched_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    cache = AudioCache(tmp_path / "audio", said.append)
    cache.durations(load_items(f"hub:{SET}:hindi#train"))
    (message,) = said
    assert SET in message and str(tmp_path / "cache" / "hub") in message


def test_what_is_known_of_a_recording_needs_no_file(
    server: Server, voices: dict[str, bytes], tmp_path: Path
) -> None:
    items = load_items(f"hub:{SET}:hindi#train")
    lengths = AudioCache(tmp_path / "audio").durations(items)
    server.asked.clear()
    for item in items:
        item.part.shard.local().unlink(missing_ok=True)
    assert AudioCache(tmp_path / "audio").durations(items) == lengths == [0.5] * 5
    assert heard(AudioCache(tmp_path / "audio").load(items[0])) == [100] and not server.asked


@pytest.mark.parametrize(
    "name", ["../x.parquet", "a/../../x.parquet", "/x.parquet", "a//x.parquet"]
)
def test_no_file_is_kept_outside_its_folder(server: Server, name: str) -> None:
    answer(server, {name: b"x"})
    with pytest.raises(DataError, match="cannot be kept here"):
        load_items(f"hub:{SET}#train")


@pytest.mark.parametrize("listing", [[], {}, {"sha": "../x"}, {"sha": None}])
def test_an_answer_that_is_none_is_refused(server: Server, listing: object) -> None:
    server.answers[f"GET /api/datasets/{SET}/revision/main?blobs=true"] = (200, listing)
    with pytest.raises(DataError, match="does not say which commit"):
        load_items(f"hub:{SET}#train")


def test_keys_are_unique_and_do_not_depend_on_the_slice(
    server: Server, voices: dict[str, bytes]
) -> None:
    def keys(split: str) -> list[str]:
        found: list[Item] = load_items(f"hub:{SET}:hindi#{split}")
        return [item.key for item in found]

    everything = keys("train+valid")
    assert len(set(everything)) == 6 and keys("train[1:3]") == everything[1:3]
