"""The commands that give a run another size."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.commands.test_cli import Done, cli  # noqa: F401
from tests.support.runs.fake_runs import make_groups, make_run, make_scores
from tests.support.tiny_run import shared_run
from whisperslim.core.plan.plan import plan_to_budget
from whisperslim.errors import PlanError, RunError
from whisperslim.events import Progress
from whisperslim.jobs.pricing.terms import Terms
from whisperslim.jobs.run.folder import RunDir, list_runs
from whisperslim.jobs.sizes import derive as derive_jobs
from whisperslim.jobs.sizes import predict as prediction_jobs
from whisperslim.jobs.sizes import replan as replan_jobs
from whisperslim.jobs.sizes import sweep as check_jobs
from whisperslim.jobs.sizes import sweep as sweep_jobs
from whisperslim.jobs.sizes.curve import Sweep, SweepPoint
from whisperslim.jobs.sizes.derivation import Derivation, write_derivation
from whisperslim.jobs.sizes.predict import Prediction
from whisperslim.jobs.sizes.replan import Replan

Cli = Callable[..., Done]
PLANNED = Replan(
    plan=plan_to_budget(make_scores(make_groups()), make_groups(), 0.5),
    counted_in="the time of everything",
    parameters=50_000_000,
    dense_parameters=72_000_000,
    removed=22_000_000,
    zeroed=4_000_000,
    zeroed_before=1_000_000,
    bytes=100_000_000,
    dense_bytes=144_000_000,
    flops=6_000_000_000,
    dense_flops=9_000_000_000,
    workload="5 s of speech",
    seconds=0.25,
)
PREDICTED = Prediction(
    0.5, 0.1, 0.6, 0.2, 0.5, 0.7, 16, "16 clips of the dev set", "hindi-1", "fit", "hi", "greedy",
    "00", 3.0,
)  # fmt: skip


def a_point(target: float) -> SweepPoint:
    left = 1 - target
    return SweepPoint(
        target, target, 0.1, round(7e7 * left), round(1.4e8 * left), round(9e9 * left), 0.5 * left,
        0.2 + target, 0.1 + target, 0.3 + target, 0.1, 12, f"derived-{target:g}",
    )  # fmt: skip


def a_curve(run: RunDir, targets: list[float]) -> Sweep:
    points = tuple(a_point(target) for target in targets)
    return Sweep(run.name, "sgl", points, "set#test", "hindi-1", "fit", 20, {})


@pytest.fixture
def two_runs(tmp_path: Path) -> tuple[RunDir, RunDir]:
    return make_run(tmp_path / "runs", "first"), make_run(tmp_path / "runs", "second")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the commands ask of the jobs, which are stood in for."""
    seen: list[tuple[Any, ...]] = []

    def plan(run: RunDir, removed: float, zeroed: float | None, terms: Terms) -> Replan:
        seen.append(("replan", run.name, removed, zeroed, *([terms] if terms != Terms() else [])))
        return PLANNED

    def foresee(run: RunDir, removed: float, zeroed: float | None) -> Prediction:
        seen.append(("predict", run.name, removed, zeroed))
        return PREDICTED

    def measure(
        run: RunDir, targets: list[float], recover: int | None, progress: Callable[..., None]
    ) -> Sweep:
        seen.append(("sweep", run.name, targets, recover))
        progress(Progress("sweep", "sizes measured", 1, 2))
        return a_curve(run, [0.0, *targets])

    monkeypatch.setattr(replan_jobs, "replan", plan)
    monkeypatch.setattr(prediction_jobs, "stored_prediction", lambda *_: None)
    monkeypatch.setattr(prediction_jobs, "predict", foresee)
    monkeypatch.setattr(sweep_jobs, "sweep", measure)
    monkeypatch.setattr(check_jobs, "check_sweep", lambda *_: None)
    return seen


def test_replan_shows_what_the_size_would_be(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
) -> None:
    done = cli("replan", two_runs[0].name, "--target", "0.5")
    assert done.code == 0, done.err
    assert asked == [("replan", two_runs[0].name, 0.5, None)]
    assert all(part in done.out for part in ("50.00 M", "72.00 M", "100.0 MB", "6.000", "0.25 s"))
    assert "4.00 M zeroed in place, 1.00 M of those by training already" in done.out
    assert "(target 50.00% of the time of everything)" in done.out
    assert "predicted" not in done.out


def test_replan_may_aim_at_another_engine_and_currency(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
) -> None:
    words = ("replan", two_runs[0].name, "--target", "0.5", "--engine", "ctranslate2")
    done = cli(*words, "--quantize", "int8", "--currency", "latency")
    assert done.code == 0, done.err
    assert asked[0][4] == Terms("ctranslate2", "int8", "latency")
    done = cli(*words, "--predict")
    assert done.code == 2 and "--predict" in done.err
    done = cli("replan", two_runs[0].name, "--target", "0.5", "--engine", "abacus")
    assert done.code == 2 and "choose one of: torch, ctranslate2, onnx, hf" in done.err


