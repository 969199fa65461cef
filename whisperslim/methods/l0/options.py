"""Options of L0 masks; `method` says what they do."""

from dataclasses import dataclass

from whisperslim.core.plan.counting import NOT_OWN, OWN_CURRENCIES, WORKLOAD
from whisperslim.errors import RecipeError
from whisperslim.fields import check, option

SUMMARY = "L0 masks over heads, FFN units, sub-layers and layers, learned while tuning"


@dataclass(frozen=True)
class L0Options:
    """What has a mask, what the target is counted in, and how strongly it is enforced."""

    currency: str = option(
        NOT_OWN,
        "What the removal target is a share of. parameters: prunable weights. flops: operations on "
        f"{WORKLOAD}. latency: time measured on this machine, which is noisy.",
        choices=OWN_CURRENCIES,
        advanced=False,
    )
    sublayers: bool = option(
        True,
        "Masks over whole attention and feed-forward blocks too, so that a block can be removed at "
        "once.",
        label="Drop sub-layers",
        advanced=False,
    )
    layers: bool = option(True, "Masks over whole layers too.", label="Drop layers", advanced=False)
    rate_factor: float = option(
        2000.0,
        "Learning rate of the masks, relative to the weights'. log_alpha moves by about seven from "
        "open to closed, and a step moves it by at most its rate.",
        label="Mask rate",
        minimum=1.0,
        maximum=100_000.0,
        step=10.0,
        advanced=False,
    )
    coarse_from: int = option(
        2000,
        "Masks over blocks and layers take part in runs of at least this many steps. In shorter "
        "ones they would close before the masks of units have learned anything.",
        unit="steps",
        minimum=0,
        maximum=1_000_000,
        before=0,
    )
    open_at_start: float = option(
        0.99,
        "Probability that a unit's mask is open at the start, with start alike.",
        minimum=0.5,
        maximum=0.9999,
        step=0.01,
    )
    start: str = option(
        "fisher",
        "Where the masks of units start. alike: open. fisher: by how much the loss depends on each "
        "unit, measured on clean clips before training.",
        choices=("alike", "fisher"),
        before="alike",
    )
    importance_clips: int = option(
        512,
        "Training clips, without augmentation, for the measurement of start fisher.",
        unit="clips",
        minimum=1,
        maximum=1_000_000,
    )
    ramp: float = option(
        0.4,
        "Share of the steps over which the target rises from 0 to its full value.",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )
    settle: float = option(
        0.2,
        "Share of the steps at the end during which masks are hard and fixed, and only the weights "
        "are tuned.",
        minimum=0.0,
        maximum=0.9,
        step=0.05,
    )
    linear_rate: float = option(
        1.0,
        "Rise of the linear multiplier per step and unit of distance from the target.",
        minimum=0.0,
        maximum=1000.0,
        step=0.1,
    )
    quadratic_rate: float = option(
        50.0,
        "Rise of the quadratic multiplier per step and squared unit of distance from the target.",
        minimum=0.0,
        maximum=100_000.0,
        step=1.0,
    )

    def __post_init__(self) -> None:
        check(self)
        if self.ramp + self.settle > 1.0:
            parts = f"ramp {self.ramp} and settle {self.settle}"
            raise RecipeError({"ramp": f"{parts} are more than all the steps"})
