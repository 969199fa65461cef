"""Another size of a run, in hand-made values: what `jobs` would give the Trade-off tab."""

from dataclasses import dataclass, field
from typing import Any

from tests.support.runs.fake_runs import make_run
from whisperslim.core.families.base import prunable_total
from whisperslim.core.plan.plan import plan_to_budget
from whisperslim.core.store.score_map import ScoreMap
from whisperslim.errors import PlanError
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.curve import Sweep, SweepPoint
from whisperslim.jobs.sizes.planned import read_planned
from whisperslim.jobs.sizes.predict import Prediction
from whisperslim.jobs.sizes.replan import Replan
from whisperslim.ui.context.models import Resizing

FIXED = 500_000  # parameters of the fake model that cannot be pruned


@dataclass
class FakeResizing(Resizing):
    """Plans by the real planner; predictions are those put in by hand."""

    high: float = 0.8437
    zeroed_before: float = 0.0
    predictions: dict[tuple[str, float, float], Prediction] = field(default_factory=dict)
    derived: list[tuple[str, float, float, int]] = field(default_factory=list)

    def replan(self, run: RunDir, removed: float, zeroed: float) -> Replan:
        if removed > self.high:
            raise PlanError(f"{removed} cannot be met: 0 to {self.high}")
        planned, scores = read_planned(run), ScoreMap.load(run.scores_path)
        plan = plan_to_budget(scores.scores, planned.groups, removed, costs=scores.costs)
        total = prunable_total(planned.groups)
        left = FIXED + total - round(plan.removed * total)
        return Replan(
            plan=plan,
            counted_in=planned.counted_in,
            parameters=left,
            dense_parameters=FIXED + total,
            removed=FIXED + total - left,
            zeroed=round(max(zeroed, self.zeroed_before) * total),
            zeroed_before=round(self.zeroed_before * total),
            bytes=2 * left,
            dense_bytes=2 * (FIXED + total),
            flops=3_000_000_000,
            dense_flops=4_000_000_000,
            workload="a 6 s clip, 20 tokens",
            seconds=0.04,
        )

    def reachable_range(self, run: RunDir) -> tuple[float, float]:
        return 0.0, self.high

    def derive(self, run: RunDir, removed: float, zeroed: float, recover_steps: int) -> RunDir:
        self.derived.append((run.name, removed, zeroed, recover_steps))
        return make_run(run.path.parent, "derived")

    def prediction(self, run: RunDir, removed: float, zeroed: float) -> Prediction | None:
        return self.predictions.get((run.name, removed, zeroed))


def make_point(target: float = 0.35, **changes: Any) -> SweepPoint:
    """One measured size; smaller is worse and faster."""
    wer = changes.pop("wer", 0.3 + target**2)
    values: dict[str, Any] = {
        "target": target,
        "removed": target + 0.001,
        "zeroed": 0.1,
        "parameters": round(72_600_000 - 44_000_000 * target),
        "bytes": round(145_200_000 - 88_000_000 * target),
        "flops": round(12e9 * (1 - 0.6 * target)),
        "latency_seconds": 0.4 - 0.25 * target,
        "wer": wer,
        "wer_low": wer - 0.02,
        "wer_high": wer + 0.03,
        "cer": wer / 2.5,
        "n": 60,
        "run": f"derived-{target:g}",
        "machine": {"cpu": "Some CPU", "device": "cpu", "threads": 2, "torch": "2.13"},
    }
    return SweepPoint(**{**values, **changes})


def make_sweep(run: str = "20260203-141500-demo", method: str = "sgl", **changes: Any) -> Sweep:
    """A curve of five sizes."""
    values: dict[str, Any] = {
        "points": tuple(make_point(target) for target in (0.0, 0.2, 0.35, 0.5, 0.65)),
        "data": "assets/demo_hi#test",
        "normalizer": "hindi-1",
        "window": "fit",
        "recover_steps": 100,
        "provenance": {
            "decoding": "greedy",
            "interval": "95 % percentile bootstrap over clips",
            "flops": "a 6 s clip, 20 tokens",
            "latency": {"engine": "PyTorch", "what": "median of passes", "clips": ["a", "b"]},
        },
    }
    return Sweep(run=run, method=method, **{**values, **changes})


def make_prediction(**changes: Any) -> Prediction:
    """What a prediction stores."""
    values: dict[str, Any] = {
        "removed": 0.5,
        "zeroed": 0.1,
        "wer": 0.433,
        "cer": 0.171,
        "low": 0.381,
        "high": 0.49,
        "n": 16,
        "data": "dev subset",
        "normalizer": "hindi-1",
        "window": "fit",
        "language": "hi",
        "decoding": "greedy",
        "weights_sha256": "00",
        "seconds": 41.0,
    }
    return Prediction(**{**values, **changes})
