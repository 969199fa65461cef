"""Options of training-time variation. In a file of their own, since forms and help load no audio
libraries."""

from dataclasses import dataclass

from whisperslim.fields import check, option


@dataclass(frozen=True)
class AugmentOptions:
    """What to vary. All is off by default: nothing is changed that a recipe does not name."""

    spec_augment: bool = option(
        False, "hide random stripes of time and pitch", label="SpecAugment", advanced=False
    )
    time_masks: int = option(
        2, "stripes of time hidden in each clip", minimum=0, maximum=10, step=1
    )
    time_mask_fraction: float = option(
        0.05,
        "widest stripe of time, as a share of the clip",
        minimum=0.0,
        maximum=0.5,
        step=0.01,
    )
    freq_masks: int = option(2, "bands of pitch hidden in each clip", minimum=0, maximum=10, step=1)
    freq_mask_bins: int = option(
        20, "widest band of pitch", unit="mel bins", minimum=0, maximum=40, step=1
    )
    speed: bool = option(False, "play each clip at 0.9 to 1.1 times its speed", advanced=False)
    noise: bool = option(False, "add noise 10 to 40 dB below the speech", advanced=False)
    gain_db: float = option(
        0.0,
        "largest change of loudness, up or down",
        unit="dB",
        minimum=0.0,
        maximum=30.0,
        step=1.0,
    )

    def __post_init__(self) -> None:
        check(self)