def test_replan_with_a_prediction_says_what_it_is_of(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
) -> None:
    done = cli("replan", str(two_runs[0].path), "--target", "0.5", "--zeroed", "0.1", "--predict")
    assert done.code == 0 and [call[0] for call in asked] == ["replan", "predict"]
    assert "WER 60.00% (50.00% to 70.00%)" in done.out and "without recovery" in done.out
    assert "n=16" in done.out and "hindi-1" in done.out


def test_a_prediction_is_stored_once_it_is_shown(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
) -> None:
    run = two_runs[0]
    assert cli("replan", run.name, "--target", "0.5", "--predict").code == 0
    (path,) = (run.path / "predictions").iterdir()
    assert json.loads(path.read_text("utf-8"))["wer"] == 0.6


@pytest.mark.parametrize(("form", "shown"), [((), "WER 60.00%"), (("--json",), '"wer": 0.6')])
def test_a_prediction_that_cannot_be_stored_is_shown_all_the_same(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
    form: tuple[str, ...],
    shown: str,
) -> None:
    (two_runs[0].path / "predictions").write_text("mine")
    done = cli("replan", two_runs[0].name, "--target", "0.5", "--predict", *form)
    assert done.code == 1 and shown in done.out
    assert "predictions" in done.err and "there is a file in place of a folder" in done.err


def test_a_stored_prediction_is_not_made_again(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prediction_jobs, "stored_prediction", lambda *_: replace(PREDICTED, n=7))
    done = cli("replan", two_runs[0].name, "--target", "0.5", "--predict", "--json")
    record = json.loads(done.out)
    assert record["prediction"]["n"] == 7 and record["parameters"] == 50_000_000
    assert [call[0] for call in asked] == ["replan"]
    assert not (two_runs[0].path / "predictions").exists()


def test_latest_is_the_newest_run_of_its_own(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
) -> None:
    write_derivation(two_runs[1].path, Derivation(two_runs[0].name, "00", 0.5, 0.1, 0))
    assert list_runs(two_runs[0].path.parent)[0] == two_runs[1]
    assert cli("replan", "latest", "--target", "0.5").code == 0
    assert asked[0][1] == two_runs[0].name


@pytest.mark.parametrize(
    "arguments",
    [
        ("replan", "latest"),
        ("replan", "latest", "--target", "half"),
        ("replan", "latest", "--target", "0.5", "--recover", "5"),
        ("replan", "latest", "--target", "0.5", "--apply", "--recover", "-5"),
        ("sweep", "--targets", "0.2"),
        ("sweep", "latest"),
        ("sweep", "latest", "--targets", "0.2,much"),
    ],
)
def test_wrong_requests_exit_with_2_and_a_message(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
    arguments: tuple[str, ...],
) -> None:
    done = cli(*arguments)
    assert done.code == 2 and done.err and "Traceback" not in done.err and not done.out
    assert not asked


