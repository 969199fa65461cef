"""Settings of a Whisper with a CTC head as a Hugging Face folder has them."""

from collections.abc import Sequence
from typing import Any

import torch

from whisperslim.core.families.base import UnitGroup
from whisperslim.core.families.whisper.hf import head_widths
from whisperslim.core.families.whisper_ctc.architecture import WhisperForCTC

MODEL_TYPE, MODEL_CLASS = "whisper_slim_ctc", "WhisperSlimForCTC"
CONFIG_CLASS = "WhisperSlimCTCConfig"


def ctc_table(
    model: WhisperForCTC, groups: Sequence[UnitGroup], dtype: torch.dtype, module: str
) -> dict[str, Any]:
    """`config.json`. `module` is the modeling file that goes with it, without its ending."""
    counts = {group.key: group.count for group in groups}
    layers = range(model.config.encoder_layers)
    raw = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}
    return {
        **raw,
        "encoder_heads": [counts.get(f"encoder.{i}.self_attn.heads", 0) for i in layers],
        "encoder_ffn": [counts.get(f"encoder.{i}.ffn", 0) for i in layers],
        **head_widths(model.config, groups, {("encoder", "self_attn.heads"): "encoder_heads"}),
        "model_type": MODEL_TYPE,
        "architectures": [MODEL_CLASS],
        "auto_map": {
            "AutoConfig": f"{module}.{CONFIG_CLASS}",
            "AutoModelForCTC": f"{module}.{MODEL_CLASS}",
        },
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "dtype": str(dtype).removeprefix("torch."),
    }


def writes_letters(model: WhisperForCTC) -> bool:
    """Whether its tokens are letters; transformers has no tokenizer that collapses others."""
    return bool(model.config.writes == "letters")
