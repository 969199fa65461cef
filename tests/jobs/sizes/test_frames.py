"""A finished run of a model that scores frames: other sizes, report, comparison, text while
speaking, and pictures, as of any model."""

from pathlib import Path

import numpy as np
import pytest

from tests.engines.live.test_streaming import Loudness, stream, voice
from tests.support.tiny_run import finished_run
from whisperslim.core.cost.cost import inspect_model
from whisperslim.core.loading import load_model
from whisperslim.core.store.checkpoint import count_parameters
from whisperslim.engines.comparison import compare
from whisperslim.engines.live.text import LiveOptions, LiveText
from whisperslim.engines.opening import open_transcriber
from whisperslim.jobs.report.report import report
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.derive import derive
from whisperslim.jobs.sizes.predict import predict
from whisperslim.jobs.sizes.replan import replan
from whisperslim.jobs.stages.order import work
from whisperslim.speech.audio.window import WindowPolicy


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    place = tmp_path_factory.mktemp("frames")
    return finished_run(
        place, head={"kind": "ctc", "pool": 2}, prepare={"steps": 2, "batch_size": 4,
        "evaluate_every": 0}, distill={"teacher": "dense"}, recover={"steps": 2},
    )  # fmt: skip


def test_other_sizes_are_planned_predicted_and_made(run: RunDir) -> None:
    smaller, larger = replan(run, 0.6), replan(run, 0.2)
    assert smaller.parameters < larger.parameters < larger.dense_parameters
    assert smaller.flops < larger.flops < larger.dense_flops
    assert predict(run, 0.5).removed == pytest.approx(0.5, abs=0.1)
    derived = derive(run, 0.6)
    work(derived, lambda event: None)
    assert derived.stage_done("evaluate")
    slim = load_model(str(derived.path))
    assert count_parameters(slim.model) == smaller.parameters


def test_its_report_and_its_costs_can_be_read(run: RunDir) -> None:
    page = report(run)
    assert "encoder 1 self-attn heads" in page and "WER" in page
    costs = inspect_model(str(run.path))
    assert costs.parameters == sum(row.parameters for row in costs.rows)
    assert {row.stack for row in costs.rows} == {"encoder"}


def test_it_is_compared_with_the_model_it_was_made_of(run: RunDir) -> None:
    sides = [open_transcriber(str(place), WindowPolicy()) for place in
             (run.path / "prepared", run.path)]  # fmt: skip
    found = compare(sides[0], sides[1], voice(1.0), language="hi", reference="पानी")
    assert found.reference == "पानी"


def test_text_while_speaking(run: RunDir) -> None:
    side = open_transcriber(str(run.path), WindowPolicy())
    heard: list[str] = []

    def hear(sound: np.ndarray) -> str:
        heard.append(side.transcribe(sound, "hi").text)
        return heard[-1]

    live = LiveText(hear, Loudness(), LiveOptions())
    stream(live, voice(1.5))
    assert len(heard) > 1 and live.partial().text == heard[-1]


def test_a_finished_model_is_where_another_run_begins(run: RunDir, tmp_path: Path) -> None:
    again = finished_run(tmp_path, model=str(run.path))
    slim = load_model(str(again.path))
    assert slim.family.model_type == "whisper_ctc"
    assert sum(g.count for g in slim.groups()) < sum(
        g.count for g in load_model(str(run.path)).groups()
    )
