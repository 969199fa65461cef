"""The report of a run, its room on disk, and where it goes on: all read off the folder."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.support.runs.light_runs import light_run
from whisperslim import events
from whisperslim.errors import RunError
from whisperslim.jobs.report.report import report, write_report
from whisperslim.jobs.run import room
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.run.resuming import ResumePoint, resume_point

NASTY = "<script>alert('x')</script>"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    found = light_run(tmp_path / "runs", "told", f"name: told\nnote: {NASTY!r}\n")
    log = EventLog(found.events_path)
    for event in (
        events.RunStarted("told", 1, ("tune", "evaluate")),
        events.Notice(NASTY),
        *[_step(step) for step in (1, 2, 3)],
        events.Evaluated("evaluate", "slim", f"{NASTY}#test", 0, 12, 1.0, 0.125, 0.1, "h", "fit"),
        events.Planned(0.3, 0.1, 0.3, 0.1),
        events.StageFinished("tune", 61.5),
    ):
        log.append(event)
    groups = [{"key": "encoder.0.ffn", "count": 8}]
    (found.path / "groups.json").write_text(json.dumps(groups))
    found.plan_path.write_text(json.dumps({"keep": {"encoder.0.ffn": [0, 3, 5]}}))
    return found


def _step(step: int) -> events.StepDone:
    return events.StepDone("tune", step, 3, {NASTY: 1.0 / step}, 1e-5, 1.0, 0.1, 1)


def test_a_report_tells_what_the_folder_holds(run: RunDir) -> None:
    page = report(run)
    for word in ("told", "30.0 %", "12.5 %", "3 of 8", "61.5", "<polyline", "MIT license"):
        assert word in page
    assert "Environment</h2>" not in page  # there is none yet


def test_the_errors_of_every_stage_are_drawn(run: RunDir) -> None:
    log = EventLog(run.events_path)
    for event in (
        replace(_step(100), total=100),
        replace(_step(10), stage="recover", total=10),
        *[_dev("tune", step) for step in (50, 100)],
        _dev("recover", 10),
    ):
        log.append(event)
    page = report(run)
    charts = [part for part in page.split("<svg") if "Word error rate" in part]
    (points,) = re.findall(r'points="([^"]*)"', charts[0])
    assert len(points.split()) == 3, "two of tune, one of recover"


def _dev(stage: str, step: int) -> events.Evaluated:
    return events.Evaluated(stage, "dev", "dev", step, 12, 1.0, 0.5, 0.1, "h", "fit")


def test_a_score_without_its_label_goes_by_its_file(run: RunDir) -> None:
    path = run.eval_path("slim-dev")
    score = {"wer": 0.25, "cer": 0.1, "wer_interval_95": [0.2, 0.3], "version": 1, "warning": ""}
    found = {"n": 3, "window": "fit", "data": "dev", "scores": {"hindi-1": score}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"sets": {"dev": found}}))
    page = report(run)
    assert "slim-dev" in page and "damaged" not in page


def test_the_verdict_is_by_what_was_heard(run: RunDir) -> None:
    """The texts of an older run, whose own verdict went by the words as written."""
    said = "मैं मोहन के साथ गेंद खेलने जा रहा हूँ।"
    texts = {
        "dense": "میں موحن کے ساتھ گیند کھیلنے جارہا ہوں",
        "slim": "मैं मोहन के साट गेंद खेंद खेंडने जारा हो।",
    }
    run.eval_path("slim").parent.mkdir(parents=True)
    for label, heard in texts.items():
        rows = [f"/data#test:clip {i}\t{said}\t{heard}" for i in range(20)]
        lines = "\n".join(["key\treference\thypothesis", *rows]) + "\n"
        run.eval_path(label).with_suffix(".tsv").write_text(lines, "utf-8")
        run.eval_path(label).write_text(
            json.dumps({"sets": {"x": {"language": "hi", "scores": {}}}})
        )
    run.eval_path("difference").write_text(json.dumps({"/data#test": {}}))
    page = report(run)
    assert "On data#test: WER as written dense 100.0%, slim 55.6%" in page
    assert "by what was heard, dense heard more" in page
    assert "20 of 20 transcripts are not in the script of what was said" in page
    assert page.count("dense: written in Arabic (Urdu) script") == 10, "each example has it"
    assert "damaged" not in page


def test_a_report_needs_and_does_nothing(run: RunDir) -> None:
    page = report(run)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert not re.search(r"\b(src|href)\s*=|https?:|url\(|@import", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize("content", ["nonsense", "[]", "3", '{"keep": 3}', '{"report": {}}'])
def test_a_damaged_part_says_so(run: RunDir, content: str) -> None:
    for name in ("plan.json", "data.json", "environment.json"):
        (run.path / name).write_text(content)
    page = report(run)
    assert page.count("is damaged") == 3 and "12.5 %" in page


def test_a_report_is_written_for_others_to_read(run: RunDir, tmp_path: Path) -> None:
    write_report(run, tmp_path / "out" / "it.html")
    assert (tmp_path / "out" / "it.html").stat().st_mode & 0o777 == 0o644


def test_where_a_run_goes_on(run: RunDir) -> None:
    stages = ("data", "tune", "plan")
    assert resume_point(run, ()) == ResumePoint()
    run.mark_done("data")
    assert resume_point(run, stages).words == "from the beginning of tuning"
    for name in ("step-000020", "step-000100", "damaged-step-000120", ".step-000110-abcdefgh"):
        (run.checkpoints("tune") / name).mkdir(parents=True)
    assert resume_point(run, stages).words == "from step 100 of tuning"
    run.mark_done("tune")
    assert resume_point(run, stages) == ResumePoint("plan", 0)
    run.mark_done("plan")
    assert resume_point(run, stages) == ResumePoint()


def _model(folder: Path) -> Path:
    """Weights of 10 x 4 of embedding, 6 x 4 and 4 of the rest."""
    folder.mkdir()
    shapes = {"embed": (10, 4), "weight": (6, 4), "bias": (4,)}
    tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text('{"vocab_size": 10}')
    return folder


def test_room_is_arithmetic(tmp_path: Path) -> None:
    recipe = {
        "model": str(_model(tmp_path / "model")),
        "train": {"steps": 100, "checkpoint_every": 10, "keep_checkpoints": 2,
                  "freeze_embeddings": True},
        "recover": {"steps": 10, "checkpoint_every": 10, "keep_checkpoints": 2},
        "export": {"engine": "torch"},
    }  # fmt: skip
    run = light_run(tmp_path / "runs", "r", json.dumps(recipe))
    # 68 parameters, 28 of them trained, with two moments each; three checkpoints at the peak.
    # tuned, cut and slim hold 68 each. Four bytes a value.
    tuning = 3 * (68 + 2 * 28) * 4
    assert room.room_needed(run) == room.RoomNeeded(tuning, 3 * 68 * 4)
    run.mark_done("tune")  # what is left: one checkpoint of recovery, everything trained
    assert room.room_needed(run) == room.RoomNeeded((68 + 2 * 68) * 4, 3 * 68 * 4)


def test_without_its_model_a_runs_room_is_not_known(tmp_path: Path) -> None:
    run = light_run(tmp_path, "r", "model: nobody/has-this\n")
    assert room.room_needed(run) is None
    room.require_room_for(run)


def test_too_little_room_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = light_run(tmp_path, "r")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3_000_000))
    with pytest.raises(RunError, match=r"has 3 MB free and the run may need 50 MB\. Make room"):
        room.require_room_for(run)
