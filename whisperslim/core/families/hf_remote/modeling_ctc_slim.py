"""wav2vec 2.0, HuBERT, Conformers and Parakeet with CTC, whose layers differ in their widths.

This file stands inside a model folder, so that transformers (5.x) can load it by itself:

    AutoModelForCTC.from_pretrained(folder, trust_remote_code=True)
    pipeline("automatic-speech-recognition", model=folder, trust_remote_code=True)

It needs torch and transformers, and nothing of the package that made the folder.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import (
    HubertConfig,
    HubertForCTC,
    ParakeetCTCConfig,
    ParakeetForCTC,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerForCTC,
    Wav2Vec2ForCTC,
)

Parts = Mapping[str, tuple[str, str]]
"""Kind of units -> the module that has them in a layer, and the norm before it, which goes with it;
no name where the norm is inside of the module."""


class Wav2Vec2SlimConfig(Wav2Vec2Config):
    """A wav2vec 2.0's configuration, and what is left of each layer.

    The stock fields describe the model before anything was cut.

    Attributes:
        layer_units: Kind of units -> how many each layer has; 0 where the sub-layer is not there.
        ranks: Name of a linear layer -> rank of the two matrices that it is stored as.
    """

    model_type = "wav2vec2_slim"

    layer_units: dict[str, list[int]] | None = None
    ranks: dict[str, int] | None = None


class HubertSlimConfig(HubertConfig):
    """Of a HuBERT, as above."""

    model_type = "hubert_slim"

    layer_units: dict[str, list[int]] | None = None
    ranks: dict[str, int] | None = None


class Wav2Vec2ConformerSlimConfig(Wav2Vec2ConformerConfig):
    """Of a wav2vec 2.0 of Conformer layers, as above."""

    model_type = "wav2vec2_conformer_slim"

    layer_units: dict[str, list[int]] | None = None


class ParakeetSlimConfig(ParakeetCTCConfig):
    """Of a Parakeet, as above."""

    model_type = "parakeet_slim"

    layer_units: dict[str, list[int]] | None = None


class FactoredLinear(nn.Module):
    """A linear layer of low rank: two matrices in place of one, and the bias behind the second."""

    def __init__(self, inputs: int, outputs: int, rank: int, bias: bool) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.empty(rank, inputs))
        self.second = nn.Parameter(torch.empty(outputs, rank))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(..., inputs)` -> `(..., outputs)`."""
        between = functional.linear(hidden_states, self.first)
        return functional.linear(between, self.second, self.bias)


class AbsentAttention(nn.Module):
    """Where an attention block was taken out: adds nothing."""

    def forward(
        self, hidden_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, None]:
        """A zero of no dimensions, and no attention weights."""
        return hidden_states.new_zeros(()), None


