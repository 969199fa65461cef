"""Options of layer dropping; `method` says what they do."""

from dataclasses import dataclass

from whisperslim.fields import check, option

SUMMARY = "Drop whole layers, keeping maximally spaced ones, as distil-whisper does"


@dataclass(frozen=True)
class LayerDropOptions:
    """How many layers of each stack stay."""

    keep_decoder_layers: int = option(
        0,
        "Decoder layers that stay, spread from the first to the last. 0: as few as the removal "
        "target needs.",
        label="Decoder layers kept",
        unit="layers",
        minimum=0,
        maximum=64,
        step=1,
        advanced=False,
    )
    keep_encoder_layers: int = option(
        0,
        "Encoder layers that stay. 0: all, unless the target needs more than the decoder can give.",
        label="Encoder layers kept",
        unit="layers",
        minimum=0,
        maximum=64,
        step=1,
        advanced=False,
    )

    def __post_init__(self) -> None:
        check(self)
