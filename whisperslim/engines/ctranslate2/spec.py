"""CTranslate2, as the register knows it."""

from typing import TYPE_CHECKING

from whisperslim.engines.registry import FULL, EngineSpec

if TYPE_CHECKING:
    from whisperslim.core.families import UnitGroup


def one_number_of_heads(group: "UnitGroup") -> str:
    """A stack's attention modules share one label.

    The file has a single `num_heads`, which the decoder's self- and cross-attention share too. FFN
    widths are free, and absent sub-layers cost almost nothing.
    """
    return f"{group.stack}.heads" if group.kind == "heads" else ""


SPEC = EngineSpec(
    name="ctranslate2",
    title="CTranslate2",
    words="what faster-whisper runs in",
    shapes="every layer of a stack has the same number of heads, any FFN width, absent layers and "
    "blocks, no layers of two matrices",
    precisions=(FULL, "float16", "int8"),
    exporter="whisperslim.engines.ctranslate2.export",
    install="pip install ctranslate2",
    ties=one_number_of_heads,
    by_family=True,
    rests=("model.bin",),
    ranks={"int8": 3, FULL: 5},
    dense={
        FULL: "CTranslate2, as in faster-whisper, fp32",
        "int8": "CTranslate2, as in faster-whisper, int8",
    },
)
