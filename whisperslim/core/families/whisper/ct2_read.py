"""From CTranslate2's Whisper tensors to Hugging Face's, without changing a bit of any value.

CTranslate2 stacks what is multiplied with the same input: q, k and v of self-attention are the
rows of `linear_0`, k and v of cross-attention those of `linear_1`. It stores a bias for k, which
Whisper does not have, as zeros. The output projection is another name of the token embedding, and
any two tensors with equal values may be two names of one.
"""

from collections.abc import Iterator

import numpy as np

from whisperslim.core.fetch.ct2_format import Ct2Model
from whisperslim.errors import CheckpointError

_EMBEDDING = "decoder/embeddings/weight"
_PROJECTION = "decoder/projection/weight"
# Settings of the file that must be Whisper's for its tensors to mean what they mean here.
# Activation 3 is the exact GELU.
_FLAGS = {
    "decoder/activation": 3,
    "decoder/alibi": 0,
    "decoder/alibi_use_positive_positions": 0,
    "decoder/pre_norm": 1,
    "decoder/scale_alibi": 0,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
}
_SETTINGS = (*_FLAGS, "decoder/alignment_heads", "decoder/alignment_layer")
_NUM_HEADS = ("encoder/num_heads", "decoder/num_heads")

Tensors = dict[str, np.ndarray]


def to_hugging_face(model: Ct2Model) -> Tensors:
    """State dict of `WhisperForConditionalGeneration`, values and precision untouched.

    `proj_out.weight` is left out: it is tied to `model.decoder.embed_tokens.weight`.

    Raises:
        CheckpointError: a tensor is missing, unknown or of an unfitting shape; a k bias is not
            zero; the projection is not tied; a setting is not Whisper's, or the heads are those of
            a cut model.
    """
    _check_settings(model)
    source = _Source(model)
    result = {**_encoder(source), **_decoder(source)}
    unknown = sorted(set(model.tensors) - source.used - set(_SETTINGS) - set(_NUM_HEADS))
    if unknown:
        raise CheckpointError(f"not part of a Whisper: {len(unknown)} tensors {unknown[:3]}")
    return result


def dimensions(model: Ct2Model) -> dict[str, int]:
    """The numbers of a `WhisperConfig` that follow from the tensors, under its names."""
    source = _Source(model)
    vocabulary, d_model = source.take(_EMBEDDING).shape
    sizes = {
        "vocab_size": vocabulary,
        "d_model": d_model,
        "num_mel_bins": source.take("encoder/conv1/weight").shape[1],
        "max_source_positions": source.take("encoder/position_encodings/encodings").shape[0],
        "max_target_positions": source.take("decoder/position_encodings/encodings").shape[0],
    }
    for side in ("encoder", "decoder"):
        sizes[f"{side}_layers"] = source.layers(side)
        sizes[f"{side}_attention_heads"] = int(source.take(f"{side}/num_heads"))
        sizes[f"{side}_ffn_dim"] = source.take(f"{side}/layer_0/ffn/linear_0/weight").shape[0]
    return sizes


class _Source:
    """Tensors by name, with a note of which ones were taken."""

    def __init__(self, model: Ct2Model) -> None:
        named = {
            a: model.tensors[name] for a, name in model.aliases.items() if name in model.tensors
        }
        self._tensors: Tensors = {**model.tensors, **named}
        self.used: set[str] = set()

    def find(self, name: str) -> np.ndarray | None:
        """A value that may be missing."""
        self.used.add(name)
        return self._tensors.get(name)

    def take(self, name: str) -> np.ndarray:
        found = self.find(name)
        if found is None:
            raise CheckpointError(f"the tensor {name} is missing; this is not a complete Whisper")
        return found

    def rows(self, name: str, parts: int) -> list[np.ndarray]:
        """Equal shares of the rows of a stacked tensor."""
        stacked = self.take(name)
        if stacked.ndim == 0 or stacked.shape[0] % parts:
            raise CheckpointError(f"{name} of shape {stacked.shape} is not {parts} equal parts")
        return np.split(stacked, parts)

    def layers(self, side: str) -> int:
        """How many layers `side` has, counted until one is missing, as CTranslate2 does."""
        count = 0
        while f"{side}/layer_{count}/ffn/linear_0/weight" in self._tensors:
            count += 1
        return count