def test_an_unreachable_target_tells_the_range(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise PlanError("a removal target of 0.99 cannot be met: allows 0 to 0.9")

    monkeypatch.setattr(replan_jobs, "replan", refuse)
    monkeypatch.setattr(derive_jobs, "derive", lambda *_: pytest.fail("derived"))
    done = cli("replan", two_runs[0].name, "--target", "0.99", "--apply")
    assert done.code == 1 and "allows 0 to 0.9" in done.err and not done.out


def test_a_sweep_prints_the_curve_and_draws_it(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
) -> None:
    run = two_runs[0]
    done = cli("sweep", run.name, "--targets", "0.2, 0.5,", "--recover", "20")
    assert done.code == 0, done.err
    assert asked == [("sweep", run.name, [0.2, 0.5], 20)]
    assert "70.00%" in done.out and "60.00% to 80.00%" in done.out and "35.00 M" in done.out
    assert "set#test" in done.out and "hindi-1" in done.out and "20 steps" in done.out
    assert "targets are shares of the prunable weights" in done.out
    page = (run.path / "sweep.html").read_text("utf-8")
    assert str(run.path / "sweep.html") in done.err
    # Complete in itself, with the four pictures.
    assert "<script src=" not in page and page.count("Plotly.newPlot(") >= 4


def test_several_runs_share_one_picture(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
    tmp_path: Path,
) -> None:
    names = [run.name for run in two_runs]
    done = cli("sweep", *names, "--targets", "0.2", "--json")
    assert done.code == 0, done.err
    assert [call[1] for call in asked] == names
    assert [curve["run"] for curve in json.loads(done.out)] == names
    page = (tmp_path / "runs" / "sweep.html").read_text("utf-8")
    assert all(name in page for name in names)
    for run, other in (two_runs, two_runs[::-1]):
        own = (run.path / "sweep.html").read_text("utf-8")
        assert run.name in own and other.name not in own


def test_a_picture_without_a_place_is_refused_before_anything_is_measured(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
    tmp_path: Path,
) -> None:
    done = cli("sweep", two_runs[0].name, "--targets", "0.2", "--html", str(tmp_path))
    assert done.code == 1 and "there is a folder in place of a file" in done.err
    assert not asked and not done.out


def test_figures_are_printed_though_the_picture_cannot_be_drawn(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
) -> None:
    (two_runs[0].path / "sweep.html").mkdir()
    done = cli("sweep", two_runs[0].name, "--targets", "0.2")
    assert done.code == 1 and "there is a folder in place of a file" in done.err
    assert "40.00%" in done.out


def test_a_stopped_sweep_leaves_the_other_runs_alone(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []

    def stopped(run: RunDir, *_: object) -> Sweep:
        calls.append(run.name)
        return a_curve(run, [0.0])

    monkeypatch.setattr(sweep_jobs, "sweep", stopped)
    done = cli("sweep", *[run.name for run in two_runs], "--targets", "0.2")
    assert done.code == 0 and calls == [two_runs[0].name]
    assert "stopped" in done.err and (two_runs[0].path / "sweep.html").is_file()


def test_a_stop_after_the_last_size_of_a_run_leaves_the_other_runs_alone(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
) -> None:
    two_runs[0].request_stop()
    done = cli("sweep", *[run.name for run in two_runs], "--targets", "0.2")
    assert done.code == 0 and [call[1] for call in asked] == [two_runs[0].name]
    assert "stopped; the same command continues" in done.err
    done = cli("sweep", two_runs[0].name, "--targets", "0.2")
    assert done.code == 0 and "stopped" not in done.err


def test_every_run_is_checked_before_the_first_is_swept(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[tuple[Any, ...]] = []

    def check(run: RunDir, *request: Any) -> None:
        checked.append((run.name, *request))
        if run == two_runs[1]:
            raise PlanError("a removal target of 0.9 cannot be met")

    monkeypatch.setattr(check_jobs, "check_sweep", check)
    names = [run.name for run in two_runs]
    done = cli("sweep", *names, "--targets", "0.2,0.9", "--recover", "5")
    assert done.code == 1 and "0.9 cannot be met" in done.err and not done.out
    assert checked == [(name, [0.2, 0.9], 5) for name in names] and not asked


@pytest.mark.parametrize("as_json", [True, False])
def test_curves_measured_before_a_run_fails_are_shown(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    as_json: bool,
) -> None:
    def fail_second(run: RunDir, targets: list[float], *_: object) -> Sweep:
        if run == two_runs[1]:
            raise RunError("the size could not be made")
        return a_curve(run, [0.0, *targets])

    monkeypatch.setattr(sweep_jobs, "sweep", fail_second)
    out, names = tmp_path / "both.html", [run.name for run in two_runs]
    form = ("--html", str(out), *(["--json"] if as_json else []))
    done = cli("sweep", *names, "--targets", "0.2", *form)
    assert done.code == 1 and done.err.endswith("error: the size could not be made\n")
    if as_json:
        assert [curve["run"] for curve in json.loads(done.out)] == names[:1]
    else:
        assert names[0] in done.out and "40.00%" in done.out
    for page in (two_runs[0].path / "sweep.html", out):
        assert names[0] in page.read_text("utf-8")
    assert not (two_runs[1].path / "sweep.html").exists()


def test_a_sweep_that_fails_at_once_shows_nothing(
    cli: Cli,  # noqa: F811
    two_runs: tuple[RunDir, RunDir],
    asked: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def fail(*_: object) -> None:
        raise RunError("busy")

    monkeypatch.setattr(sweep_jobs, "sweep", fail)
    out = tmp_path / "page.html"
    done = cli("sweep", two_runs[0].name, "--targets", "0.2", "--json", "--html", str(out))
    assert done.code == 1 and not done.out and not out.exists()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDir]:
    folder = tmp_path_factory.mktemp("sizes")
    with shared_run(folder, data={"test": []}) as made:
        yield made


def test_apply_makes_the_model_here_and_now(cli: Cli, real: RunDir) -> None:  # noqa: F811
    done = cli("replan", str(real.path), "--target", "0.6", "--apply", "--recover", "1")
    assert done.code == 0, done.err
    made = list_runs(real.path.parent)[0]
    assert made != real and str(made.path) in done.err and "finished" in done.out
    assert (made.slim_path / "slim.json").is_file() and made.recipe().recover.steps == 1


def test_apply_leaves_stdout_to_the_record_when_that_is_json(cli: Cli, real: RunDir) -> None:  # noqa: F811
    done = cli("replan", str(real.path), "--target", "0.5", "--apply", "--recover", "0", "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["plan"]["target"] == 0.5 and record["prediction"] is None
    assert "shrink: done" in done.err and "finished" in done.err
