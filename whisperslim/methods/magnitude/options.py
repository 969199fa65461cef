"""Options of the magnitude baselines; `method` says what they do."""

from dataclasses import dataclass

from whisperslim.fields import check, option

ONE_SHOT_SUMMARY = "One-shot magnitude pruning: decide once, then tune what is left"
FISHER_SUMMARY = "No training: what the loss depends on least goes, and the rest is fitted to it"
IMP_SUMMARY = "Iterative magnitude pruning: in rounds, tuning with the mask fixed in between"
RANDOM_SUMMARY = "Random pruning: what any method must beat"

_IMPORTANCES = ("magnitude", "fisher")
_IMPORTANCE_HELP = (
    "What a unit is worth. magnitude: the root mean square of its weights. fisher: how much the "
    "loss depends on it, per weight. Single weights are always compared by magnitude."
)
_COMPARISONS = ("global", "layer")
_COMPARE_HELP = (
    "global: importances as they are. layer: each against the others of its place, units in "
    "standard deviations and single weights as multiples of their matrix's root mean square."
)
_EVERY_HELP = "Fisher: steps between importance measurements."
_CLIPS_HELP = (
    "Fisher: training clips, without augmentation, to measure on before a one-shot cut and before "
    "the plan; 0: measure during training."
)
_BEGIN_HELP = (
    "Share of the steps with plain tuning before the cut is decided; 0: one step. 1: the cut is "
    "decided when the stage is done."
)


def _begin() -> float:
    value: float = option(
        0.0, _BEGIN_HELP, label="Begin", minimum=0.0, maximum=1.0, step=0.05, advanced=False
    )
    return value


def _importance() -> str:
    value: str = option("magnitude", _IMPORTANCE_HELP, choices=_IMPORTANCES)
    return value


def _compare() -> str:
    value: str = option("global", _COMPARE_HELP, choices=_COMPARISONS)
    return value


def _importance_every() -> int:
    value: int = option(4, _EVERY_HELP, unit="steps", minimum=1, maximum=1000)
    return value


def _importance_clips() -> int:
    value: int = option(512, _CLIPS_HELP, unit="clips", minimum=0, maximum=1_000_000)
    return value


@dataclass(frozen=True)
class OneShotOptions:
    """When the one cut is decided, and by what."""

    begin: float = _begin()
    importance: str = _importance()
    compare: str = _compare()
    importance_every: int = _importance_every()
    importance_clips: int = _importance_clips()

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class FisherOptions:
    """What the one decision is measured on."""

    clips: int = option(
        512,
        "Training clips, without augmentation, that importance is measured on.",
        label="Clips",
        unit="clips",
        minimum=1,
        maximum=1_000_000,
        advanced=False,
    )
    compare: str = _compare()

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class IMPOptions:
    """How many rounds there are, until when, and by what they decide."""

    rounds: int = option(
        0,
        "Rounds; every one prunes the same share of what the last one left. 0: as many as let "
        "each take about 20 %.",
        label="Rounds",
        unit="rounds",
        minimum=0,
        maximum=100,
        step=1,
        advanced=False,
    )
    settle: float = option(
        0.75,
        "Share of the steps over which the rounds are spread evenly; the last one comes at its "
        "end, and the remaining steps tune what is left.",
        label="Last round at",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        advanced=False,
    )
    importance: str = _importance()
    compare: str = _compare()
    importance_every: int = _importance_every()
    importance_clips: int = _importance_clips()

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class RandomOptions:
    """When the one cut is drawn, and from which seed."""

    seed: int = option(
        0, "Seed of the draw.", label="Seed", minimum=0, maximum=2**31 - 1, step=1, advanced=False
    )
    begin: float = _begin()

    def __post_init__(self) -> None:
        check(self)
