"""A run killed right before any call to the file system ends as one that was left in peace.

`make kills` tries a hundred of the calls.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.forked import new_run, tiny_values, work_to_end
from tests.support.kill_calls import calls_of, figures, kill_at
from tests.support.tiny import tiny_corpus
from whisperslim.core.store.score_map import ScoreMap
from whisperslim.jobs.run.folder import RunDir, RunStatus

KILLS = int(os.environ.get("WHISPERSLIM_KILL_CALLS", "10"))
STAGES = {"steps": 4, "batch_size": 2, "evaluate_every": 0, "checkpoint_every": 2}
SAME = (
    "slim/model.safetensors", "tuned/model/model.safetensors", "plan.json", "groups.json",
    "eval/dense.tsv", "eval/slim.tsv",
)  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """A recipe, and what a run of it was and did that nothing befell."""

    folder: Path
    values: dict[str, Any]
    run: RunDir
    calls: list[str]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("ground")
    values = tiny_values(folder, train=STAGES, recover=STAGES)
    corpus = tiny_corpus(folder / "corpus", clips=8)
    values["data"] = {**values["data"], "test": [f"{corpus}#test"]}
    run = new_run(folder / "runs", values)
    calls = calls_of(run, folder / "cache", folder / "calls")
    assert run.status() == RunStatus.FINISHED
    return Ground(folder, values, run, calls)


def end_of(run: RunDir) -> dict[str, Any]:
    """All that a run is made for, by file: bytes, and the figures of evaluations."""
    found: dict[str, Any] = {name: (run.path / name).read_bytes() for name in SAME}
    scores = ScoreMap.load(run.scores_path)  # its file has facts in no order
    found["scores"] = {key: values.tolist() for key, values in scores.scores.items()}
    for label in ("dense", "slim"):
        found[label] = figures(run.eval_path(label))
    return found


def test_the_calls_of_a_run_are_seen(ground: Ground) -> None:
    """Markers, checkpoints, models and scores are all put in their places by such calls."""
    names = "\n".join(ground.calls)
    assert len(ground.calls) > 100
    for part in ("stages/", "checkpoints/tune", "tuned", "plan.json", "cut", "slim", "eval/",
                 "events.jsonl", "data.json", "environment.json", "os.fsync", "os.remove",
                 "os.rename", "os.mkdir"):  # fmt: skip
        assert part in names, part


@pytest.mark.parametrize("turn", range(KILLS))
def test_killed_before_a_call(ground: Ground, tmp_path: Path, turn: int) -> None:
    # At equal distances over all calls.
    number = 1 + (2 * turn + 1) * len(ground.calls) // (2 * KILLS)
    run = new_run(tmp_path, ground.values)
    assert kill_at(run, ground.folder / "cache", number) == -9, ground.calls[number - 1]
    assert run.status() != RunStatus.RUNNING
    assert work_to_end(run, ground.folder / "cache") == 0, ground.calls[number - 1]
    assert run.status() == RunStatus.FINISHED
    assert end_of(run) == end_of(ground.run), ground.calls[number - 1]
    assert not list(run.path.rglob(".*")), "what a killed worker left is cleared away"
