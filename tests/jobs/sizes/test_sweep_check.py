"""What is wrong with a sweep is found out before any of its runs is worked on."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands.test_cli import Done, cli  # noqa: F401
from tests.support.tiny_run import copy_of, plain_run, shared_run
from whisperslim.errors import PlanError, RunError, UsageError, WhisperSlimError
from whisperslim.jobs.run.folder import RunDir, list_runs
from whisperslim.jobs.sizes.sweep import check_sweep, sweep


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDir]:
    """A finished run that is scored on its dev set."""
    folder = tmp_path_factory.mktemp("check")
    with shared_run(folder, data={"test": []}) as made:
        yield made


@pytest.fixture
def run(tuned: RunDir, tmp_path: Path) -> RunDir:
    return copy_of(tuned, tmp_path)


def files(run: RunDir) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in run.path.parent.rglob("*")}


@pytest.mark.parametrize("recover", [None, 0, 5])
def test_a_good_sweep_passes_and_nothing_is_made(run: RunDir, recover: int | None) -> None:
    check_sweep(run, [0.2], recover)  # what `tuned.json` says of a copy's weights is found again
    before = files(run)
    check_sweep(run, [0.2, 0.0, 0.7], recover)
    assert files(run) == before


def damage_curve(run: RunDir) -> None:
    (run.path / "sweep.json").write_text("{")


def leave_nothing_to_score(run: RunDir) -> None:
    record = json.loads((run.path / "data.json").read_text("utf-8"))
    record["chosen"]["dev"] = []
    (run.path / "data.json").write_text(json.dumps(record), "utf-8")


def take_plan_back(run: RunDir) -> None:
    (run.path / "stages" / "plan.done").unlink()


@pytest.mark.parametrize(
    ("spoil", "targets", "kind", "reported"),
    [
        (lambda run: None, [0.2, 0.9], PlanError, "allows 0 to"),
        (lambda run: None, [float("nan")], PlanError, "allows 0 to"),
        (lambda run: None, [-0.1], PlanError, "allows 0 to"),
        (damage_curve, [0.2], RunError, "sweep again"),
        (leave_nothing_to_score, [0.2], UsageError, "neither test nor dev set"),
        (take_plan_back, [0.2], RunError, "no score map yet"),
    ],
)
def test_what_a_sweep_would_refuse_is_refused_alike(
    run: RunDir,
    spoil: Callable[[RunDir], None],
    targets: list[float],
    kind: type[WhisperSlimError],
    reported: str,
) -> None:
    spoil(run)
    for ask in (check_sweep, sweep):
        with pytest.raises(kind, match=reported):
            ask(run, targets, 0)
    assert list_runs(run.path.parent) == [run]


def test_recovery_that_no_recipe_takes_is_refused(run: RunDir) -> None:
    with pytest.raises(UsageError, match=r"cannot be swept at 0: recover\.steps: .* 1000000 steps"):
        check_sweep(run, [0.2], 10**9)


def test_a_run_that_prunes_nothing_is_named_before_another_is_swept(
    cli: Callable[..., Done],  # noqa: F811
    run: RunDir,
    tmp_path: Path,
) -> None:
    plain = plain_run(tmp_path / "plain")
    done = cli("sweep", str(run.path), str(plain.path), "--targets", "0.1,0.3", "--recover", "0")
    assert done.code == 2 and not done.out
    assert f"{plain.name} cannot be swept at 0.1: target.removed: method none prunes" in done.err
    assert list_runs(run.path.parent) == [run] and not (run.path / "sweep.json").exists()
