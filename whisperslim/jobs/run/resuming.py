"""Where a resumed run continues, read from its folder without loading a model."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from whisperslim.jobs.run.folder import RunDir

# Stages whose names are verbs, as a noun.
_WORK = {
    "prepare": "preparation", "narrow": "narrowing", "tune": "tuning", "plan": "planning",
    "shrink": "shrinking",
    "recover": "recovery", "evaluate": "evaluation",
}  # fmt: skip
_NAME = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True)
class ResumePoint:
    """The next stage, and the training step of its newest checkpoint.

    `stage` is "" when nothing has begun, and when every stage is done. `step` is 0 without
    checkpoint.
    """

    stage: str = ""
    step: int = 0

    @property
    def words(self) -> str:
        """The end of a sentence that begins with "Resume continues"."""
        if not self.stage:
            return "from the start"
        if self.step:
            return f"from step {self.step} of {_WORK.get(self.stage, self.stage)}"
        return f"from the beginning of {_WORK.get(self.stage, self.stage)}"


def resume_point(run: RunDir, stages: Sequence[str]) -> ResumePoint:
    """Where the next worker starts; `stages` are all of the run's, in order."""
    left = [stage for stage in stages if not run.stage_done(stage)]
    return ResumePoint(left[0], _newest_step(run, left[0])) if left else ResumePoint()


def _newest_step(run: RunDir, stage: str) -> int:
    folder = run.checkpoints(stage)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    found = [_NAME.fullmatch(name) for name in names]
    return max((int(match[1]) for match in found if match), default=0)
