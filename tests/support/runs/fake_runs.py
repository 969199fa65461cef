"""Run folders as a worker would leave them, written by hand: no training, no model."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from whisperslim import events
from whisperslim.core.families.base import UnitGroup
from whisperslim.core.plan.plan import plan_to_budget
from whisperslim.core.store.score_map import ScoreMap
from whisperslim.jobs.recipe.recipe import load_recipe, with_values
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.planned import GROUPS_FILE, describe_groups

STAGES = ("data", "prepare", "tune", "plan", "shrink", "recover", "evaluate")


def make_groups(layers: int = 2, heads: int = 4, ffn: int = 8) -> tuple[UnitGroup, ...]:
    """Unit groups of a Whisper with that many layers a side; a head weighs as two FFN units."""
    groups = []
    for stack, places in (("encoder", ("self_attn",)), ("decoder", ("self_attn", "encoder_attn"))):
        for layer in range(layers):
            for place in places:
                groups.append(_group(f"{stack}.{layer}.{place}.heads", "heads", stack, heads, 2000))
            groups.append(_group(f"{stack}.{layer}.ffn", "ffn", stack, ffn, 1000))
    return tuple(groups)


def make_scores(groups: Sequence[UnitGroup]) -> dict[str, torch.Tensor]:
    """Uneven, all different, the same every time."""
    return {
        group.key: torch.tensor([_score(index, unit, group) for unit in range(group.count)])
        for index, group in enumerate(groups)
    }


def make_run(runs: Path, name: str = "demo", **values: object) -> RunDir:
    """A run that nobody has begun."""
    own = {"name": name, "export.engine": "torch", "export.quantize": "none"}
    recipe = with_values(load_recipe("quick-demo"), {**own, **values})
    return RunDir.create(runs, recipe)


def write_events(run: RunDir, *, until: str = "end", steps: int = 60) -> None:
    """The event file up to the middle of tuning (`tune`), or to the end."""
    log = EventLog(run.events_path)
    for event in _events(run, steps, until):
        log.append(event)
    run.log_path.write_text("preparing\nstep 1\rstep 2\r\x1b[32mstep 3\x1b[0m\n", "utf-8")


def write_plan(
    run: RunDir,
    groups: tuple[UnitGroup, ...],
    target: float = 0.3,
    costs: Mapping[str, float] | None = None,
) -> None:
    """What stage `plan` leaves: scores, groups and the plan."""
    scores = make_scores(groups)
    (run.path / GROUPS_FILE).write_text(describe_groups(groups), "utf-8")
    ScoreMap(scores, "sgl", "00", whole=False, costs=costs).save(run.scores_path)
    run.plan_path.write_text(plan_to_budget(scores, groups, target, costs=costs).to_json(), "utf-8")


def finish(run: RunDir) -> None:
    """Mark every stage done and leave an empty slim folder."""
    for stage in STAGES:
        run.mark_done(stage)
    run.slim_path.mkdir(exist_ok=True)


def _group(key: str, kind: str, stack: str, count: int, weights: int) -> UnitGroup:
    return UnitGroup(key, kind, stack, count, 1, weights, weights + 1)


def _score(index: int, unit: int, group: UnitGroup) -> float:
    depth = 0.6 if group.stack == "encoder" else 1.0
    return depth * (1.2 + math.sin(7.1 * unit + 2.3 * index)) + 0.001 * unit + 0.0001 * index


def _events(run: RunDir, steps: int, until: str) -> list[events.Event]:
    found: list[events.Event] = [
        events.RunStarted(run.name, 1, STAGES),
        events.Notice("running on CPU"),
        events.StageStarted("data"),
        events.StageFinished("data", 3.2),
        events.StageStarted("tune"),
    ]
    last = steps // 2 if until == "tune" else steps
    for step in range(2, last + 1, 2):
        found.append(_step("tune", step, steps))
        if step % 20 == 0:
            found.append(_evaluated("tune", "masked", "held out of train", step, 1.2 - step / 100))
    if until == "tune":
        return found
    found += [
        events.StageFinished("tune", 95.0),
        events.Planned(0.301, 0.1, 0.3, 0.1),
        events.StageFinished("plan", 1.0),
        events.StageFinished("shrink", 2.0),
        events.StageStarted("recover"),
        *[_step("recover", step, 20) for step in range(2, 21, 2)],
        events.StageFinished("recover", 30.0),
        _evaluated("evaluate", "dense", "assets/demo_hi#test", 0, 1.104),
        _evaluated("evaluate", "slim", "assets/demo_hi#test", 0, 0.512),
        events.StageFinished("evaluate", 20.0),
        events.Finished(151.2, str(run.slim_path)),
    ]
    return found


def _step(stage: str, step: int, total: int) -> events.StepDone:
    fall = math.exp(-step / 25)
    losses = {"cross_entropy": 0.4 + 2.2 * fall, "group_lasso": 0.05 + 0.02 * fall, "l1": 0.012}
    return events.StepDone(stage, step, total, losses, 3e-5, 1.4, 1.6, 2_100_000_000)


def _evaluated(stage: str, label: str, data: str, step: int, wer: float) -> events.Evaluated:
    return events.Evaluated(stage, label, data, step, 12, 1.1, wer, wer / 2.5, "hindi-1", "fit")
