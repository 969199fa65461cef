"""Shards of WebDataset, read where they lie."""

import json
from pathlib import Path

import pytest

from tests.speech.corpus.archives.making import heard, tar, tone, wav
from whisperslim.errors import AudioError, DataError
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.clip_reader import ClipReader
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.speech.corpus.report import examine


def shard(path: Path, *numbers: int) -> Path:
    files: dict[str, bytes] = {}
    for number in numbers:
        files[f"clips/{number}.wav"] = wav(tone(number))
        files[f"clips/{number}.txt"] = f"पाठ {number}\n".encode()
    return tar(path, files)


def test_clips_of_a_tar_are_heard_where_they_lie(tmp_path: Path) -> None:
    shard(tmp_path / "x.tar", 0, 1, 2)
    items, cache = load_items(str(tmp_path / "x.tar")), AudioCache(tmp_path / "cache")
    assert [(i.key, i.text) for i in items] == [
        (f"x.tar/clips/{n}.wav", f"पाठ {n}") for n in range(3)
    ]
    for _ in range(2):  # decoded, then from the cache
        assert [heard(cache.load(item)) for item in items] == [[100], [200], [300]]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "x.tar"]
    assert not examine(items).count("missing")


@pytest.mark.parametrize(
    "name", ["x-{00..01}.tar", "x-_OP_00..01_CL_.tar", "x-*.tar", "x-0[01].tar"]
)
def test_shards_are_named_by_a_pattern(tmp_path: Path, name: str) -> None:
    shard(tmp_path / "x-01.tar", 2)
    shard(tmp_path / "x-00.tar", 0, 1)
    found = [(item.path.name, item.text) for item in load_items(str(tmp_path / name))]
    assert found == [("x-00.tar", "पाठ 0"), ("x-00.tar", "पाठ 1"), ("x-01.tar", "पाठ 2")]


def test_shards_that_are_missing_or_links_are_refused(tmp_path: Path) -> None:
    shard(tmp_path / "x-0.tar", 0)
    with pytest.raises(DataError, match=r"x-1\.tar: no such file"):
        load_items(str(tmp_path / "x-{0..1}.tar"))
    with pytest.raises(DataError, match="no file has such a name"):
        load_items(str(tmp_path / "y-*.tar"))
    with pytest.raises(DataError, match="over 100,000 files"):
        load_items(str(tmp_path / "x-{0..999999999}.tar"))
    (tmp_path / "x-1.tar").symlink_to(tmp_path / "x-0.tar")
    for name in ("x-{0..1}.tar", "x-*.tar"):
        with pytest.raises(DataError, match=r"x-1\.tar: is a link"):
            load_items(str(tmp_path / name))


def test_texts_and_columns_of_json(tmp_path: Path) -> None:
    said = {"text": "एक", "speaker": "s1", "duration": 0.5, "split": "train", "path": "/a/b.wav"}
    other = {"1.flac": b"x", "1.json": b'{"split": "dev", "said": "two"}'}
    tar(tmp_path / "x.tar", {"0.wav": wav(tone(0)), "0.json": json.dumps(said).encode(), **other})
    (item,) = load_items(f"{tmp_path / 'x.tar'}#train")
    assert (item.key, item.text, item.speaker, item.duration) == ("x.tar/0.wav", "एक", "s1", 0.5)
    (item,) = load_items(f"{tmp_path / 'x.tar'}#dev?text=said")
    assert (item.key, item.text) == ("x.tar/1.flac", "two")


def test_one_of_several_recordings_is_chosen_by_its_ending(tmp_path: Path) -> None:
    files = {"0.wav": wav(tone(0)), "0.mic.wav": wav(tone(1)), "0.txt": b"one"}
    tar(tmp_path / "x.tar", files)
    for asked, value in (("", 100), ("?audio=mic.wav", 200)):
        (item,) = load_items(f"{tmp_path / 'x.tar'}{asked}")
        assert heard(ClipReader().samples(item)) == [value]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"0.txt": b"one"}, "'0': has no recording beside txt"),
        ({"0.wav": b"x", "0.txt": b"\xe0\xa4"}, "'0.txt': not UTF-8"),
        ({"0.wav": b"x", "0.json": b"[" * 100_000}, "'0.json': not JSON"),
        ({"0.wav": b"x", "0.json": b"3"}, "'0.json': not a JSON object"),
        ({}, "holds no recordings"),
        ({"0.wav": b"x"}, "no column for the text"),
    ],
)
def test_what_is_wrong_in_a_tar_is_named(
    tmp_path: Path, files: dict[str, bytes], words: str
) -> None:
    tar(tmp_path / "x.tar", files)
    with pytest.raises(DataError, match=words):
        load_items(str(tmp_path / "x.tar"))


def test_a_damaged_recording_and_a_tar_cut_off_later_are_problems_of_their_clips(
    tmp_path: Path,
) -> None:
    files = {"0.wav": b"no sound", "0.txt": b"one", "1.wav": wav(tone(1)), "1.txt": b"two"}
    path = tar(tmp_path / "x.tar", files)
    items = load_items(str(path))
    assert [p.key for p in examine(items).problems if p.kind == "unreadable"] == ["x.tar/0.wav"]
    path.write_bytes(path.read_bytes()[: items[1].part.start + 100])
    with pytest.raises(AudioError, match="ends within the recording"):
        ClipReader().samples(items[1])