def _encoder(source: _Source) -> Tensors:
    result = {
        f"model.encoder.{conv}.{part}": source.take(f"encoder/{conv}/{part}")
        for conv in ("conv1", "conv2")
        for part in ("weight", "bias")
    }
    return result | _stack(source, "encoder")


def _decoder(source: _Source) -> Tensors:
    embedding = {"model.decoder.embed_tokens.weight": source.take(_EMBEDDING)}
    result = embedding | _stack(source, "decoder")
    for prefix, ours in _each_layer(source, "decoder"):
        there = f"{prefix}/attention"
        _check_heads(source, "decoder", there)
        result |= _norm(source, f"{there}/layer_norm", f"{ours}.encoder_attn_layer_norm")
        result |= _stacked(source, f"{there}/linear_0", f"{ours}.encoder_attn", "q")
        result |= _stacked(source, f"{there}/linear_1", f"{ours}.encoder_attn", "kv")
        result |= _linear(source, f"{there}/linear_2", f"{ours}.encoder_attn.out_proj")
    return result


def _stack(source: _Source, side: str) -> Tensors:
    positions = source.take(f"{side}/position_encodings/encodings")
    result = {f"model.{side}.embed_positions.weight": positions}
    result |= _norm(source, f"{side}/layer_norm", f"model.{side}.layer_norm")
    for prefix, ours in _each_layer(source, side):
        there = f"{prefix}/self_attention"
        _check_heads(source, side, there)
        result |= _norm(source, f"{there}/layer_norm", f"{ours}.self_attn_layer_norm")
        result |= _stacked(source, f"{there}/linear_0", f"{ours}.self_attn", "qkv")
        result |= _linear(source, f"{there}/linear_1", f"{ours}.self_attn.out_proj")
        result |= _norm(source, f"{prefix}/ffn/layer_norm", f"{ours}.final_layer_norm")
        result |= _linear(source, f"{prefix}/ffn/linear_0", f"{ours}.fc1")
        result |= _linear(source, f"{prefix}/ffn/linear_1", f"{ours}.fc2")
    return result


def _each_layer(source: _Source, side: str) -> Iterator[tuple[str, str]]:
    for layer in range(source.layers(side)):
        yield f"{side}/layer_{layer}", f"model.{side}.layers.{layer}"


def _linear(source: _Source, there: str, ours: str) -> Tensors:
    return {f"{ours}.{part}": source.take(f"{there}/{part}") for part in ("weight", "bias")}


def _norm(source: _Source, there: str, ours: str) -> Tensors:
    weight, bias = source.take(f"{there}/gamma"), source.take(f"{there}/beta")
    return {f"{ours}.weight": weight, f"{ours}.bias": bias}


def _stacked(source: _Source, there: str, ours: str, projections: str) -> Tensors:
    weights = source.rows(f"{there}/weight", len(projections))
    biases = source.rows(f"{there}/bias", len(projections))
    result = {}
    for projection, weight, bias in zip(projections, weights, biases, strict=True):
        result[f"{ours}.{projection}_proj.weight"] = weight
        if projection != "k":
            result[f"{ours}.{projection}_proj.bias"] = bias
        elif bias.any():
            raise CheckpointError(f"{there}/bias has a k part that is not zero; Whisper has none")
    return result


def _check_heads(source: _Source, side: str, there: str) -> None:
    """What the file says of the heads of an attention, which it need not, is a whole Whisper's."""
    said = {name: source.find(f"{there}/{name}") for name in ("head_dim", "queries_scale")}
    if all(value is None for value in said.values()):
        return
    d_model = source.take(f"{side}/layer_norm/gamma").size
    width = d_model // int(source.take(f"{side}/num_heads"))
    for name, wanted in (("head_dim", width), ("queries_scale", np.float32(width**-0.5))):
        found = said[name]
        if found is not None and found != wanted:
            raise CheckpointError(
                f"{there}/{name} is {found}, a whole Whisper of this size has {wanted}: the heads "
                "are those of a cut model; use the model this was exported from"
            )


def _check_settings(model: Ct2Model) -> None:
    if model.aliases.get(_PROJECTION) != _EMBEDDING:
        raise CheckpointError(f"{_PROJECTION} is not tied to {_EMBEDDING}, as Whisper's is")
    for name, wanted in _FLAGS.items():
        found = model.tensors.get(name)
        if found is not None and int(found) != wanted:
            raise CheckpointError(f"{name} is {int(found)}; a Whisper has {wanted}")
