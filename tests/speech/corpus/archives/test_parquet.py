"""Parquet files with recordings in their rows."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.speech.corpus.archives.making import heard, tone, wav
from whisperslim.errors import AudioError, DataError, UsageError
from whisperslim.speech.corpus.archives import parquet
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.clip_reader import ClipReader
from whisperslim.speech.corpus.dataset import load_items, scored_source
from whisperslim.speech.corpus.report import examine


def write(path: Path, numbers: range, column: str = "audio", /, **more: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sounds = [{"bytes": wav(tone(n)), "path": f"{n}.wav"} for n in numbers]
    columns = {column: sounds, "text": [f"पाठ {n}" for n in numbers], **more}
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def test_recordings_are_read_from_their_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", range(5), duration=[0.5] * 5, tags=[["a"]] * 5)
    items, cache = load_items(str(path)), AudioCache(tmp_path / "cache")
    assert [(i.key, i.text, i.duration, i.columns) for i in items] == [
        (f"x.parquet/{n}", f"पाठ {n}", 0.5, ()) for n in range(5)
    ]
    for _ in range(2):  # decoded, then from the cache
        assert [heard(cache.load(item)) for item in items] == [[100 * (n + 1)] for n in range(5)]
    assert not [p for p in examine(items).problems if p.kind in ("missing", "unreadable")]


def test_a_row_group_is_read_once_for_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    usual = parquet.read_group
    monkeypatch.setattr(
        "whisperslim.speech.corpus.clip_reader.read_group",
        lambda path, column, group: read.append(group) or usual(path, column, group),
    )
    reader = ClipReader()
    for item in load_items(str(write(tmp_path / "x.parquet", range(5)))):
        reader.digest(item)
        reader.samples(item)
    assert read == [0, 1, 2]


def test_a_folder_has_its_splits_in_the_names_of_its_files(tmp_path: Path) -> None:
    for split, shard, numbers in (("train", 0, range(3)), ("train", 1, range(3, 4)),
                                  ("test", 0, range(4, 5))):  # fmt: skip
        write(tmp_path / "data" / f"{split}-{shard:05d}-of-00002.parquet", numbers)
    texts = [(item.text, item.split) for item in load_items(f"{tmp_path}#train")]
    assert texts == [(f"पाठ {n}", "train") for n in range(4)]
    for wrong in ("", "#dev"):
        with pytest.raises(DataError, match="known: test, train"):
            load_items(f"{tmp_path}{wrong}")
    assert scored_source(str(tmp_path)) == f"{tmp_path}#test"
    pattern = tmp_path / "data" / "train-*.parquet"
    assert len(load_items(str(pattern))) == 4


# The columns of public corpora, as the schemas of their files have them.
CORPORA = {
    "IndicVoices": (
        "audio_filepath",
        {"verbatim": ["v"], "normalized": ["n"], "speaker_id": ["s"]},
    ),
    "Kathbath": ("audio_filepath", {"fname": ["f"], "speaker_id": ["s"], "gender": ["female"]}),
    "Shrutilipi": ("audio_filepath", {}),
    "FLEURS": ("audio", {"path": ["/a/b.wav"], "transcription": ["t"], "raw_transcription": ["r"]}),
}


@pytest.mark.parametrize("corpus", CORPORA)
def test_columns_of_public_corpora(tmp_path: Path, corpus: str) -> None:
    column, more = CORPORA[corpus]
    (item,) = load_items(str(write(tmp_path / "x.parquet", range(1), column, **more)))
    assert item.text == "पाठ 0" and heard(ClipReader().samples(item)) == [100]
    assert item.speaker == ("s" if "speaker_id" in more else "")
    if "verbatim" in more:
        (item,) = load_items(f"{tmp_path / 'x.parquet'}?text=verbatim")
        assert item.text == "v"


def test_the_column_of_recordings_is_chosen_or_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    columns = {"near": [wav(tone(0))], "far": [wav(tone(1))], "text": ["एक"]}
    pq.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match=r"found near, far .*\?audio=COLUMN"):
        load_items(str(path))
    (item,) = load_items(f"{path}?audio=far")
    assert heard(ClipReader().samples(item)) == [200]
    for wrong in ("text", "other"):
        with pytest.raises(DataError, match=f"column {wrong!r} of recordings; found near, far"):
            load_items(f"{path}?audio={wrong}")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", range(4))
    items, content = load_items(str(path)), path.read_bytes()
    for damaged in (b"", b"PAR1" * 3, content[:-100], content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"x\.parquet: cannot be read as parquet"):
            load_items(str(path))
        with pytest.raises(AudioError, match=r"x\.parquet"):
            ClipReader().samples(items[0])
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        load_items(str(path))


def test_a_row_without_sound_is_a_problem_of_that_clip(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    sounds = [{"bytes": None, "path": "/etc/passwd"}, {"bytes": wav(tone(1)), "path": None}]
    pq.write_table(pa.table({"audio": sounds, "text": ["एक", "दो"]}), path)
    problems = examine(load_items(str(path))).problems
    assert [(p.key, p.kind) for p in problems] == [("x.parquet/0", "unreadable")]


def test_row_groups_and_recordings_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (item, *_) = load_items(str(write(tmp_path / "x.parquet", range(2))))
    monkeypatch.setattr(parquet, "MOST_CLIP_BYTES", 100)
    with pytest.raises(AudioError, match="up to 100 are read"):
        ClipReader().samples(item)
    monkeypatch.setattr(parquet, "MOST_GROUP_BYTES", 100)
    with pytest.raises(AudioError, match="fewer rows in each group"):
        ClipReader().samples(item)


def test_without_the_package_its_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x.parquet", range(1))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("whisperslim.machine.extras.find_spec", lambda module: None)
    with pytest.raises(UsageError, match=r"pip install 'whisperslim\[scale\]'"):
        load_items(str(path))
