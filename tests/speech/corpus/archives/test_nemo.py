"""Tarred data of NeMo."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.speech.corpus.archives.making import RATE, heard, tar, tone, wav
from whisperslim.errors import DataError
from whisperslim.speech.corpus.clip_reader import ClipReader
from whisperslim.speech.corpus.dataset import load_items


def manifest(folder: Path, *lines: dict) -> Path:
    path = folder / "tarred_audio_manifest.json"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def line(name: str, shard: int, **more: object) -> dict:
    return {"audio_filepath": name, "text": "एक", "duration": 0.5, "shard_id": shard, **more}


def test_clips_are_found_in_the_tars_beside_the_manifest(tmp_path: Path) -> None:
    tar(tmp_path / "audio_0.tar", {"a.wav": wav(tone(0))})
    tar(tmp_path / "audio_1.tar", {"b.wav": wav(tone(1)), "c.wav": wav(tone(2))})
    path = manifest(tmp_path, line("a.wav", 0), line("c.wav", 1), line("b.wav", 1))
    for source in (path, tmp_path):
        items = load_items(str(source))
        assert [item.key for item in items] == ["a.wav", "c.wav", "b.wav"]
        assert [heard(ClipReader().samples(item)) for item in items] == [[100], [300], [200]]


def test_stretches_of_one_recording_are_stored_once(tmp_path: Path) -> None:
    both = np.concatenate([tone(0), tone(1)])
    tar(tmp_path / "audio_0.tar", {"a.wav": wav(both)})
    first, second = line("a.wav", 0, offset=0.0), line("a-sub1.wav", 0, offset=0.5)
    items = load_items(str(manifest(tmp_path, first, second)))
    found = [ClipReader().samples(item) for item in items]
    assert [(heard(each), len(each)) for each in found] == [
        ([100], RATE // 2), ([200], RATE // 2),
    ]  # fmt: skip


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    tar(tmp_path / "audio_0.tar", {"a.wav": b"x"})
    (tmp_path / "audio_2.tar").symlink_to(tmp_path / "audio_0.tar")
    for wrong, words in (
        (line("b.wav", 0), r"line 1: audio_0\.tar holds no 'b\.wav'"),
        (line("a.wav", 1), r"audio_1\.tar: no such file"),
        (line("a.wav", 2), r"audio_2\.tar: is a link"),
        ({**line("a.wav", 0), "shard_id": "../0"}, "line 1: shard_id is '../0'"),
    ):
        path = manifest(tmp_path, wrong)
        with pytest.raises(DataError, match=words):
            load_items(str(path))
