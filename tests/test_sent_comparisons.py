"""Comparisons in a folder of runs that somebody sent: shown if they are such, else passed over."""

import json
import os
from pathlib import Path

import pytest

from tests.test_compare_batch import Listener, broken_off, clips_on_disk
from tests.test_ui_compare_history import CLIP, made
from whisperslim.core.sent_files import read_plain
from whisperslim.errors import RunError
from whisperslim.ui import compare_results
from whisperslim.ui.compare_batch import BatchCompare
from whisperslim.ui.compare_history import History


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "runs")


# --- files ------------------------------------------------------------------------------------


def test_a_plain_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "endless").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    assert read_plain(tmp_path / "file", 5) == b"12345"
    for name, most in (("file", 4), ("link", 9), ("endless", 9), ("pipe", 9), ("none", 9)):
        with pytest.raises((OSError, ValueError)):
            read_plain(tmp_path / name, most)
    with pytest.raises(ValueError, match="no plain file"):
        read_plain(tmp_path, 9)


def test_a_linked_recording_is_in_no_page(history: History, tmp_path: Path) -> None:
    one = made()
    history.save(one, CLIP, 120.0)
    recording = history.folder / one.key / "recording.flac"
    assert history.recording(one.key)
    recording.unlink()
    for target in (CLIP, Path("/dev/zero")):
        recording.symlink_to(target)
        assert history.recording(one.key) == b""
        page, exported = (compare_results.updates(history, one)[i] for i in (1, 7))
        assert "data:audio" not in page
        assert "data:audio" not in Path(exported["value"]).read_text("utf-8")
        recording.unlink()
    with recording.open("wb") as file:
        file.truncate(10**9)
    assert history.recording(one.key) == b""


@pytest.mark.parametrize("target", ["/dev/zero", "elsewhere"])
def test_a_linked_comparison_is_none(history: History, tmp_path: Path, target: str) -> None:
    one = made()
    history.save(one, None, 120.0)
    record = history.folder / one.key / "comparison.json"
    record.rename(tmp_path / "elsewhere")
    record.symlink_to(tmp_path / target)
    with pytest.raises(RunError, match="cannot be read"):
        history.find(one.key)
    assert history.listed() == []


def test_a_folders_comparison_is_read_from_no_link(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    before = broken_off(tmp_path, clips_on_disk(tmp_path, 3))
    newer = before.path.with_name("30000101-000000.json")
    record = json.loads(before.path.read_text("utf-8"))
    (tmp_path / "mine.json").write_text(json.dumps({**record, "source": "/mine"}), "utf-8")
    for target in (tmp_path / "mine.json", Path("/dev/zero")):
        newer.symlink_to(target)
        found = BatchCompare(Listener(), runs).look()
        assert found is not None and found.path == before.path
        newer.unlink()
    with newer.open("wb") as file:
        file.truncate(10**9)
    found = BatchCompare(Listener(), runs).look()
    assert found is not None and found.path == before.path
    elsewhere = before.path.parent.rename(tmp_path / "elsewhere")
    before.path.parent.symlink_to(elsewhere)
    assert BatchCompare(Listener(), runs).look() is None
