"""Options of low-rank factors; `method` says what they do."""

from dataclasses import dataclass

from whisperslim.fields import check, option

SUMMARY = "No training: matrices become two smaller ones each, without what the loss feels least"


@dataclass(frozen=True)
class LowRankOptions:
    """What the one decision is measured on."""

    clips: int = option(
        512,
        "Training clips, without augmentation, that the importance of components is measured on.",
        label="Clips",
        unit="clips",
        minimum=1,
        maximum=1_000_000,
        advanced=False,
    )

    def __post_init__(self) -> None:
        check(self)
