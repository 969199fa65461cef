"""Dense Whisper weights under the names of openai/whisper, and its own model made of them."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from transformers import WhisperForConditionalGeneration

# Applied in this order to a transformers name without its leading "model.".
_RENAMED = (
    (".layers.", ".blocks."),
    ("encoder_attn_layer_norm", "cross_attn_ln"),
    ("self_attn_layer_norm", "attn_ln"),
    ("final_layer_norm", "mlp_ln"),
    ("encoder_attn.", "cross_attn."),
    ("self_attn.", "attn."),
    ("q_proj", "query"),
    ("k_proj", "key"),
    ("v_proj", "value"),
    ("out_proj", "out"),
    ("fc1", "mlp.0"),
    ("fc2", "mlp.2"),
    ("encoder.layer_norm", "encoder.ln_post"),
    ("decoder.layer_norm", "decoder.ln"),
    ("embed_positions.weight", "positional_embedding"),
    ("embed_tokens", "token_embedding"),
)


def openai_tensors(
    model: WhisperForConditionalGeneration,
) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, weights) of a dense model; the output projection is the embedding and is left out."""
    for name, parameter in model.named_parameters():
        if name != "proj_out.weight":
            yield openai_name(name), parameter.detach()


def openai_name(name: str) -> str:
    """What openai/whisper calls a parameter of transformers' Whisper."""
    found = name.removeprefix("model.")
    for theirs, ours in _RENAMED:
        found = found.replace(theirs, ours)
    return found


def dimensions(config: Any) -> Mapping[str, int]:
    """The fields of openai/whisper's `ModelDimensions`."""
    return {
        "n_mels": config.num_mel_bins,
        "n_audio_ctx": config.max_source_positions,
        "n_audio_state": config.d_model,
        "n_audio_head": config.encoder_attention_heads,
        "n_audio_layer": config.encoder_layers,
        "n_vocab": config.vocab_size,
        "n_text_ctx": config.max_target_positions,
        "n_text_state": config.d_model,
        "n_text_head": config.decoder_attention_heads,
        "n_text_layer": config.decoder_layers,
    }


def openai_model(model: WhisperForConditionalGeneration) -> Any:
    """openai/whisper's own model with these weights: no file of theirs, and no pickle, is read."""
    from whisper.model import ModelDimensions, Whisper

    theirs = Whisper(ModelDimensions(**dimensions(model.config)))
    theirs.load_state_dict(dict(openai_tensors(model)), strict=True)
    return theirs.eval()