class AbsentBlock(nn.Module):
    """Where a feed-forward block or a convolution module was taken out."""

    def forward(self, hidden_states: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """A zero of no dimensions."""
        return hidden_states.new_zeros(())


class AbsentLayer(nn.Module):
    """A layer that was taken out as a whole."""

    def forward(self, hidden_states: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """The input itself."""
        return hidden_states


class _Strict:
    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in transformers, but a tensor that does not fit is an error and not a warning."""
        wants_report = kwargs.pop("output_loading_info", False)
        load: Any = super()
        model, report = load.from_pretrained(*args, output_loading_info=True, **kwargs)
        for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if report.get(what):
                raise ValueError(
                    f"the weights do not fit this model, {what}: {sorted(report[what])[:3]}; "
                    "download the folder again"
                )
        return (model, report) if wants_report else model


class Wav2Vec2SlimForCTC(_Strict, Wav2Vec2ForCTC):
    """wav2vec 2.0, cut as its configuration says."""

    config_class = Wav2Vec2SlimConfig

    def __init__(self, config: Wav2Vec2SlimConfig, target_lang: str | None = None) -> None:
        super().__init__(config, target_lang)
        _cut_encoder(self, self.wav2vec2.encoder.layers, config)
        self.post_init()


class HubertSlimForCTC(_Strict, HubertForCTC):
    """HuBERT, cut as its configuration says."""

    config_class = HubertSlimConfig

    def __init__(self, config: HubertSlimConfig, target_lang: str | None = None) -> None:
        super().__init__(config, target_lang)
        _cut_encoder(self, self.hubert.encoder.layers, config)
        self.post_init()


class Wav2Vec2ConformerSlimForCTC(_Strict, Wav2Vec2ConformerForCTC):
    """wav2vec 2.0 of Conformer layers, cut as its configuration says."""

    config_class = Wav2Vec2ConformerSlimConfig

    def __init__(self, config: Wav2Vec2ConformerSlimConfig, target_lang: str | None = None) -> None:
        super().__init__(config, target_lang)
        parts = {
            "ffn1": ("ffn1", "ffn1_layer_norm"),
            "self_attn.heads": ("self_attn", "self_attn_layer_norm"),
            "conv.channels": ("conv_module", ""),
            "ffn2": ("ffn2", "ffn2_layer_norm"),
        }
        _cut(self.wav2vec2_conformer.encoder.layers, config.layer_units, parts, stays=True)
        self.post_init()


class ParakeetSlimForCTC(_Strict, ParakeetForCTC):
    """Parakeet, cut as its configuration says."""

    config_class = ParakeetSlimConfig

    def __init__(self, config: ParakeetSlimConfig) -> None:
        super().__init__(config)
        parts = {
            "ffn1": ("feed_forward1", "norm_feed_forward1"),
            "self_attn.heads": ("self_attn", "norm_self_att"),
            "conv.channels": ("conv", "norm_conv"),
            "ffn2": ("feed_forward2", "norm_feed_forward2"),
        }
        _cut(self.encoder.layers, config.layer_units, parts, stays=True)
        self.post_init()


class _OwnHeads:
    """What an attention asks its configuration for, with a number of heads of its own."""

    def __init__(self, shared: Any, heads: int) -> None:
        self.shared, self.num_attention_heads = shared, heads

    @property
    def _attn_implementation(self) -> Any:
        return self.shared._attn_implementation


def _cut_encoder(model: nn.Module, layers: nn.ModuleList, config: Any) -> None:
    before = bool(config.do_stable_layer_norm)  # otherwise norms come behind, and stay
    parts = {
        "self_attn.heads": ("attention", "layer_norm" if before else ""),
        "ffn": ("feed_forward", "final_layer_norm" if before else ""),
    }
    _cut(layers, config.layer_units, parts, stays=not before)
    for name, rank in (config.ranks or {}).items():
        _factor(model, name, rank)


def _factor(model: nn.Module, name: str, rank: int) -> None:
    linear = dict(model.named_modules()).get(name)
    if ".layers." not in name or not isinstance(linear, nn.Linear):
        raise ValueError(f"ranks names {name}, which is no linear layer of this model's layers")
    most = min(linear.in_features, linear.out_features)
    if type(rank) is not int or not 1 <= rank <= most:
        raise ValueError(f"ranks has {rank} for {name}; accepted are whole numbers up to {most}")
    owner, _, leaf = name.rpartition(".")
    sizes = linear.in_features, linear.out_features
    made = FactoredLinear(*sizes, rank, linear.bias is not None)
    setattr(model.get_submodule(owner), leaf, made)


def _cut(
    layers: nn.ModuleList, units: Mapping[str, list[int]] | None, parts: Parts, stays: bool
) -> None:
    if units is None:
        return
    if set(units) != set(parts) or {len(each) for each in units.values()} != {len(layers)}:
        raise ValueError(
            f"layer_units lists {sorted(units)}; {sorted(parts)} are needed, each with "
            f"{len(layers)} numbers"
        )
    for index, layer in enumerate(layers):
        for kind, (name, norm) in parts.items():
            _cut_part(layer, kind, name, norm, units[kind][index])
        if not stays and not any(units[kind][index] for kind in parts):
            layers[index] = AbsentLayer()


def _cut_part(layer: Any, kind: str, name: str, norm: str, count: int) -> None:
    if not count:
        setattr(layer, name, AbsentAttention() if kind.endswith("heads") else AbsentBlock())
        if norm:
            setattr(layer, norm, nn.Identity())
    elif kind.endswith("heads"):
        _cut_heads(getattr(layer, name), count)
    elif kind.endswith("channels"):
        _cut_channels(getattr(layer, name), count)
    else:
        _cut_block(getattr(layer, name), count)


def _cut_heads(attention: Any, count: int) -> None:
    width = count * int(getattr(attention, "head_dim", 0) or attention.head_size)
    for name, old in list(attention.named_children()):
        if isinstance(old, nn.Linear):
            back = name in ("out_proj", "linear_out", "o_proj")
            inputs, outputs = (width, old.out_features) if back else (old.in_features, width)
            setattr(attention, name, nn.Linear(inputs, outputs, bias=old.bias is not None))
    for name, bias in list(attention.named_parameters(recurse=False)):  # of relative positions
        setattr(attention, name, nn.Parameter(torch.zeros(count, *bias.shape[1:])))
    if hasattr(attention, "bias_u"):
        attention.config = _OwnHeads(attention.config, count)


def _cut_block(block: Any, count: int) -> None:
    (inner, first), (outer, second) = (
        (name, child) for name, child in block.named_children() if isinstance(child, nn.Linear)
    )
    setattr(block, inner, nn.Linear(first.in_features, count, bias=first.bias is not None))
    setattr(block, outer, nn.Linear(count, second.out_features, bias=second.bias is not None))


def _cut_channels(module: Any, count: int) -> None:
    width = module.pointwise_conv1.in_channels
    module.pointwise_conv1 = _conv(module.pointwise_conv1, width, 2 * count)
    module.depthwise_conv = _conv(module.depthwise_conv, count, count, groups=count)
    module.pointwise_conv2 = _conv(module.pointwise_conv2, count, width)
    for name, old in list(module.named_children()):
        if isinstance(old, nn.BatchNorm1d):
            setattr(module, name, nn.BatchNorm1d(count, old.eps, old.momentum))


def _conv(old: Any, inputs: int, outputs: int, groups: int = 1) -> nn.Conv1d:
    return nn.Conv1d(
        inputs, outputs, old.kernel_size, old.stride, old.padding,
        groups=groups, bias=old.bias is not None,
    )  # fmt: skip
