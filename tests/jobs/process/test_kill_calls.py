"""A run killed right before any call to the file system ends as one that was left in peace.

So does one that finds no room from that call on, once there is some. `make kills` tries a hundred
of the calls.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs.forked import found_events, new_run, tiny_values
from tests.support.runs.kill_calls import calls_of, figures, fill_at, go_on, kill_at
from tests.support.tiny import tiny_corpus
from whisperslim import events
from whisperslim.core.store.score_map import ScoreMap
from whisperslim.jobs.run.folder import RunDir, RunStatus

KILLS = int(os.environ.get("WHISPERSLIM_KILL_CALLS", "10"))
STAGES = {"steps": 4, "batch_size": 2, "evaluate_every": 0, "checkpoint_every": 2}
SAME = (
    "slim/model.safetensors", "tuned/model/model.safetensors", "plan.json", "groups.json",
    "eval/dense.tsv", "eval/slim.tsv", "export/ctranslate2/model.bin",
    "export/ctranslate2/vocabulary.json",
)  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """A recipe, and what a run of it was and did that nothing befell."""

    folder: Path
    values: dict[str, Any]
    run: RunDir
    calls: list[str]


# Groups of calls, each of which is hit: by what is in the name of one.
GROUPS = ("os.rename", "os.remove", "stages/", "export/", "eval/", "")


def number_of(calls: list[str], turn: int, turns: int) -> int:
    """The call that a turn is about, from 1: turns go round the groups, and along each of them."""
    group = GROUPS[turn % len(GROUPS)]
    numbers = [number for number, call in enumerate(calls, 1) if group in call]
    rounds = -(-turns // len(GROUPS))
    return numbers[(2 * (turn // len(GROUPS)) + 1) * len(numbers) // (2 * rounds)]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("ground")
    pytest.importorskip("ctranslate2")
    values = tiny_values(folder, train=STAGES, recover=STAGES)
    corpus = tiny_corpus(folder / "corpus", clips=8)
    values["export"] = {"engine": "ctranslate2"}
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
    for part in (*GROUPS, "stages/", "checkpoints/tune", "tuned", "plan.json", "cut", "slim",
                 "events.jsonl", "data.json", "environment.json", "os.fsync", "os.remove",
                 "os.rename", "os.mkdir"):  # fmt: skip
        assert part in names, part


@pytest.mark.parametrize("turn", range(KILLS))
def test_killed_before_a_call(ground: Ground, tmp_path: Path, turn: int) -> None:
    number = number_of(ground.calls, turn, KILLS)
    run = new_run(tmp_path, ground.values)
    assert kill_at(run, ground.folder / "cache", number) == -9, ground.calls[number - 1]
    assert run.status() != RunStatus.RUNNING
    assert_goes_on_to_the_same_end(run, ground, ground.calls[number - 1])


@pytest.mark.parametrize("turn", range(KILLS // 2))
def test_no_room_from_a_call_on(ground: Ground, tmp_path: Path, turn: int) -> None:
    number = number_of(ground.calls, turn, KILLS // 2)
    run = new_run(tmp_path, ground.values)
    said_in = tmp_path / "said"
    code = fill_at(run, ground.folder / "cache", number, said_in)
    last = (found_events(run) or [events.Failed("", said_in.read_text("utf-8"))])[-1]
    if not isinstance(last, events.Finished):  # what it tidies away in the end takes no room
        assert isinstance(last, events.Failed) and code == 1
        assert re.search(r"(?i)make room|the disk is full", last.error), last.error
        assert "bug in WhisperSlim" not in last.error
    assert_goes_on_to_the_same_end(run, ground, ground.calls[number - 1])


def assert_goes_on_to_the_same_end(run: RunDir, ground: Ground, call: str) -> None:
    assert go_on(run, ground.folder / "cache") == 0, call
    assert run.status() == RunStatus.FINISHED
    assert end_of(run) == end_of(ground.run), call
    assert not list(run.path.rglob(".*")), "what a killed worker left is cleared away"
