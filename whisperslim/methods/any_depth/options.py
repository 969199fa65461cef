"""Options of training at every depth; `method` says what they do."""

from dataclasses import dataclass

from whisperslim.fields import check, option

SUMMARY = (
    "Train once at random depths of the encoder; cut any number of its upper layers afterwards"
)


@dataclass(frozen=True)
class AnyDepthOptions:
    """Which depths are trained, and how often."""

    fewest: int = option(
        0,
        "Encoder layers that are always there; the target cannot leave fewer. 0: half of them.",
        label="Fewest layers",
        unit="layers",
        minimum=0,
        maximum=128,
        step=1,
        advanced=False,
    )
    whole_share: float = option(
        0.5,
        "Share of the steps with all layers; the others end at a layer drawn anew each time.",
        label="Steps at full depth",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        advanced=False,
    )
    seed: int = option(0, "Seed of the draws.", label="Seed", minimum=0, maximum=2**31 - 1, step=1)

    def __post_init__(self) -> None:
        check(self)
