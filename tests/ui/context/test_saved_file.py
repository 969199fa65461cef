"""Files to save: written when asked for, and what a full disk does not take from view."""

import errno
import json
import os
from pathlib import Path
from typing import Any, NoReturn

import gradio as gr
import pytest

from tests.ui.compare.test_folder import heard, run_all
from tests.ui.compare.test_history import CLIP, made
from whisperslim.errors import RunError, UsageError
from whisperslim.jobs.run import disk
from whisperslim.ui.compare import folder_panel, results
from whisperslim.ui.compare.fields import ResultFields, lay_out_results
from whisperslim.ui.compare.folder import BatchCompare, Clip
from whisperslim.ui.compare.folder_panel import BatchFields
from whisperslim.ui.compare.history import History
from whisperslim.ui.compare.html import write_record


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "runs")


@pytest.fixture
def shown() -> ResultFields:
    with gr.Blocks():
        return lay_out_results()


@pytest.fixture
def panel() -> BatchFields:
    with gr.Blocks():
        return folder_panel.lay_out_panel()


def full_disk(*given: object, **named: object) -> NoReturn:
    """Stands for a function that writes a file."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_takes_no_comparison_from_view(
    history: History, shown: ResultFields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(results, "warn", warned.append)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))
    for name in ("write_text", "write_bytes", "mkdir"):
        monkeypatch.setattr(Path, name, full_disk)
    given = results.keep(shown, history, made(), str(CLIP), blind=False)
    assert "ws-transcript" in given[shown.result] and not given[shown.files]["visible"]
    assert len(warned) == 1 and "make room" in warned[0]
    with pytest.raises(RunError, match="make room"):
        write_record(made(), tmp_path / "files")


def test_files_are_there_however_long_a_page_was_open(
    history: History, shown: ResultFields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))
    one = made()
    history.save(one, CLIP, 120.0)
    results.updates(shown, history, one)
    assert not (tmp_path / "files").exists(), "what lies ready would be cleared away"
    pressed = _pressed(history)
    for elem_id, end in (("save-page", ".html"), ("save-json", ".json")):
        path = Path(pressed[elem_id](one.key))
        assert path.suffix == end and path.is_relative_to(tmp_path / "files")
        path.unlink()
        assert Path(pressed[elem_id](one.key)).stat().st_size > 100
        with pytest.raises(gr.Error, match="no comparison is chosen"):
            pressed[elem_id]("")


def _pressed(history: History) -> dict[str, Any]:
    """What each button of the page does, by its name there."""
    with gr.Blocks() as blocks:
        shown = lay_out_results()
        results.connect(shown, history)
    names = {each._id: getattr(each, "elem_id", None) for each in blocks.blocks.values()}
    return {
        str(names[which]): function.fn
        for function in blocks.fns.values()
        for which, event in function.targets
        if event == "click"
    }


def test_what_was_heard_is_written_when_asked_for(
    panel: BatchFields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))
    with pytest.raises(UsageError, match="compare a folder first"):
        folder_panel.write_record(None)
    state = run_all(
        BatchCompare(lambda *given: heard("एक", "एक"), tmp_path), [Clip("a", Path("/a"))]
    )
    folder_panel.updates(panel, state, None)
    assert not (tmp_path / "files").exists()
    record = json.loads(folder_panel.write_record(state).read_text("utf-8"))
    assert record["compared"] == 1 and record["rows"][0]["dense"] == "एक"


def test_a_full_disk_takes_no_result_from_view(
    panel: BatchFields, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = run_all(
        BatchCompare(lambda *given: heard("एक", "एक"), tmp_path), [Clip("a", Path("/a"))]
    )
    monkeypatch.setattr(disk, "write_text_atomically", full_disk)
    assert "1 of 1 clips" in folder_panel.updates(panel, state, None)[panel.result]
    with pytest.raises(RunError, match="make room"):
        folder_panel.write_record(state)
