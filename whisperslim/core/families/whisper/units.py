"""The removable units of Whisper's layers, and an encoder that takes any window length.

Where a sub-layer or a layer was taken out, a module stands that holds no tensor.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from whisperslim.core.families.base import AttentionSite, Slice, UnitSite
from whisperslim.core.families.factors import prunable_in, with_factors


class AbsentAttention(nn.Module):
    """Adds nothing to the residual stream, and touches no cache."""

    def forward(
        self, hidden_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, None]:
        """Nothing to add: a zero of no dimensions, and no attention weights."""
        return hidden_states.new_zeros(()), None


class AbsentLinear(nn.Module):
    """Either projection of a feed-forward block that was taken out."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """A zero of no dimensions, which every activation function of Whisper leaves at zero."""
        return hidden_states.new_zeros(())


class AbsentLayer(nn.Module):
    """A layer all of whose sub-layers were taken out."""

    def forward(self, hidden_states: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """The input itself."""
        return hidden_states


_PROJECTIONS = ("q_proj", "k_proj", "v_proj")
_FFN_NORM = "final_layer_norm"
# Two convolutions make one position of two 10 ms frames.
POSITION_SECONDS = 0.02


class WhisperUnits:
    """Attention heads and FFN units of every layer, and the encoder's pass.

    Attributes:
        stacks: Stack -> the attention modules of its layers; under these names in `model.model`.
    """

    stacks: Mapping[str, tuple[str, ...]]
    opens_linears = True

    def unit_groups(self, model: nn.Module) -> tuple[UnitSite, ...]:
        """One `heads` group per attention module and one `ffn` group per layer, those present; or
        the components of their matrices, where these are opened."""
        groups = []
        for stack, attentions in self.stacks.items():
            for index, layer in enumerate(_layers(model, stack)):
                prefix = f"model.{stack}.layers.{index}"
                for attention in attentions:
                    if _has_attention(layer, attention):
                        groups.append(_head_group(model, stack, index, f"{prefix}.{attention}"))
                if _has_ffn(layer):
                    groups.append(_ffn_group(model, stack, index, prefix))
        return with_factors(model, groups)

    def prunable_weights(self, model: nn.Module) -> dict[str, str]:
        """The matrices of q, k, v, out, fc1 and fc2; embeddings, convolutions and norms are not."""
        return prunable_in(self.unit_groups(model))

    def set_unit_count(self, model: nn.Module, group: UnitSite, count: int) -> None:
        """Heads: the attention module's `num_heads`. FFN widths live in the matrices alone."""
        if group.kind == "heads":
            attention = model.get_submodule(group.gate.removesuffix(".out_proj"))
            attention.num_heads = cast(Any, count)

    def attentions(self, model: nn.Module) -> tuple[AttentionSite, ...]:
        """Self-attention of both stacks, and the decoder's attention to the encoder."""
        return tuple(
            _attention_site(model, stack, index, name)
            for stack, names in self.stacks.items()
            for index, layer in enumerate(_layers(model, stack))
            for name in names
            if _has_attention(layer, name)
        )

    def set_head_width(self, model: nn.Module, site: AttentionSite, width: int) -> None:
        """The attention module's `head_dim`."""
        module = model.get_submodule(site.query.removesuffix(".q_proj"))
        module.head_dim = cast(Any, width)

    def drop(self, model: nn.Module, group: UnitSite) -> None:
        """Put modules in place that add nothing; a layer left with none becomes a pass-through."""
        layers = _layers(model, group.stack)
        layer: Any = layers[group.layer]
        if group.kind == "heads":
            name = group.gate.split(".")[-2]
            setattr(layer, name, AbsentAttention())
            setattr(layer, f"{name}_layer_norm", nn.Identity())
        else:
            layer.fc1, layer.fc2 = AbsentLinear(), AbsentLinear()
            setattr(layer, _FFN_NORM, nn.Identity())
        if not _has_ffn(layer) and not any(
            _has_attention(layer, a) for a in self.stacks[group.stack]
        ):
            layers[group.layer] = AbsentLayer()
        if group.stack == "decoder":
            _renumber_caches(layers)

    def encode(self, model: nn.Module, features: torch.Tensor) -> torch.Tensor:
        """Run the encoder on a window that need not be 30 s.

        Args:
            model: A model with an encoder of Whisper's, whole or cut.
            features: Log-mel `(batch, n_mels, frames)`, frames even and at most 3000.

        Returns:
            States `(batch, frames / 2, d_model)`. At 3000 frames equal to the stock encoder.
        """
        encoder: Any = model.get_submodule("model.encoder")
        limit = 2 * encoder.max_source_positions
        frames = features.shape[-1]
        if frames % 2 or not 0 < frames <= limit:
            raise ValueError(f"features have {frames} frames; give an even number up to {limit}")
        hidden = F.gelu(encoder.conv1(features))
        hidden = F.gelu(encoder.conv2(hidden)).permute(0, 2, 1)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        hidden = F.dropout(hidden, p=encoder.dropout, training=encoder.training)
        for layer in encoder.layers:
            hidden = layer(hidden, None)
        return encoder.layer_norm(hidden)

    def encoder(self, model: nn.Module) -> nn.Module:
        """Convolutions, positions and layers of the encoder."""
        return model.get_submodule("model.encoder")

    def layers(self, model: nn.Module) -> Mapping[str, Sequence[nn.Module]]:
        """The layers of every stack."""
        return {stack: tuple(_layers(model, stack)) for stack in self.stacks}

    def final_norms(self, model: nn.Module) -> Mapping[str, nn.Module]:
        """`layer_norm` of every stack."""
        return {stack: model.get_submodule(f"model.{stack}.layer_norm") for stack in self.stacks}

    def set_dropout(self, model: nn.Module, rate: float) -> None:
        """Residual dropout, as in Whisper's own configuration field of that name."""
        for name in self.stacks:
            stack: Any = model.get_submodule(f"model.{name}")
            stack.dropout = rate
            for layer in stack.layers:
                layer.dropout = rate


