"""What a finished run shows of itself, and what can be done with it."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.scoring.test_run_verdict import SAID, URDU
from tests.support.runs.fake_runs import finish, make_run, write_events
from tests.ui.compare.test_compare import write_export
from whisperslim.errors import RunError, UsageError
from whisperslim.jobs.process import background
from whisperslim.jobs.process.removal import delete_run
from whisperslim.jobs.run.folder import RunDir, RunStatus, list_runs
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.runs import actions
from whisperslim.ui.runs.headline import headline_html
from whisperslim.ui.runs.tab import NOTHING_DRAWN, RunsTab, look_at_runs


@pytest.fixture
def run(app: AppContext, tmp_path: Path) -> RunDir:
    """Finished, of a dense model of 2 MB, with a slim one of 1 MB."""
    dense = tmp_path / "dense"
    dense.mkdir()
    (dense / "config.json").write_text("{}")
    (dense / "model.safetensors").write_bytes(bytes(2_000_000))
    made = make_run(app.runs, model=str(dense))
    write_events(made)
    finish(made)
    (made.slim_path / "model.safetensors").write_bytes(bytes(1_000_000))
    return made


def scored(run: RunDir, dense: str, slim: str, clips: int = 30) -> None:
    """What stage `evaluate` leaves of one set of equal clips."""
    run.eval_path("slim").parent.mkdir(exist_ok=True)
    for label, heard, seconds in (("dense", dense, 30.0), ("slim", slim, 10.0)):
        record = {"sets": {"corpus#test": {"language": "hi", "seconds": seconds}}}
        run.eval_path(label).write_text(json.dumps(record), "utf-8")
        rows = [f"corpus#test:{i}\t{SAID}\t{heard}" for i in range(clips)]
        lines = ["key\treference\thypothesis", *rows]
        run.eval_path(label).with_suffix(".tsv").write_text("\n".join(lines) + "\n", "utf-8")
    found = {"wer_a": 0.5, "wer_b": 0.25, "interval": {"low": -0.35, "high": -0.15}}
    difference = {"corpus#test": {"raw": {}, "hindi-1": found}}
    run.eval_path("difference").write_text(json.dumps(difference), "utf-8")


def test_the_headline_has_size_speed_error_rate_and_verdict(run: RunDir) -> None:
    assert headline_html(run) == "", "nothing is said before it is scored"
    scored(run, URDU, SAID.replace("साथ", "साट").replace("गेंद", "खेंद"))
    page = headline_html(run)
    assert "50 % smaller" in page and "2.0 MB → 1.0 MB on disk, PyTorch" in page
    assert "3.0× faster" in page and "30 s → 10 s" in page
    assert "25.0 %" in page and "from 50.0 % dense" in page and "-35.0 to -15.0 points" in page
    assert "no winner, since another script hides it" in page and "Arabic 30" in page


def test_the_smallest_export_is_the_size_that_counts(run: RunDir) -> None:
    scored(run, SAID, SAID)
    folder = write_export(run.path / "export" / "onnx-int8", "onnx", "int8", 6)
    record = json.loads((folder / "export.json").read_text("utf-8"))
    record["files"] = {"decoder.onnx": 500_000}
    (folder / "decoder.onnx").write_bytes(bytes(500_000))
    (folder / "export.json").write_text(json.dumps(record))
    page = headline_html(run)
    assert "75 % smaller" in page and "0.5 MB on disk, ONNX Runtime int8" in page


def test_a_damaged_score_is_said_and_hides_nothing_else(run: RunDir) -> None:
    scored(run, SAID, SAID)
    run.eval_path("slim").write_text("[]")
    assert "damaged" in headline_html(run)


def test_a_finished_run_can_be_compared_exported_and_deleted(
    app: AppContext, tab: RunsTab, run: RunDir
) -> None:
    updates, _ = look_at_runs(tab, app, run.name, NOTHING_DRAWN)
    parts = (tab.actions.compare, tab.actions.exporting, tab.actions.delete, tab.report.button)
    assert [updates[part]["visible"] for part in parts] == [True] * 4
    shown = actions.shown(tab.actions, run, RunStatus.RUNNING)
    assert not any(shown[part]["visible"] for part in parts[:3])
    failed = actions.shown(tab.actions, run, RunStatus.FAILED)
    assert failed[tab.actions.delete]["visible"] and not failed[tab.actions.compare]["visible"]


def test_an_export_is_the_command_line_s(app: AppContext, run: RunDir) -> None:
    forms = [value for _, value in actions.export_forms()]
    assert forms[0] == "onnx-int8", "the fastest first"
    assert {"ctranslate2-int8", "ctranslate2-none", "onnx-none", "hf-none"} <= set(forms)
    assert actions.export_arguments(run, "ctranslate2-int8") == [
        "export", str(run.slim_path), str(run.path / "export" / "ctranslate2-int8"),
        "--engine", "ctranslate2", "--quantize", "int8", "--language", "hi", "--force",
    ]  # fmt: skip
    for form in (None, ["onnx-int8"], "onnx-int9", "../../x"):
        with pytest.raises(UsageError, match="not an export format"):
            actions.start_export(app, run.name, form)
    unfinished = make_run(app.runs, "unfinished")
    with pytest.raises(RunError, match="no finished model"):
        actions.start_export(app, unfinished.name, "onnx-int8")


def test_an_export_at_work_written_and_failed_is_shown(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = run.path / "export" / "onnx-int8"
    said = ["export", str(run.slim_path), str(out)]
    state = background.Background(tuple(said), True, "loading\nwriting <x>")
    monkeypatch.setattr(background, "look", lambda run, name: state)
    assert "Exporting: writing &lt;x&gt;" in actions.exports_html(run)
    state = background.Background(tuple(said), False, "error: no room")
    assert "failed: error: no room" in actions.exports_html(run)
    before = actions.exports_mark(run)
    write_export(out, "onnx", "int8", 6)
    page = actions.exports_html(run)
    assert str(out) in page and "failed" not in page
    assert actions.exports_mark(run) != before


def test_deleted_is_gone_and_nothing_else(app: AppContext, run: RunDir) -> None:
    other = make_run(app.runs, "other")
    delete_run(run)
    assert [each.name for each in list_runs(app.runs)] == [other.name]
    assert [path.name for path in app.runs.iterdir() if "deleted" in path.name] == []


def test_a_run_at_work_is_not_deleted(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    held, done = threading.Event(), threading.Event()

    def work() -> None:
        with run.lock():
            held.set()
            done.wait(30)

    worker = threading.Thread(target=work)
    worker.start()
    assert held.wait(30)
    try:
        with pytest.raises(RunError, match="busy"):
            delete_run(run)
    finally:
        done.set()
        worker.join()
    (run.path / "background").mkdir()
    (run.path / "background" / "export.log").write_text("$ whisperslim export\n")
    busy: Any = lambda run, name: background.Background(("export",), True, "")  # noqa: E731
    monkeypatch.setattr(background, "look", busy)
    with pytest.raises(RunError, match="is running"):
        delete_run(run)
    assert run.slim_path.is_dir()
