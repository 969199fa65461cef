"""How a run became sparse: what was left of every group of units, step by step, for a replay.

Read from the events on request, and thinned, so that a long run costs no more than a short one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whisperslim import events
from whisperslim.errors import RunError
from whisperslim.jobs.run.eventlog import read_events
from whisperslim.jobs.run.folder import RunDir

MOST_FRAMES = 40  # our choice: half a minute of replay; each frame is sent to the browser
BEFORE, CUT = "before", "cut"


@dataclass(frozen=True)
class Frame:
    """One moment. `stage` is `before`, a training stage, or `cut`, when units were taken out.

    `gone` is the share of a group's units before the run that are all zero or cut out; `zero` the
    same for its single weights.
    """

    stage: str
    step: int
    gone: Mapping[str, float]
    zero: Mapping[str, float]


def sparsity_frames(run: RunDir, kept: Mapping[str, float]) -> tuple[Frame, ...]:
    """The run from the model it began with to what it is now, at most `MOST_FRAMES` moments.

    `kept` is the share of units of every group that the run's plan keeps. Measurements of the
    stage `recover` are of what the cut left, so they are counted within that share here.

    Raises `RunError` when the event file cannot be read.
    """
    measured = _measurements(run)
    nothing = dict.fromkeys(kept, 0.0)
    cut = {key: 1.0 - share for key, share in kept.items()}
    tuned = [_frame(each, nothing) for each in measured if each.stage != "recover"]
    recovered = [_frame(each, cut) for each in measured if each.stage == "recover"]
    room = MOST_FRAMES - 2
    if len(tuned) + len(recovered) > room:
        first = round(room * len(tuned) / (len(tuned) + len(recovered)))
        tuned, recovered = thinned(tuned, first), thinned(recovered, room - first)
    return (Frame(BEFORE, 0, nothing, nothing), *tuned, _cut(cut, tuned, recovered), *recovered)


def thinned(frames: Sequence[Frame], most: int) -> list[Frame]:
    """At most `most` of the frames, evenly spread; the last is always among them."""
    count = min(most, len(frames))
    return [frames[len(frames) - 1 - index * len(frames) // count] for index in range(count)][::-1]


def _measurements(run: RunDir) -> list[events.SparsityMeasured]:
    """In order; a resumed run repeats steps, and the later measurement counts."""
    try:
        found, _ = read_events(run.events_path)
    except OSError as error:
        raise RunError(f"{run.events_path} cannot be read ({error.strerror})") from error
    kept: list[events.SparsityMeasured] = []
    for event in found:
        if isinstance(event, events.SparsityMeasured):
            stage, step = event.stage, event.step
            kept = [each for each in kept if each.stage != stage or each.step < step]
            kept.append(event)
    return kept


def _frame(event: events.SparsityMeasured, cut: Mapping[str, float]) -> Frame:
    """A measurement as shares of the model before the run, of which `cut` is gone already."""

    def of_all(measured: Mapping[str, float]) -> dict[str, float]:
        # A group that lost its last unit is no longer measured: nothing is left of it.
        return {key: gone + (1 - gone) * measured.get(key, 0.0) for key, gone in cut.items()}

    return Frame(event.stage, event.step, of_all(event.dead_units), of_all(event.zero_elements))


def _cut(cut: Mapping[str, float], tuned: Sequence[Frame], recovered: Sequence[Frame]) -> Frame:
    """The moment of the cut. Its zeros are those first measured after it; without such a
    measurement, those before.
    """
    if recovered:
        zero = recovered[0].zero
    else:
        before = tuned[-1].zero if tuned else {}
        zero = {key: max(share, before.get(key, 0.0)) for key, share in cut.items()}
    return Frame(CUT, tuned[-1].step if tuned else 0, cut, zero)
