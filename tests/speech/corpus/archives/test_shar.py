"""Folders of Lhotse Shar, written by lhotse itself."""

import gzip
import json
from pathlib import Path

import lhotse
import numpy as np
import pytest

from tests.speech.corpus.archives.making import RATE, tar, tone, wav
from whisperslim.errors import DataError
from whisperslim.speech.corpus.clip_reader import ClipReader
from whisperslim.speech.corpus.dataset import load_items


def cut(folder: Path, number: int) -> lhotse.cut.Cut:
    """The second half of a recording of a second."""
    path = folder / f"{number}.wav"
    path.write_bytes(wav(np.concatenate([tone(90), tone(number)])))
    recording = lhotse.Recording.from_file(path)
    said = lhotse.SupervisionSegment(
        f"s{number}", recording.id, 0.5, 0.5, text=f"पाठ {number}", speaker=f"v{number}"
    )
    whole = lhotse.MonoCut(f"c{number}", 0.0, 1.0, 0, recording=recording, supervisions=[said])
    return whole.truncate(offset=0.5, duration=0.5, preserve_id=True)


def test_what_lhotse_has_written_is_read_as_lhotse_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "shar"
    folder.mkdir()
    cuts = lhotse.CutSet.from_cuts(cut(tmp_path, number) for number in range(3))
    cuts.to_shar(folder, fields={"recording": "wav"}, shard_size=2)
    items = load_items(str(folder))
    assert [(i.text, i.speaker, i.duration) for i in items] == [
        (f"पाठ {n}", f"v{n}", 0.5) for n in range(3)
    ]
    theirs = lhotse.CutSet.from_shar(in_dir=folder)
    for item, other in zip(items, theirs, strict=True):
        assert np.array_equal(ClipReader().samples(item), other.load_audio()[0])


def shar(folder: Path, cuts: list[dict], sounds: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    lines = "\n".join(map(json.dumps, cuts)).encode()
    (folder / "cuts.000000.jsonl.gz").write_bytes(gzip.compress(lines))
    tar(folder / "recording.000000.tar", sounds)
    return folder


SAID = [{"text": "एक"}]


def test_a_recording_is_never_what_the_list_says_of_it(tmp_path: Path) -> None:
    """A source of the kind `command` is run by lhotse."""
    mark = tmp_path / "was run"
    source = {"type": "command", "channels": [0], "source": f"touch '{mark}'"}
    recording = {"id": "r", "sources": [source], "sampling_rate": RATE, "num_samples": 8000}
    listed = {"id": "c", "recording": recording, "supervisions": SAID, "duration": 0.5}
    sounds = {"c.wav": wav(tone(3)), "c.json": json.dumps(recording).encode()}
    (item,) = load_items(str(shar(tmp_path / "x", [listed], sounds)))
    assert len(ClipReader().samples(item)) == 8000
    assert not mark.exists()


def test_a_cut_without_sound_is_left_out(tmp_path: Path) -> None:
    cuts = [{"id": "a", "supervisions": SAID}, {"id": "b", "supervisions": SAID}]
    sounds = {"a.nodata": b"", "a.nometa": b"", "b.wav": b"x", "b.json": b"{}"}
    assert [i.key for i in load_items(str(shar(tmp_path / "x", cuts, sounds)))] == [
        "recording.000000.tar/b.wav"
    ]


def test_lists_and_tars_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    cuts = [{"id": "a", "supervisions": SAID}, {"id": "b", "supervisions": SAID}]
    a, b = {"a.wav": b"x", "a.json": b"{}"}, {"b.wav": b"x", "b.json": b"{}"}
    for listed, sounds, words in (
        (cuts, a, "recording.000000.tar ends where 'b' belongs"),
        (cuts, {**b, **a}, r"has 'b\.wav' where 'a' belongs"),
        ([], a, "have no recordings"),
    ):
        with pytest.raises(DataError, match=words):
            load_items(str(shar(tmp_path / "x", listed, sounds)))
    (tmp_path / "x" / "cuts.000000.jsonl.gz").write_bytes(b"\x1f\x8b" + b"x" * 50)
    with pytest.raises(DataError, match=r"cuts\.000000\.jsonl\.gz: cannot be read"):
        load_items(str(tmp_path / "x"))
