"""Comparisons in a folder of runs that somebody sent: shown if they are such, else passed over."""

import json
import os
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.ui.compare.test_folder import Listener, broken_off, clips_on_disk
from tests.ui.compare.test_history import CLIP, made
from whisperslim.core.disk.untrusted import json_of, read_plain, typed
from whisperslim.errors import RunError
from whisperslim.ui.compare import results
from whisperslim.ui.compare.fields import lay_out_results
from whisperslim.ui.compare.folder import BatchCompare
from whisperslim.ui.compare.history import History
from whisperslim.ui.compare.html import comparison_page


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "runs")


# --- files ------------------------------------------------------------------------------------


def test_a_plain_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    assert read_plain(tmp_path / "file", 5) == b"12345"
    for name, most in (("file", 4), ("link", 9), ("zeros", 9), ("pipe", 9), ("none", 9)):
        with pytest.raises((OSError, ValueError)):
            read_plain(tmp_path / name, most)
    with pytest.raises(ValueError, match="not a plain file"):
        read_plain(tmp_path, 9)


def test_a_linked_recording_is_in_no_page(history: History, tmp_path: Path) -> None:
    one = made()
    history.save(one, CLIP, 120.0)
    recording = history.folder / one.key / "recording.flac"
    assert history.recording(one.key)
    recording.unlink()
    with gr.Blocks():
        shown = lay_out_results()
    for target in (CLIP, Path("/dev/zero")):
        recording.symlink_to(target)
        assert history.recording(one.key) == b""
        assert "data:audio" not in results.updates(shown, history, one)[shown.result]
        assert "data:audio" not in comparison_page(one, history.recording(one.key))
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


# --- values -----------------------------------------------------------------------------------

HUGE = 10**400
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("value", "kind"),
    [(HUGE, float), (HUGE, int), (-HUGE, int), (2**53 + 1, int), (1e18, float), (True, int),
     (float("nan"), float), (float("inf"), float), ("\ud800", str), ([], dict), ("a", list)],
)  # fmt: skip
def test_a_value_nobody_can_work_with_is_refused(value: Any, kind: type) -> None:
    with pytest.raises(ValueError):
        typed(value, kind)


def test_other_values_are_themselves() -> None:
    assert (typed(3, float), typed(2**53, int), typed("हाँ", str)) == (3.0, 2**53, "हाँ")


@pytest.mark.parametrize("content", [DEEP.encode(), b"\xff", b"", b"9" * 5000])
def test_what_is_no_json_is_reported(content: bytes) -> None:
    with pytest.raises(ValueError):
        json_of(content)


def spoilt(record: dict[str, Any], path: str, value: Any) -> str:
    """JSON of `record` with another value at a path such as `sides.0.scores`."""
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    spot: Any = record
    for part in parents:
        spot = spot[part]
    spot[last] = value
    return json.dumps(record)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("audio_seconds", HUGE),
        ("sides.0.scores", []),
        ("sides.0.scores", {"raw": [HUGE, 0]}),
        ("sides.0.scores", {"\ud800": [0, 0]}),
        ("sides.1.tokens", HUGE),
        ("sides.1.text", "\ud800"),
        ("sides", {"0": 1}),
        ("reference", "\udfff"),
        ("made", "9999-12-31T23:59:59-23:00"),
        ("made", "0001-01-01T00:00:00"),
        ("made", "0001-01-01T00:00:00+14:00"),
        ("made", "2026-01-01T00:00:00"),
        ("blind", "ab"),
    ],
)
def test_one_damaged_comparison_leaves_the_others(history: History, path: str, value: Any) -> None:
    good, bad = made(), made()
    for one in (good, bad):
        history.save(one, None, 120.0)
    record = history.folder / bad.key / "comparison.json"
    record.write_text(spoilt(json.loads(record.read_text("utf-8")), path, value), "utf-8")
    with pytest.raises(RunError, match="cannot be read"):
        history.find(bad.key)
    with gr.Blocks():
        shown = lay_out_results()
    listed = results.listing(shown, history, good.key)[shown.earlier]
    assert [key for _, key in listed["choices"]] == [good.key]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("rows.0.audio_seconds", HUGE),
        ("rows.0.dense", "\ud800"),
        ("rows", [{}] * 501),
        ("total", HUGE),
        ("names", "ab"),
        ("sides.0", []),
        ("source", DEEP),
    ],
)
def test_one_damaged_folder_record_leaves_the_others(tmp_path: Path, path: str, value: Any) -> None:
    before = broken_off(tmp_path, clips_on_disk(tmp_path, 3))
    text = spoilt(json.loads(before.path.read_text("utf-8")), path, value)
    text = text.replace(f'"{DEEP}"', DEEP)
    before.path.with_name("30000101-000000.json").write_text(text, "utf-8")
    batch = BatchCompare(Listener(), tmp_path / "runs")
    for _ in range(2):
        found = batch.look()
        assert found is not None and found.path == before.path
