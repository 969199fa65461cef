"""A Parakeet as one graph: samples in, scores of frames out.

What is padding behind a clip is cut off at the start, and its states are put back as zeros.
"""

from typing import Any

import torch
from transformers import PreTrainedModel

from whisperslim.core.families.parakeet.features import (
    FFT,
    HOP,
    LEAST_DEVIATION,
    LEAST_POWER,
    LEAST_SAMPLES,
    PREEMPHASIS,
    WINDOW,
    hann,
    mel_filters,
)
from whisperslim.core.families.wav2vec2.onnx import (
    add,
    convolution_module,
    cut_to,
    feed_forward,
    filled,
    heard_samples,
    number,
    relative_attention,
    relative_positions,
    samples_of,
    write_scores,
)
from whisperslim.core.families.wav2vec2.units import AbsentAttention, AbsentBlock
from whisperslim.core.families.whisper.onnx import GraphBuilder, linear
from whisperslim.exported.names import FEATURES


def write_parakeet(model: PreTrainedModel, to: GraphBuilder) -> None:
    """`features` `(1, samples)` -> `states` `(1, positions, width)` and `logits`."""
    encoder: Any = model.get_submodule("encoder")
    config = encoder.config
    given = to.input(FEATURES, (1, "samples"))
    whole = _positions(to, samples_of(to, given), config.subsampling_factor)
    heard = cut_to(to, given, heard_samples(to, given, LEAST_SAMPLES), 1)
    x = _log_mel(to, heard, config.num_mel_bins)
    x = _subsampled(to, x, encoder)
    places = relative_positions(to, x, int(config.hidden_size))
    for index, layer in enumerate(encoder.layers):
        x = _layer(to, x, places, f"encoder.{index}", layer, config.hidden_act)
    head: Any = model.get_submodule("ctc_head")
    write_scores(to, filled(to, x, whole, 1), head)


def _positions(to: GraphBuilder, samples: str, factor: int) -> str:
    """Of so many samples, the last one begun counts, `(1,)`."""
    (frames,) = to.node("Div", samples, to.numbers(HOP))
    (frames,) = to.node("Add", frames, to.numbers(factor - 1))
    return to.node("Div", frames, to.numbers(factor))[0]


def _log_mel(to: GraphBuilder, samples: str, bands: int) -> str:
    """As `features.log_mel`, of a clip without padding: `(1, frames, bands)`."""
    (frames,) = to.node("Div", samples_of(to, samples), to.numbers(HOP))
    # One sample earlier, zero before the first.
    (before,) = to.node("Pad", samples, to.numbers(1, -1), "", to.numbers(1))
    (before,) = to.node("Mul", before, number(to, PREEMPHASIS))
    (wave,) = to.node("Sub", samples, before)
    (wave,) = to.node("Unsqueeze", wave, to.numbers(1))
    waves = to.stored("features.waves", _waves(), exact=True)
    edge = WINDOW // 2  # of the window's own width, in the middle of the transform's
    (found,) = to.node("Conv", wave, waves, strides=(HOP,), pads=(edge, edge))
    (power,) = to.node("Mul", found, found)
    real, imaginary = to.node("Split", power, outputs=2, axis=1, num_outputs=2)
    (power,) = to.node("Transpose", add(to, real, imaginary), perm=(0, 2, 1))
    power = cut_to(to, power, frames, 1)
    filters = to.stored("features.bands", mel_filters(bands).T, exact=True)
    (mel,) = to.node("MatMul", power, filters)
    (mel,) = to.node("Log", add(to, mel, number(to, LEAST_POWER)))
    (mean,) = to.node("ReduceMean", mel, to.numbers(1), keepdims=1)
    (mel,) = to.node("Sub", mel, mean)
    (squares,) = to.node("ReduceSum", to.node("Mul", mel, mel)[0], to.numbers(1), keepdims=1)
    (fewer,) = to.node("Cast", to.node("Sub", frames, to.numbers(1))[0], to=1)  # float32
    (deviation,) = to.node("Sqrt", to.node("Div", squares, fewer)[0])
    return to.node("Div", mel, add(to, deviation, number(to, LEAST_DEVIATION)))[0]


def _waves() -> torch.Tensor:
    """Cosines and sines of the transform within the window, `(2 * 257, 1, 400)`.

    The window stands in the middle of the transform; where it begins only turns the phase.
    """
    turns = torch.arange(FFT // 2 + 1)[:, None] * torch.arange(WINDOW)[None] % FFT
    angles = turns.double() * (2.0 * torch.pi / FFT)
    both = torch.cat((angles.cos(), angles.sin())) * hann(torch.device("cpu")).double()
    return both.float()[:, None]


def _subsampled(to: GraphBuilder, x: str, encoder: Any) -> str:
    """Convolutions of stride 2 over frames and bands, `(1, positions, width)`."""
    module = encoder.subsampling
    (x,) = to.node("Unsqueeze", x, to.numbers(1))
    for index, layer in enumerate(module.layers):
        if not isinstance(layer, torch.nn.Conv2d):
            (x,) = to.node("Relu", x)
            continue
        edge = int(layer.padding[0])
        x = to.convolution(
            x, f"subsampling.{index}", layer.weight, layer.bias, strides=layer.stride,
            pads=(edge,) * 4, groups=int(layer.groups),
        )  # fmt: skip
    (x,) = to.node("Transpose", x, perm=(0, 2, 1, 3))
    weight, bias = module.linear.weight, module.linear.bias
    (x,) = to.node("Reshape", x, to.numbers(1, -1, int(weight.shape[1])))
    scale = float(encoder.input_scale)
    return to.product(x, "subsampling.linear", weight * scale, bias * scale)


def _layer(to: GraphBuilder, x: str, places: str, name: str, layer: Any, activation: str) -> str:
    x = _half(to, x, f"{name}.ffn1", layer.feed_forward1, layer.norm_feed_forward1, activation)
    attention = layer.self_attn
    if not isinstance(attention, AbsentAttention):
        normed = to.norm(x, f"{name}.self.norm", layer.norm_self_att)
        inputs = (attention.q_proj, attention.k_proj, attention.v_proj, attention.relative_k_proj)
        biases, scale = (attention.bias_u, attention.bias_v), float(attention.scaling)
        mixed = relative_attention(to, normed, places, f"{name}.self", inputs, biases, scale)
        out = attention.o_proj
        x = add(to, x, linear(to, mixed, f"{name}.self.out", out))
    if not isinstance(layer.conv, AbsentBlock):
        normed = to.norm(x, f"{name}.conv.norm", layer.norm_conv)
        x = add(to, x, convolution_module(
            to, normed, f"{name}.conv", layer.conv, layer.conv.norm, activation
        ))  # fmt: skip
    x = _half(to, x, f"{name}.ffn2", layer.feed_forward2, layer.norm_feed_forward2, activation)
    return to.norm(x, f"{name}.norm", layer.norm_out)


def _half(to: GraphBuilder, x: str, name: str, block: Any, norm: Any, activation: str) -> str:
    if isinstance(block, AbsentBlock):
        return x
    normed = to.norm(x, f"{name}.norm", norm)
    return add(to, x, feed_forward(to, normed, name, block.linear1, block.linear2, activation, 0.5))
