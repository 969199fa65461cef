"""A cut Whisper's settings as a Hugging Face folder has them: one list a kind of unit."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from whisperslim.core.families.base import UnitGroup
from whisperslim.core.families.hearing import Tokens
from whisperslim.core.families.whisper.decoder import as_whisper, suppression
from whisperslim.core.families.whisper.tokens import whisper_tokens

# Part of the group's key -> name of the list in `hf_remote.modeling_whisper_slim`. Widths of heads
# have lists of their own, with `_width` behind the name.
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
# Of the dense model, and wrong or unused for a cut one: numbers of heads, an older way to prompt.
_NOT_OURS = ("alignment_heads", "forced_decoder_ids", "_from_model_config", "prev_sot_token_id")


def layer_lists(config: Any, groups: Sequence[UnitGroup]) -> dict[str, list[int]]:
    """List name -> units of each layer, 0 where a sub-layer is absent; and widths of heads."""
    counts = {group.key: group.count for group in groups}
    lists = {
        name: [
            counts.pop(f"{stack}.{layer}.{part}", 0)
            for layer in range(getattr(config, f"{stack}_layers"))
        ]
        for (stack, part), name in _LISTS.items()
    }
    widths = head_widths(config, groups, {k: v for k, v in _LISTS.items() if "heads" in v})
    if counts:  # a kind of unit that this table does not know would be lost silently
        raise ValueError(f"no list for the unit groups {sorted(counts)[:3]}")
    return lists | widths


def head_widths(
    config: Any, groups: Sequence[UnitGroup], lists: Mapping[tuple[str, str], str]
) -> dict[str, list[int]]:
    """List name -> dimensions of each layer's heads; none where all have the stock width.

    `lists` has the names of the lists of heads, as `_LISTS` does.
    """
    found = {group.key: group.width for group in groups if group.kind == "heads"}
    widths, stock = dict[str, list[int]](), dict[str, int]()
    for (stack, part), name in lists.items():
        stock[name] = config.d_model // getattr(config, f"{stack}_attention_heads")
        widths[f"{name}_width"] = [
            found.get(f"{stack}.{layer}.{part}", stock[name])
            for layer in range(getattr(config, f"{stack}_layers"))
        ]
    same = all(set(widths[f"{name}_width"]) == {width} for name, width in stock.items())
    return {} if same else widths


def model_table(
    model: nn.Module, tokens: Tokens, groups: Sequence[UnitGroup], dtype: torch.dtype, module: str
) -> dict[str, Any]:
    """`config.json`. `module` is the modeling file that goes with it, without its ending."""
    config = as_whisper(model).config
    raw = {key: value for key, value in config.to_dict().items() if key != "_name_or_path"}
    return {
        **raw,
        **layer_lists(config, groups),
        "model_type": MODEL_TYPE,
        "architectures": [MODEL_CLASS],
        "auto_map": {
            "AutoConfig": f"{module}.{CONFIG_CLASS}",
            "AutoModelForSpeechSeq2Seq": f"{module}.{MODEL_CLASS}",
        },
        "tokenizer_class": "WhisperTokenizer",
        "dtype": str(dtype).removeprefix("torch."),
        "suppress_tokens": None,
        "begin_suppress_tokens": list(suppression(model, tokens).at_start),
    }


def generation_table(model: nn.Module, tokens: Tokens, language: str) -> dict[str, Any]:
    """`generation_config.json`: greedy, in `language` unless that is empty."""
    whisper, codec = as_whisper(model), whisper_tokens(tokens)
    rules, vocabulary = suppression(model, tokens), codec.vocabulary()
    spoken = {f"<|{code}|>" for code in LANGUAGES}
    tasks = {name: vocabulary.get(f"<|{name}|>") for name in ("transcribe", "translate")}
    settings: Any = whisper.generation_config
    kept = {k: v for k, v in settings.to_diff_dict().items() if k not in _NOT_OURS}
    return {
        **kept,
        **({"language": language} if language else {}),
        "task": "transcribe",
        "is_multilingual": True,
        "lang_to_id": {token: vocabulary[token] for token in sorted(spoken & set(vocabulary))},
        "task_to_id": {name: number for name, number in tasks.items() if number is not None},
        "no_timestamps_token_id": codec.no_timestamps,
        "return_timestamps": False,
        "suppress_tokens": list(rules.always),
        "begin_suppress_tokens": list(rules.at_start),
        "decoder_start_token_id": codec.start,
        "eos_token_id": codec.end,
        "pad_token_id": whisper.config.pad_token_id,
        # The pipeline's own default would be a search with five beams.
        "num_beams": 1,
        "do_sample": False,
        "max_length": whisper.config.max_target_positions,
    }


def encode_as_stored(model: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Encoder states by the encoder's own forward pass, as others run it."""
    encoder: Any = model.get_submodule("model.encoder")
    states: torch.Tensor = encoder(features).last_hidden_state
    return states
