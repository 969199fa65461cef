"""Options of self-pinching gates; `method` says what they do."""

from dataclasses import dataclass

from whisperslim.errors import RecipeError
from whisperslim.fields import check, option

SUMMARY = (
    "Self-pinching gates: one learnable threshold per layer, trained with the model in one pass"
)


@dataclass(frozen=True)
class SelfPinchingOptions:
    """What is gated, what drives the thresholds, and how they start, move and end."""

    granularity: str = option(
        "units",
        "What a threshold closes. units: heads and FFN units, which are cut out. elements: single "
        "weights, which become zeros. both: each with its own thresholds.",
        choices=("units", "elements", "both"),
        advanced=False,
    )
    control: str = option(
        "target",
        "What drives the thresholds. target: a Lagrangian holds the density to the run's target. "
        "penalty: a fixed weight on the density; the plan still cuts to the target.",
        choices=("target", "penalty"),
        advanced=False,
    )
    importance: str = option(
        "weight",
        "What a unit's threshold is compared with. weight: the root mean square of its weights. "
        "fisher: that times how much the loss depends on the unit, on one scale for all layers. "
        "Single weights are always compared by size.",
        choices=("weight", "fisher"),
    )
    importance_every: int = option(
        4, "Fisher: steps between importance measurements.", unit="steps", minimum=1, maximum=1000
    )
    begin: float = option(
        0.0,
        "Share of the steps with plain tuning and open gates, before thresholds start; 0: one "
        "step.",
        minimum=0.0,
        maximum=0.9,
        step=0.01,
    )
    penalty: float = option(
        1.0,
        "Control by penalty: weight of the density (0 to 1) in the loss.",
        minimum=0.0,
        maximum=100.0,
        step=0.1,
        advanced=False,
    )
    ramp: float = option(
        0.33,
        "Control by target: share of the steps over which the wanted density falls from its start "
        "to the target.",
        minimum=0.0,
        maximum=1.0,
        step=0.01,
    )
    settle: float = option(
        0.2,
        "Share of the steps, at the end, in which thresholds are fixed and the model trains with "
        "exactly the masks of the plan.",
        minimum=0.0,
        maximum=0.9,
        step=0.05,
    )
    threshold_rate: float = option(
        30.0,
        "Learning rate of the thresholds, in learning rates of the weights.",
        unit="times",
        minimum=0.1,
        maximum=1000.0,
        step=1.0,
    )
    start_quantile: float = option(
        0.1,
        "Thresholds start at this quantile of |w|, or of what units are compared by.",
        minimum=0.001,
        maximum=0.5,
        step=0.01,
    )
    tau_factor: float = option(
        0.05,
        "Softness of an element's gate, in variances of its layer's weights.",
        minimum=0.001,
        maximum=10.0,
        step=0.01,
    )
    unit_tau_factor: float = option(
        0.25,
        "Softness of a unit's gate, in standard deviations of its layer's mean squares; with "
        "importance fisher, of the squares of what is compared, over the whole model.",
        minimum=0.001,
        maximum=10.0,
        step=0.05,
    )
    multiplier_rate: float = option(
        0.5,
        "Control by target: how fast the multipliers grow, per step and unit of violation.",
        minimum=0.0,
        maximum=100.0,
        step=0.1,
    )
    stiffness: float = option(
        10.0,
        "Control by target: first weight of the squared violation, which grows from there.",
        minimum=0.0,
        maximum=1e4,
        step=1.0,
    )
    floor: float = option(
        0.05,
        "Share of a layer that its threshold can never close, and of each matrix that is never "
        "zeroed; one unit at least.",
        minimum=0.0,
        maximum=0.9,
        step=0.01,
    )

    def __post_init__(self) -> None:
        check(self)
        if self.begin + self.ramp + self.settle > 1.0:
            parts = f"begin {self.begin}, ramp {self.ramp} and settle {self.settle}"
            raise RecipeError({"ramp": f"{parts} are more than all the steps"})

    @property
    def measures(self) -> bool:
        """Whether units' thresholds need measurements."""
        return self.importance == "fisher" and self.granularity != "elements"
