"""A cut Whisper's shapes as a Hugging Face configuration tells them: one list a kind of unit."""

from collections.abc import Sequence
from typing import Any

from whisperslim.core.families.base import UnitGroup

# Part of the group's key -> name of the list in `hf_remote.modeling_whisper_slim`.
_LISTS = {
    ("encoder", "self_attn.heads"): "encoder_heads",
    ("encoder", "ffn"): "encoder_ffn",
    ("decoder", "self_attn.heads"): "decoder_heads",
    ("decoder", "encoder_attn.heads"): "decoder_cross_heads",
    ("decoder", "ffn"): "decoder_ffn",
}
MODEL_TYPE = "whisper_slim"
MODEL_CLASS, CONFIG_CLASS = "WhisperForConditionalGeneration", "WhisperSlimConfig"
FEATURES_CLASS = "WhisperSlimFeatureExtractor"


def layer_lists(config: Any, groups: Sequence[UnitGroup]) -> dict[str, list[int]]:
    """List name -> units of each layer, 0 where a sub-layer is absent."""
    counts = {group.key: group.count for group in groups}
    lists = {
        name: [
            counts.pop(f"{stack}.{layer}.{part}", 0)
            for layer in range(getattr(config, f"{stack}_layers"))
        ]
        for (stack, part), name in _LISTS.items()
    }
    if counts:  # a kind of unit that this table does not know would be lost without a word
        raise ValueError(f"no list for the unit groups {sorted(counts)[:3]}")
    return lists
