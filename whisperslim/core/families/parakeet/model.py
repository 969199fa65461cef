"""Parakeet: a FastConformer with a CTC head, as transformers has it.

Features are thinned out eightfold by convolutions, and go through Conformer layers with relative
positions. A sub-layer takes its norm with it when it goes; every layer ends in a norm that stays.
The convolutions before the layers are not cut: in the published sizes they are less than a
hundredth of the weights and of the work.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from whisperslim.core.families.base import UnitSite
from whisperslim.core.families.configuration import (
    CONFIG_FILE,
    check_sizes,
    plain_part,
    processor_settings,
    read_configuration,
    usable,
)
from whisperslim.core.families.flavours.ctc import CTC
from whisperslim.core.families.flavours.samples import HearsSamples, heard_samples
from whisperslim.core.families.parakeet.features import (
    FFT,
    HOP,
    LEAST_SAMPLES,
    PREEMPHASIS,
    RATE,
    WINDOW,
    log_mel,
)
from whisperslim.core.families.wav2vec2.units import (
    LayerUnits,
    Part,
    channel_site,
    ffn_site,
    head_site,
    set_channels,
)
from whisperslim.core.tokens.bounds import check_token_files
from whisperslim.core.tokens.pieces import PieceTokens, load_pieces
from whisperslim.errors import CheckpointError
from whisperslim.exported.ctc import FrameTiming
from whisperslim.exported.spelling import TOKENIZER_FILE

_NOTHING: Mapping[str, str] = {}
_NORM = "norm"  # of the convolution module
# Of what a configuration may say, both ends included. Our choice; the largest published have 42
# layers of 1024 channels.
_SIZES = {
    "hidden_size": (2, 8192), "num_hidden_layers": (1, 128), "num_attention_heads": (1, 256),
    "intermediate_size": (1, 32_768), "conv_kernel_size": (1, 1024), "num_mel_bins": (8, 256),
    "subsampling_conv_channels": (1, 8192), "subsampling_factor": (2, 64),
}  # fmt: skip
PROCESSOR = {"sampling_rate": RATE, "hop_length": HOP, "n_fft": FFT, "win_length": WINDOW,
              "preemphasis": PREEMPHASIS}  # fmt: skip


@dataclass(frozen=True)
class OwnHeads:
    """What an attention module asks its configuration for, with a number of heads of its own."""

    shared: Any
    num_attention_heads: int

    @property
    def _attn_implementation(self) -> str:
        return str(self.shared._attn_implementation)


class ParakeetFamily(LayerUnits, HearsSamples, CTC):
    """Heads, feed-forward units and convolution channels of every layer."""

    model_type = "parakeet_ctc"
    engines: tuple[str, ...] = ("onnx", "hf")
    tied = _NOTHING
    older_names = _NOTHING
    token_row = "encoder.head"
    stack = "encoder.layers"

    # Loading

    def classes(self) -> tuple[Any, Any]:
        """Of configuration and model; imported when asked for, since few runs need them."""
        from transformers import ParakeetCTCConfig, ParakeetForCTC

        return ParakeetCTCConfig, ParakeetForCTC

    def skeleton(self, folder: Path, tokens: int | None = None) -> PreTrainedModel:
        """The architecture of `config.json` on the meta device."""
        config = self.configuration(folder, tokens=tokens)
        with usable(folder / CONFIG_FILE), torch.device("meta"):
            found: PreTrainedModel = self.classes()[1](config)
        return found

    def configuration(
        self, folder: Path, config_class: Any = None, tokens: int | None = None
    ) -> Any:
        """What `config.json` says, as a stock configuration or one of `config_class`.

        Dropping of whole layers is switched off: training here has its own variation, and repeats
        exactly.
        """
        file = folder / CONFIG_FILE
        with usable(file):
            found = read_configuration(folder)
            inner = plain_part(found.pop("encoder_config", {}))
            config: Any = (config_class or self.classes()[0])(**found, encoder_config=inner)
            config.vocab_size = tokens or config.vocab_size
            _check(config, file)
            check_processor(folder, config.encoder_config.num_mel_bins)
            config.encoder_config.layerdrop = 0.0
        return config

    def skeleton_of(self, model: nn.Module) -> PreTrainedModel:
        """The architecture of the model's configuration, which a cut leaves as it was."""
        with torch.device("meta"):
            found: PreTrainedModel = self.classes()[1](cast(Any, model).config)
        return found

    def load_tokens(self, folder: Path) -> PieceTokens:
        """Pieces of words, whose blank is the model's."""
        check_token_files(folder)
        blank = int(cast(Any, self.skeleton(folder).config).pad_token_id)
        found = load_pieces(folder, blank)
        pieces = found.tokenizer.get_vocab_size(with_added_tokens=False)
        if blank < pieces:
            raise CheckpointError(
                f"pad_token_id, the blank, is {blank} in {folder}, and the tokenizer writes text "
                f"with it as with all below {pieces}: it belongs to another model; restore the "
                "model's own files"
            )
        return found

    def tokenizer_file(self, model: nn.Module) -> str:
        """Of pieces."""
        return TOKENIZER_FILE

    # Sound

    def encode(self, model: nn.Module, features: torch.Tensor) -> torch.Tensor:
        """States of samples; zeros at the end of a clip are padding, and so are their states."""
        inner, bands = cast(Any, self.encoder(model)), self._config(model).num_mel_bins
        if features.is_meta:
            mel = features.new_zeros(features.shape[0], features.shape[1] // HOP, bands)
            bare: torch.Tensor = inner(mel).last_hidden_state
            return bare
        lengths = heard_samples(features).clamp_min(LEAST_SAMPLES)
        mel = log_mel(features, lengths, bands)
        mask = torch.arange(mel.shape[1], device=mel.device) < (lengths // HOP)[:, None]
        found = inner(mel, attention_mask=mask)
        states: torch.Tensor = found.last_hidden_state
        return states * found.attention_mask[..., None].to(states)

    def encoder(self, model: nn.Module) -> nn.Module:
        """Convolutions and layers."""
        return model.get_submodule("encoder")

    def timing(self, model: nn.Module) -> FrameTiming:
        """Every position of which at least one frame lies whole within the clip."""
        return FrameTiming(self._config(model).subsampling_factor * HOP / RATE, (HOP - 1) / RATE)

    def head(self, model: nn.Module) -> nn.Conv1d:
        """Over the states."""
        return cast(nn.Conv1d, model.get_submodule("ctc_head"))

    def project(self, model: nn.Module, states: torch.Tensor) -> torch.Tensor:
        """Logits of states."""
        logits: torch.Tensor = self.head(model)(states)
        return logits

    def width(self, model: nn.Module) -> int:
        """The same in every layer."""
        return int(self._config(model).hidden_size)

    # Units

    def parts(self, model: nn.Module) -> tuple[Part, ...]:
        """Four to a layer."""
        return (
            Part("ffn", "feed_forward1", "norm_feed_forward1", "ffn1"),
            Part("heads", "self_attn", "norm_self_att", "self_attn.heads"),
            Part("channels", "conv", "norm_conv", "conv.channels"),
            Part("ffn", "feed_forward2", "norm_feed_forward2", "ffn2"),
        )

    def site(self, model: nn.Module, part: Part, index: int) -> UnitSite:
        """A head owns its rows of the projection of relative positions, and both biases."""
        name = f"{self.stack}.{index}.{part.name}"
        if part.kind == "channels":
            return channel_site(model, name, _NORM, index, part.key)
        if part.kind == "ffn":
            return ffn_site(model, name, "linear1", "linear2", index, part.key)
        projections = ("q_proj", "k_proj", "v_proj", "relative_k_proj")
        return head_site(model, name, projections, "o_proj", index, part.key)

    def set_unit_count(self, model: nn.Module, group: UnitSite, count: int) -> None:
        """Of channels, and of heads, which an attention module reads in its configuration."""
        if group.kind == "channels":
            set_channels(model, group, count, _NORM)
        if group.kind == "heads":
            attention: Any = model.get_submodule(group.gate.rpartition(".")[0])
            attention.config = OwnHeads(self._config(model), count)

    def norm_stays(self, model: nn.Module) -> bool:
        """Every layer ends in one."""
        return True

    def final_norms(self, model: nn.Module) -> Mapping[str, nn.Module]:
        """None: layers end in norms of their own."""
        return {}

    # Training

    def set_dropout(self, model: nn.Module, rate: float) -> None:
        """Of feed-forward activations, since these layers have none behind sub-layers."""
        encoder: Any = self.encoder(model)
        encoder.dropout = encoder.dropout_positions = 0.0
        for module in encoder.modules():
            if hasattr(module, "activation_dropout"):
                module.activation_dropout = rate
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.0

    # Costs

    def cost_row(self, model: nn.Module, name: str) -> str:
        """Head and convolutions; the rest together."""
        kinds = {"ctc_head": "head", "subsampling": "convolutions"}
        kind = next((kind for part, kind in kinds.items() if part in name.split(".")), None)
        return f"encoder.{kind or 'norms_and_biases'}"

    def _config(self, model: nn.Module) -> Any:
        return cast(Any, model).config.encoder_config


def check_processor(folder: Path, bands: int) -> None:
    """Raise `ValueError` when the folder's processor makes other features than the model's."""
    found = processor_settings(folder)
    wanted = {**PROCESSOR, "feature_size": bands}
    for name, value in wanted.items():
        if found.get(name, value) != value:
            raise ValueError(
                f"its processor has {name} {found[name]!r:.60} and the model needs {value}: it is "
                "of another model; restore the model's own file"
            )


def _check(config: Any, file: Path) -> None:
    inner = config.encoder_config
    check_sizes(config, {"vocab_size": (1, 1_000_000)}, file)
    check_sizes(inner, _SIZES, file)
    if inner.hidden_size % (2 * inner.num_attention_heads):
        raise ValueError(
            f"{inner.hidden_size} channels cannot be shared by {inner.num_attention_heads} heads"
        )
    if (inner.subsampling_conv_kernel_size, inner.subsampling_conv_stride) != (3, 2):
        raise ValueError("convolutions before the layers must be 3 wide, of stride 2, as published")
    factor = inner.subsampling_factor
    if factor & (factor - 1) or inner.num_mel_bins % factor:
        raise ValueError(
            f"subsampling_factor is {factor}; a power of 2 is needed that divides "
            f"{inner.num_mel_bins} bands"
        )
    if inner.conv_kernel_size % 2 == 0:
        raise ValueError(f"conv_kernel_size is {inner.conv_kernel_size}; an odd number is needed")
    blank = config.pad_token_id
    if not isinstance(blank, int) or not 0 <= blank < config.vocab_size:
        raise ValueError(
            f"pad_token_id, the blank, is {blank}; one of the {config.vocab_size} tokens of the "
            "model is needed"
        )
