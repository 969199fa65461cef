"""Figures for TensorBoard and Trackio: which, under what names, and when they are not wanted."""

import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from tests.support.tiny_run import tiny_recipe
from whisperslim import events
from whisperslim.commands.runs import work_in_foreground
from whisperslim.errors import RecipeError, UsageError
from whisperslim.events import Event
from whisperslim.jobs.process import worker
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.run.tracking import check_tracking, figures, tracker

STEP = events.StepDone("tune", 7, 10, {"ctc": 0.5, "penalty": math.nan}, 1e-4, 2.0, 0.25, 100)
SCORE = events.Evaluated(
    "evaluate", "slim", "/home/asha/voices#test", 0, 3, None, 0.25, 0.1, "hindi-1", "fit"
)
END = events.Finished(1.0, "slim")


class Calls:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.made: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def note(*given: Any, **named: Any) -> None:
            self.made.append((name, given, named))

        return note


@pytest.fixture
def trackio(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    monkeypatch.setitem(sys.modules, "trackio", calls)  # type: ignore[arg-type]
    return calls


def test_a_step_has_its_losses_and_what_goes_with_them() -> None:
    step, found = figures(STEP)
    assert step == 7
    assert found == {
        "tune/loss/ctc": 0.5,  # what is not finite is left out
        "tune/learning_rate": 1e-4,
        "tune/grad_norm": 2.0,
        "tune/seconds_per_step": 0.25,
        "tune/peak_memory_bytes": 100,
    }


def test_a_score_names_its_model_and_its_set_without_the_path() -> None:
    assert figures(SCORE) == (0, {"evaluate/slim/voices#test/wer": 0.25,
                                  "evaluate/slim/voices#test/cer": 0.1})  # fmt: skip


def test_sparsity_has_its_groups_and_gauges_and_a_plan_its_shares() -> None:
    event = events.SparsityMeasured(
        "tune", 3, {"encoder.0.heads": 0.5}, {"encoder.0.heads": 0.25}, {"density": {"a": 0.75}}
    )
    assert figures(event) == (
        3,
        {
            "tune/dead_units/encoder.0.heads": 0.5,
            "tune/zero_elements/encoder.0.heads": 0.25,
            "tune/density/a": 0.75,
        },
    )
    plan = events.Planned(0.5, 0.1, 0.5, 0.1)
    assert figures(plan) == (0, {"plan/removed": 0.5, "plan/zeroed": 0.1})


@pytest.mark.parametrize("event", [events.Notice("n"), END, events.StageStarted("tune")])
def test_other_events_have_no_figures(event: Event) -> None:
    assert figures(event) == (0, {})


@pytest.mark.parametrize("asked", ["tensorboard", "tensorboard:", "trackio: ", "wandb:x", ":x"])
def test_what_is_no_place_is_refused(asked: str) -> None:
    with pytest.raises(UsageError, match="tensorboard:FOLDER, trackio:PROJECT"):
        check_tracking(asked)


@pytest.mark.parametrize("kind", ["tensorboard", "trackio"])
def test_a_library_that_is_missing_is_named_with_its_extra(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, kind, None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=rf"{kind}.*whisperslim\[track\]"):
        check_tracking(f"{kind}:place")


def test_trackio_gets_the_figures_and_nothing_of_the_machine(trackio: Calls) -> None:
    take = tracker("trackio:hindi", "run-1")
    for event in (events.Notice("n"), STEP, END):
        take(event)
    opened, logged, finished = trackio.made
    quiet = {"auto_log_gpu": False, "auto_log_cpu": False, "embed": False}
    assert opened == ("init", (), {"project": "hindi", "name": "run-1", "resume": "allow", **quiet})
    assert logged == ("log", (figures(STEP)[1],), {"step": 7})
    assert finished == ("finish", (), {})


def test_tensorboard_gets_each_figure_at_the_time_of_its_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, folders, module = Calls(), list[str](), ModuleType("torch.utils.tensorboard")

    def writer(folder: str) -> Calls:
        folders.append(folder)
        return calls

    module.SummaryWriter = writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorboard", ModuleType("tensorboard"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    take = tracker(f"tensorboard:{tmp_path / 'logs'}", "run-1")
    for event in (STEP, SCORE, END):
        take(event)
    assert folders == [str(tmp_path / "logs" / "run-1")] and Path(folders[0]).is_dir()
    added = [given for name, given, _ in calls.made if name == "add_scalar"]
    wanted = [(name, value, 7) for name, value in figures(STEP)[1].items()]
    assert added == wanted + [(name, value, 0) for name, value in figures(SCORE)[1].items()]
    assert {named["walltime"] for _, _, named in calls.made[: len(wanted)]} == {STEP.at}
    assert [name for name, _, _ in calls.made if name != "add_scalar"] == ["flush", "close"]


def test_tensorboard_itself_reads_the_figures_back(tmp_path: Path) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    take = tracker(f"tensorboard:{tmp_path}", "run-1")
    for event in (STEP, SCORE, END):
        take(event)
    found = reading.EventAccumulator(str(tmp_path / "run-1"))
    found.Reload()
    (loss,) = found.Scalars("tune/loss/ctc")
    assert (loss.step, loss.value) == (7, 0.5)
    (wer,) = found.Scalars("evaluate/slim/voices#test/wer")
    assert (wer.step, wer.value) == (0, 0.25)


def test_a_recipe_that_somebody_sent_cannot_ask_for_it(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="track"):
        from_mapping(tiny_recipe(tmp_path, runtime={"track": f"tensorboard:{tmp_path}"}))


def test_a_run_in_the_foreground_is_tracked_and_only_when_asked(
    tmp_path: Path, trackio: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(run: RunDir, emit: worker.Sink) -> None:
        emit(replace(STEP, losses={"ctc": 0.5}))

    monkeypatch.setattr(worker.run_worker, "__defaults__", ((), lambda: (("tune",), work)))
    recipe = tiny_recipe(tmp_path)
    for name, track in (("quiet", ""), ("shown", "trackio:hindi")):
        run = RunDir.create(tmp_path / "runs", from_mapping({**recipe, "name": name}))
        with pytest.raises(typer.Exit) as ended:
            work_in_foreground(run, track=track)
        assert ended.value.exit_code == 0
    assert [name for name, _, _ in trackio.made] == ["init", "log", "finish"]
    assert trackio.made[0][2]["name"] == run.name