def _layers(model: nn.Module, stack: str) -> nn.ModuleList:
    return cast(nn.ModuleList, model.get_submodule(f"model.{stack}.layers"))


def _has_attention(layer: nn.Module, name: str) -> bool:
    return not isinstance(layer, AbsentLayer) and not isinstance(
        getattr(layer, name), AbsentAttention
    )


def _has_ffn(layer: nn.Module) -> bool:
    return not isinstance(layer, AbsentLayer) and not isinstance(layer.fc1, AbsentLinear)


def _renumber_caches(layers: nn.ModuleList) -> None:
    """Number the key/value caches of the attention modules that are left, each kind from 0.

    transformers reads how many tokens are cached, and so the next position, off cache 0.
    """
    for name in ("self_attn", "encoder_attn"):
        present = [layer for layer in layers if _has_attention(layer, name)]
        for index, layer in enumerate(present):
            attention: Any = getattr(layer, name)
            attention.layer_idx = index


def _attention_site(model: nn.Module, stack: str, index: int, name: str) -> AttentionSite:
    path = f"model.{stack}.layers.{index}.{name}"
    module: Any = model.get_submodule(path)
    return AttentionSite(
        key=f"{stack}.{index}.{name}",
        stack=stack,
        source="encoder" if name == "encoder_attn" else stack,
        query=f"{path}.q_proj",
        keys=f"{path}.k_proj",
        values=f"{path}.v_proj",
        output=f"{path}.out_proj",
        heads=module.num_heads,
        width=module.head_dim,
        scaling=float(module.scaling),
    )


def _head_group(model: nn.Module, stack: str, index: int, attention: str) -> UnitSite:
    module: Any = model.get_submodule(attention)
    head, inner = module.head_dim, module.q_proj.in_features
    slices = [Slice(f"{attention}.{name}.weight", 0, head, prunable=True) for name in _PROJECTIONS]
    # Whisper's key projection has no bias.
    slices += [
        Slice(f"{attention}.{name}.bias", 0, head, prunable=False) for name in ("q_proj", "v_proj")
    ]
    slices.append(Slice(f"{attention}.out_proj.weight", 1, head, prunable=True))
    weights = 4 * head * inner
    return UnitSite(
        key=f"{stack}.{index}.{attention.rsplit('.', 1)[1]}.heads",
        kind="heads",
        stack=stack,
        count=module.num_heads,
        width=head,
        slices=tuple(slices),
        gate=f"{attention}.out_proj",
        weights_per_unit=weights,
        parameters_per_unit=weights + 2 * head,
        layer=index,
    )


def _ffn_group(model: nn.Module, stack: str, index: int, layer: str) -> UnitSite:
    fc1 = cast(nn.Linear, model.get_submodule(f"{layer}.fc1"))
    weights = 2 * fc1.in_features
    return UnitSite(
        key=f"{stack}.{index}.ffn",
        kind="ffn",
        stack=stack,
        count=fc1.out_features,
        width=1,
        slices=(
            Slice(f"{layer}.fc1.weight", 0, 1, prunable=True),
            Slice(f"{layer}.fc1.bias", 0, 1, prunable=False),
            Slice(f"{layer}.fc2.weight", 1, 1, prunable=True),
        ),
        gate=f"{layer}.fc2",
        weights_per_unit=weights,
        parameters_per_unit=weights + 1,
        layer=index,
    )
