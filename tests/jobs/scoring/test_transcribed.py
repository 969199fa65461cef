"""A folder of recordings in shards: one file of lines, whatever the number of shards."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from whisperslim.errors import AudioError, DataError, UsageError
from whisperslim.jobs.scoring.shard import Shard
from whisperslim.jobs.scoring.transcribed import recordings_in, transcribe_in_shards

OF_A_MODEL = {"model": "m", "language": "hi"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve recordings in two folders, among files of other kinds."""
    for number in range(12):
        path = tmp_path / "sound" / f"part {number % 2}" / f"clip_{number:02d}.WAV"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "sound" / "notes.txt").touch()
    (tmp_path / "sound" / "folder.wav").mkdir()
    return tmp_path / "sound"


def hear(paths: Sequence[Path]) -> Iterator[tuple[Path, dict[str, Any] | AudioError]]:
    for path in paths:
        damaged = path.name == "clip_05.WAV"
        yield path, AudioError("it is damaged") if damaged else {"text": f"मैं {path.stem}"}


def test_the_lines_do_not_depend_on_the_number_of_shards(folder: Path, tmp_path: Path) -> None:
    joined = set()
    for shards in (1, 3, 20):
        out = tmp_path / f"out-{shards}"
        assert transcribe_in_shards(folder, shards, out, hear, OF_A_MODEL) == (12, 1)
        joined.add((out / "transcripts.jsonl").read_text("utf-8"))
    (text,) = joined
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["file"] for row in rows] == recordings_in(folder)
    assert rows[0] == {"file": "part 0/clip_00.WAV", "text": "मैं clip_00"}
    assert {"file": "part 1/clip_05.WAV", "error": "it is damaged"} in rows


def test_shards_that_are_there_are_kept(folder: Path, tmp_path: Path) -> None:
    out, heard = tmp_path / "out", list[Path]()

    def noting(paths: Sequence[Path]) -> Iterator[tuple[Path, dict[str, Any] | AudioError]]:
        heard.extend(paths)
        return hear(paths)

    assert transcribe_in_shards(folder, 3, out, noting, OF_A_MODEL, only=2) is None
    assert [file.name for file in out.iterdir()] == [Shard(2, 3).name]
    assert transcribe_in_shards(folder, 3, out, noting, OF_A_MODEL) == (12, 1)
    assert sorted(heard) == sorted(folder / name for name in recordings_in(folder))


def test_shards_of_another_model_and_damaged_ones_are_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    transcribe_in_shards(folder, 2, out, hear, OF_A_MODEL, only=1)
    other = {**OF_A_MODEL, "model": "n"}
    with pytest.raises(UsageError, match=r"shard-001-of-002.*model: m there, n here"):
        transcribe_in_shards(folder, 2, out, hear, other)
    transcribe_in_shards(folder, 2, out, hear, other, only=2)
    with pytest.raises(UsageError, match=r"shard-002-of-002.*model: n there, m here"):
        transcribe_in_shards(folder, 2, out, hear, OF_A_MODEL)
    (out / Shard(2, 2).name).write_text("{", "utf-8")
    with pytest.raises(DataError, match=r"shard-002-of-002\.jsonl cannot be read.*delete it"):
        transcribe_in_shards(folder, 2, out, hear, OF_A_MODEL)


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no recordings.*\.flac"):
        recordings_in(tmp_path)
    (tmp_path / "a.wav").touch()
    with pytest.raises(UsageError, match="a folder of recordings"):
        recordings_in(tmp_path / "a.wav")
