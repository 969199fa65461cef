"""A corpus recorded sentence by sentence: nothing said is lost, whatever happens in between."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from whisperslim.errors import AudioError, DataError, UsageError, WhisperSlimError
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.speech.recording import session as recording_session
from whisperslim.speech.recording.prompts import (
    MOST_CHARACTERS,
    MOST_PROMPTS,
    check_prompts,
    read_prompts,
)
from whisperslim.speech.recording.session import (
    RATE,
    create_session,
    open_session,
    session_names,
    split_of,
)
from whisperslim.speech.recording.take_check import check_take

SENTENCES = [f"वाक्य {number}" for number in range(1, 7)]


def tone(seconds: float = 0.5, level: float = 0.3) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * 200 * time)).astype(np.float32)


def test_what_is_recorded_is_a_corpus(tmp_path: Path) -> None:
    session = create_session(tmp_path, "asha", SENTENCES, "Asha")
    for sentence, seconds in ((0, 0.5), (4, 0.75), (1, 1.0)):
        session.save(sentence, tone(seconds))
    items = load_items(str(session.manifest))
    assert [item.text for item in items] == ["वाक्य 1", "वाक्य 2", "वाक्य 5"]
    assert [item.duration for item in items] == [0.5, 1.0, 0.75]
    assert {item.speaker for item in items} == {"Asha"}
    assert [item.split for item in items] == ["train", "train", "test"]
    assert [len(load_items(f"{session.folder}#{split}")) for split in ("train", "test")] == [2, 1]
    assert items[0].path.is_file()


def test_every_fifth_sentence_is_kept_for_the_test() -> None:
    assert [number + 1 for number in range(11) if split_of(number) == "test"] == [5, 10]


def test_samples_come_back_as_they_were(tmp_path: Path) -> None:
    session = create_session(tmp_path, "asha", SENTENCES)
    samples = np.array([0.0, 0.5, -0.5, 1.0, -1.0, 3.0], dtype=np.float32)
    session.save(2, samples)
    kept = session.samples(2)
    # 32767 is full scale, and what is beyond is cut off rather than wrapped round.
    assert kept is not None and kept.tolist() == [0, 16384, -16384, 32767, -32767, 32767]
    assert session.samples(3) is None


def test_a_new_reading_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    session = create_session(tmp_path, "asha", SENTENCES)
    session.save(0, tone(0.5))
    again = session.save(0, tone(1.5))
    assert again.number == 2
    assert [path.name for path in (session.folder / "audio").iterdir()] == ["0001-002.flac"]
    assert [item.duration for item in load_items(str(session.manifest))] == [1.5]


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    session = create_session(tmp_path, "asha", SENTENCES)
    for sentence in (0, 1, 3):
        session.save(sentence, tone())
    again = open_session(tmp_path, "asha")
    assert again.prompts == tuple(SENTENCES)
    assert (again.next_open(), again.next_open(2), again.next_open(5)) == (2, 4, 2)
    for sentence in (2, 4, 5):
        again.save(sentence, tone())
    assert again.next_open() is None


def test_a_crash_before_the_manifest_was_written_loses_nothing(tmp_path: Path) -> None:
    session = create_session(tmp_path, "asha", SENTENCES)
    session.save(0, tone())
    before = session.manifest.read_bytes()
    session.save(1, tone())
    session.manifest.write_bytes(before)
    assert len(load_items(str(open_session(tmp_path, "asha").manifest))) == 2


def test_a_half_written_file_is_no_recording(tmp_path: Path) -> None:
    session = create_session(tmp_path, "asha", SENTENCES)
    session.save(0, tone())
    (session.folder / "audio" / ".0002-001.flac-abcd").write_bytes(b"fLaC")
    assert list(open_session(tmp_path, "asha").takes()) == [0]


def test_a_failed_write_keeps_the_earlier_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = create_session(tmp_path, "asha", SENTENCES)
    session.save(0, tone(0.5))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording_session.os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        session.save(0, tone(1.0))
    assert [take.seconds for take in session.takes().values()] == [0.5]
    assert not [path for path in session.folder.rglob(".*")]


def test_a_nearly_full_disk_is_reported_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = create_session(tmp_path, "asha", SENTENCES)
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(recording_session.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match="1 MB left"):
        session.save(0, tone())


def test_deleting_takes_it_out_of_the_manifest(tmp_path: Path) -> None:
    session = create_session(tmp_path, "asha", SENTENCES)
    session.save(0, tone())
    session.save(1, tone())
    session.drop(0)
    session.drop(0)
    assert [item.text for item in load_items(str(session.manifest))] == ["वाक्य 2"]


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [halved, emptied])
def test_a_damaged_recording_is_named_and_can_be_deleted(tmp_path: Path, damage: Any) -> None:
    session = create_session(tmp_path, "asha", SENTENCES)
    for sentence in range(3):
        session.save(sentence, tone())
    for sentence in (0, 1):
        damage(session.folder / "audio" / f"000{sentence + 1}-001.flac")
    again = open_session(tmp_path, "asha")
    for sentence in (0, 1):
        with pytest.raises(DataError, match=rf"000{sentence + 1}-001\.flac is damaged"):
            again.samples(sentence)
        again.drop(sentence)
        assert again.samples(sentence) is None
    assert list(again.takes()) == [2] and again.damaged() == {}
    assert [item.text for item in load_items(str(again.manifest))] == ["वाक्य 3"]


def test_a_recording_of_no_known_length_is_not_trained_on_and_read_again(tmp_path: Path) -> None:
    session = create_session(tmp_path, "asha", SENTENCES)
    for sentence in (0, 1):
        session.save(sentence, tone())
    emptied(session.takes()[0].path)
    again = open_session(tmp_path, "asha")
    assert list(again.takes()) == [1] and again.next_open() == 0
    assert "0001-001.flac is damaged" in again.damaged()[0]
    assert [item.text for item in load_items(str(again.manifest))] == ["वाक्य 2"]
    again.save(0, tone())
    assert list(again.takes()) == [0, 1] and again.damaged() == {}


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc", "é", "a" * 41, "-x", None, 3, "a\n"])
def test_names_cannot_lead_elsewhere(tmp_path: Path, name: object) -> None:
    with pytest.raises(UsageError, match="Enter a name"):
        create_session(tmp_path, name, SENTENCES)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Enter a name"):
        open_session(tmp_path, name)  # type: ignore[arg-type]


def test_links_are_not_followed(tmp_path: Path) -> None:
    create_session(tmp_path / "elsewhere", "asha", SENTENCES)
    root = tmp_path / "root"
    root.mkdir()
    (root / "asha").symlink_to(tmp_path / "elsewhere" / "asha")
    assert session_names(root) == []
    with pytest.raises(DataError):
        open_session(root, "asha")
    with pytest.raises(UsageError):
        create_session(root, "asha", SENTENCES)


def test_a_name_is_used_once(tmp_path: Path) -> None:
    create_session(tmp_path, "asha", SENTENCES)
    with pytest.raises(UsageError, match="already"):
        create_session(tmp_path, "asha", SENTENCES)


@pytest.mark.parametrize(
    "record", ["", "[]", "{}", '{"prompts": "text", "speaker": ""}',
               '{"prompts": [1], "speaker": ""}', '{"prompts": ["a"], "speaker": 3}']
)  # fmt: skip
def test_a_damaged_session_is_explained(tmp_path: Path, record: str) -> None:
    (tmp_path / "asha").mkdir()
    (tmp_path / "asha" / "session.json").write_text(record)
    with pytest.raises(DataError, match=r"session\.json is damaged"):
        open_session(tmp_path, "asha")


@pytest.mark.parametrize("sentence", [-1, 6])
def test_only_sentences_of_the_corpus_are_recorded(tmp_path: Path, sentence: int) -> None:
    session = create_session(tmp_path, "asha", SENTENCES)
    with pytest.raises(UsageError, match="1 to 6"):
        session.save(sentence, tone())


def test_the_corpus_last_worked_on_comes_first(tmp_path: Path) -> None:
    for name in ("first", "second"):
        create_session(tmp_path, name, SENTENCES)
    open_session(tmp_path, "first").save(0, tone())
    (tmp_path / "stranger").mkdir()
    assert session_names(tmp_path) == ["first", "second"]
    assert session_names(tmp_path / "missing") == []


# --- sentences --------------------------------------------------------------------------------


def test_sentences_are_lines(tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_bytes("\ufeffपहला  वाक्य\r\n\n पहला वाक्य \nक्\u200dष\u2028त\n".encode())
    # The same sentence twice would be in train and in test; joiners belong to Hindi.
    assert read_prompts(file) == ["पहला वाक्य", "क्\u200dष त"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["x" * (MOST_CHARACTERS + 1)], "line 1 has 301 characters"),
        ([f"s {n}" for n in range(MOST_PROMPTS + 1)], "2001 sentences are too many"),
        (["fine", "\x00"], "line 2 has control characters"),
        (["", "  "], "no sentence"),
        ([None], "sentence 1 is no text"),
        ("abc", "list of texts"),
    ],
)
def test_bad_sentences_are_explained(lines: list[object], said: str) -> None:
    with pytest.raises(WhisperSlimError, match=said):
        check_prompts(lines)


@pytest.mark.parametrize(
    ("content", "said"), [(b"\xff\xfea\x00", "UTF-16"), (b"\xff", "not UTF-8"), (b"", "no sent"),
                          (b"a\n" * 600_000, "bytes")]
)  # fmt: skip
def test_bad_files_of_sentences_are_explained(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "lines.txt"
    file.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_prompts(file)


# --- is it any good? --------------------------------------------------------------------------


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    soundfile.write(path, samples, rate)
    return path


def test_a_good_reading_has_no_doubts(tmp_path: Path) -> None:
    heard = check_take(write(tmp_path / "a.wav", tone(1.0, 0.1)))
    assert heard.doubts == () and heard.seconds == 1.0
    # A sine of amplitude 0.1 has a root mean square of 0.1 / sqrt(2), which is -23 dB.
    assert heard.level == pytest.approx(-23.0, abs=0.1)


@pytest.mark.parametrize(("level", "said"), [(0.008, "very quiet"), (1.0, "too loud")])
def test_mishaps_are_reported(tmp_path: Path, level: float, said: str) -> None:
    (doubt,) = check_take(write(tmp_path / "a.wav", tone(1.0, level))).doubts
    assert said in doubt


@pytest.mark.parametrize(
    ("samples", "said"),
    [(tone(31.0), "longer than the 30 s"), (np.zeros(RATE), "no speech in the recording")],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, samples: np.ndarray, said: str) -> None:
    with pytest.raises(AudioError, match=said):
        check_take(write(tmp_path / "a.wav", samples))


def test_the_session_file_is_plain(tmp_path: Path) -> None:
    create_session(tmp_path, "asha", SENTENCES, " Asha  D ")
    record = json.loads((tmp_path / "asha" / "session.json").read_text("utf-8"))
    assert record == {
        "version": 1, "speaker": "Asha D", "language": "hi", "prompts": SENTENCES,
    }  # fmt: skip
