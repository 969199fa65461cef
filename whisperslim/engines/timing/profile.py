"""How much time each kind of unit takes in an engine: the slope between a model and a smaller one.

For every place (heads and FFN units of a stack), for layers and for the vocabulary a copy with
fewer of them is made for the engine, and both transcribe the same clip in turn. Only units that
the engine ties go together. The models compared write one token over and over, so that all of
them write equally many.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from whisperslim.core.cost.flops import WORKLOADS
from whisperslim.core.families import UnitGroup, UnitSite
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.rules import constrain
from whisperslim.engines import registry
from whisperslim.engines.base import Transcriber
from whisperslim.engines.timing.reductions import Reduction, place_reductions, stack_reductions
from whisperslim.errors import PlanError, UsageError
from whisperslim.speech.audio.audio import SAMPLE_RATE

# What 5 s of speech have in Hindi; the models compared write many more.
TOKENS = WORKLOADS[0].tokens
CLIP_SECONDS = 5.0
# Timing noise can hide a slope: it then becomes this share of what its weights would cost at the
# mean price of a weight. Our choice.
_LEAST_SHARE = 0.1

Opened = Callable[[str, SpeechModel], Transcriber]
"""Makes an engine of a model; the name says which of the models compared it is."""


@dataclass(frozen=True)
class Profile:
    """Prices of units in seconds, for one clip of `clip_seconds` with `TOKENS` tokens of text.

    Attributes:
        engine, quantize: What was measured.
        model: Name of the model whose shapes it was measured on.
        weights_per_unit: Place -> prunable weights of a unit; other models have other prices.
        seconds_per_unit: Place -> seconds that go with one unit of one layer.
        seconds_per_layer: Stack -> seconds that a layer takes in addition to those of its units.
        seconds_per_row: Seconds per row of the vocabulary and 1000 tokens written; 0: not measured.
        lost_in_noise: Places whose slope was not measurable; their price is a guess.
        measured: Reduction -> median seconds of the model, and of the one with less.
        clip_seconds, tokens, repeats: What was transcribed, how often.
        machine: Where and when; see `jobs.sizes.measure.machine`.
    """

    engine: str
    quantize: str
    model: str
    weights_per_unit: Mapping[str, int]
    seconds_per_unit: Mapping[str, float]
    seconds_per_layer: Mapping[str, float]
    seconds_per_row: float
    lost_in_noise: tuple[str, ...]
    measured: Mapping[str, tuple[float, float]]
    clip_seconds: float
    tokens: int
    repeats: int
    machine: Mapping[str, Any]

    def fits(self, groups: Sequence[UnitGroup]) -> bool:
        """Whether it prices the units of a model."""
        return all(self.weights_per_unit.get(g.place) == g.weights_per_unit for g in groups)


@dataclass(frozen=True)
class Timing:
    """Median seconds of the model and of the reduced one, and the tokens each wrote."""

    full: float
    less: float
    tokens: int

    @property
    def saved(self) -> float:
        """What the reduction saves."""
        return self.full - self.less


def measure_profile(
    speech: SpeechModel,
    opened: Opened,
    trimmed: SpeechModel | None = None,
    *,
    engine: str,
    quantize: str,
    machine: Mapping[str, Any],
    repeats: int = 7,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Profile:
    """Time a model against smaller copies of itself.

    Args:
        speech: A model with at least two layers a stack and two units a group; not changed.
        opened: Makes an engine of a model.
        trimmed: The same model with fewer tokens; None leaves the vocabulary out.
        engine, quantize, machine: For the record; `engine` also says what is tied.
        repeats: Timed passes of each; medians count.
        progress: Called with the reductions done and their number.

    Raises:
        PlanError: no reduction saved any time, or the copies wrote different numbers of tokens.
        UsageError: no repeat.
    """
    if repeats < 1:
        raise UsageError(f"{repeats} repeats: at least one is needed to measure a time")
    groups = constrain(speech.family.unit_groups(speech.model), registry.get(engine).ties)
    places, stacks = place_reductions(groups), stack_reductions(groups)
    reduced = _models(speech, groups, (*places, *stacks), trimmed)
    clip, timings = _clip(), {}
    full = opened("full", _with_constant_output(speech))
    for number, (name, model) in enumerate(reduced):
        progress(number, len(places) + len(stacks) + (trimmed is not None))
        timings[name] = _in_turn(
            name, full, opened(name, _with_constant_output(model)), clip, repeats
        )
    prices, lost = _prices(groups, places, timings)
    return Profile(
        engine=engine,
        quantize=quantize,
        model=speech.name,
        weights_per_unit={g.place: g.weights_per_unit for g in groups},
        seconds_per_unit=prices,
        seconds_per_layer=_beside(groups, stacks, timings, prices),
        seconds_per_row=_per_row(speech, trimmed, timings),
        lost_in_noise=lost,
        measured={name: (each.full, each.less) for name, each in timings.items()},
        clip_seconds=CLIP_SECONDS,
        tokens=TOKENS,
        repeats=repeats,
        machine=dict(machine),
    )


def _models(
    speech: SpeechModel,
    groups: Sequence[UnitSite],
    reductions: Sequence[Reduction],
    trimmed: SpeechModel | None,
) -> Iterator[tuple[str, SpeechModel]]:
    """One at a time: a large model is in memory twice already."""
    for reduction in reductions:
        yield reduction.name, reduction.of(speech, groups)
    if trimmed is not None:
        yield "vocabulary", trimmed


def _with_constant_output(speech: SpeechModel) -> SpeechModel:
    """A copy that writes one token over and over, and so up to the bound on tokens."""
    return replace(speech, model=speech.family.with_constant_output(speech.model, speech.tokens))


def _clip() -> np.ndarray:
    """Noise: no sound changes what is written, but a silent recording would be skipped."""
    noise = np.random.default_rng(0).normal(0.0, 0.1, int(CLIP_SECONDS * SAMPLE_RATE))
    return noise.clip(-1.0, 1.0).astype(np.float32)


def _in_turn(
    name: str, full: Transcriber, less: Transcriber, clip: np.ndarray, repeats: int
) -> Timing:
    """Both in turn, so that other work on the machine slows both; a first pass is not timed."""
    seconds: tuple[list[float], list[float]] = ([], [])
    counts = set()
    for _ in range(repeats + 1):
        for engine, own in zip((full, less), seconds, strict=True):
            found = engine.transcribe(clip)
            own.append(found.seconds)
            counts.add(found.tokens)
    if len(counts) != 1 or not min(counts):
        raise PlanError(
            f"the model and the one with less ({name}) wrote {sorted(counts)} tokens, so their "
            "times cannot be compared; profile another model"
        )
    full_time, less_time = (statistics.median(own[1:]) for own in seconds)
    return Timing(full_time, less_time, counts.pop())


def _prices(
    groups: Sequence[UnitGroup], places: Sequence[Reduction], timings: Mapping[str, Timing]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Place -> seconds per unit, and the places where no slope was measurable."""
    weights = {group.place: group.weights_per_unit for group in groups}
    saved = {r.name: _scaled(r.stack, timings[r.name]) for r in places}
    taken = {r.name: sum(n * weights[place] for place, n in r.units.items()) for r in places}
    total = sum(max(seconds, 0.0) for seconds in saved.values())
    if not total > 0.0:
        raise PlanError(
            "no smaller copy was faster: the machine is too busy to measure on; leave it idle, or "
            "measure with more --repeats"
        )
    least = _LEAST_SHARE * total / sum(taken.values())
    each = {name: max(saved[name] / taken[name], least) for name in saved}
    # A reduction of several places is one of units that the engine ties: they share it by weight.
    prices = {place: each[r.name] * weights[place] for r in places for place in r.units}
    lost = tuple(p for r in places if saved[r.name] / taken[r.name] < least for p in r.units)
    return prices, lost


def _scaled(stack: str, timing: Timing) -> float:
    """Seconds saved on a text of `TOKENS` tokens: the decoder works once for every token."""
    return timing.saved * (TOKENS / timing.tokens if stack == "decoder" else 1.0)


def _beside(
    groups: Sequence[UnitGroup],
    stacks: Sequence[Reduction],
    timings: Mapping[str, Timing],
    prices: Mapping[str, float],
) -> dict[str, float]:
    found = {}
    for each in stacks:
        units = sum(count * prices[place] for place, count in each.units.items())
        rest = _scaled(each.stack, timings[each.name]) - units
        found[each.stack] = max(rest, 0.0) / each.layers
    return found


def _per_row(
    speech: SpeechModel, trimmed: SpeechModel | None, timings: Mapping[str, Timing]
) -> float:
    if trimmed is None:
        return 0.0
    rows = int(speech.model.config.vocab_size) - int(trimmed.model.config.vocab_size)
    timing = timings["vocabulary"]
    return max(timing.saved, 0.0) / rows / timing.tokens * 1000
