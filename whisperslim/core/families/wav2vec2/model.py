"""wav2vec 2.0, HuBERT, and wav2vec 2.0 of Conformer layers, as transformers has them with CTC.

Samples go through convolutions, 20 ms a position as published, and then through layers. In layers
of the older form the norm follows what a sub-layer adds (post-norm) and stays when the sub-layer
goes; in those of the newer one (`do_stable_layer_norm`) it comes before, and goes with it.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from whisperslim.core.families.base import UnitSite
from whisperslim.core.families.configuration import (
    CONFIG_FILE,
    check_sizes,
    processor_settings,
    read_configuration,
    usable,
)
from whisperslim.core.families.flavours.ctc import CTC
from whisperslim.core.families.flavours.samples import HearsSamples, heard_samples
from whisperslim.core.families.wav2vec2.units import (
    LayerUnits,
    Part,
    channel_site,
    ffn_site,
    head_site,
    receptive_field,
    set_channels,
)
from whisperslim.core.tokens.bounds import check_token_files
from whisperslim.core.tokens.letters import LetterTokens, load_letters
from whisperslim.errors import CheckpointError
from whisperslim.exported.ctc import FrameTiming
from whisperslim.exported.letters import VOCABULARY_FILE

RATE = 16_000
_LEAST_VARIANCE = 1e-7  # as the feature extractor of transformers adds it
_NOTHING: Mapping[str, str] = {}
# How files name the two tensors of the weight norm, older ones first.
_OLDER = {
    "pos_conv_embed.conv.weight_g": "pos_conv_embed.conv.parametrizations.weight.original0",
    "pos_conv_embed.conv.weight_v": "pos_conv_embed.conv.parametrizations.weight.original1",
}
# Of what a configuration may say, both ends included. Our choice; the largest published have 48
# layers of 1920 channels and seven convolutions.
_SIZES = {
    "hidden_size": (1, 8192), "vocab_size": (1, 1_000_000), "num_hidden_layers": (1, 128),
    "num_attention_heads": (1, 256), "intermediate_size": (1, 32_768),
    "num_conv_pos_embeddings": (1, 4096), "num_conv_pos_embedding_groups": (1, 256),
    "num_feat_extract_layers": (1, 16),
}  # fmt: skip
_OF_CONFORMERS = {"max_source_positions": (1, 30_000), "conv_depthwise_kernel_size": (1, 1024)}
_MOST_CHANNELS = 8192


class Wav2Vec2Family(LayerUnits, HearsSamples, CTC):
    """Heads and feed-forward units of every layer."""

    model_type = "wav2vec2"
    opens_linears = True
    engines: tuple[str, ...] = ("ctranslate2", "onnx", "hf", "sherpa")
    tied = _NOTHING
    token_row = "encoder.head"
    base = "wav2vec2"

    def classes(self) -> tuple[Any, Any]:
        """Of configuration and model; imported when asked for, since few runs need them."""
        from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

        return Wav2Vec2Config, Wav2Vec2ForCTC

    @property
    def older_names(self) -> Mapping[str, str]:
        """The weight norm's tensors, as most published files have them."""
        start = f"{self.base}.encoder."
        return {f"{start}{old}": f"{start}{new}" for old, new in _OLDER.items()}

    # Loading

    def skeleton(self, folder: Path, tokens: int | None = None) -> PreTrainedModel:
        """The architecture of `config.json` on the meta device, and how its input is made."""
        config = self.configuration(folder, tokens=tokens)
        with usable(folder / CONFIG_FILE), torch.device("meta"):
            found: PreTrainedModel = self.classes()[1](config)
        return found

    def configuration(
        self, folder: Path, config_class: Any = None, tokens: int | None = None
    ) -> Any:
        """What `config.json` says, as a stock configuration or one of `config_class`.

        Dropping of whole layers and masks of the model's own are switched off: training here has
        its own variation, and repeats exactly.
        """
        file = folder / CONFIG_FILE
        with usable(file):
            config: Any = (config_class or self.classes()[0])(**read_configuration(folder))
            config.vocab_size = tokens or config.vocab_size
            _check_sizes(config, file)
            config.layerdrop, config.apply_spec_augment = 0.0, False
            config.do_normalize = _normalizes(folder, bool(getattr(config, "do_normalize", True)))
            self._check(config)
        return config

    def skeleton_of(self, model: nn.Module) -> PreTrainedModel:
        """The architecture of the model's configuration, which a cut leaves as it was."""
        with torch.device("meta"):
            found: PreTrainedModel = self.classes()[1](cast(Any, model).config)
        return found

    def load_tokens(self, folder: Path) -> LetterTokens:
        """Letters, whose blank is the model's."""
        check_token_files(folder)
        found, config = load_letters(folder), cast(Any, self.skeleton(folder).config)
        if found.blank != config.pad_token_id:
            raise CheckpointError(
                f"the tokenizer in {folder} has {found.blank} for the blank and the model "
                f"{config.pad_token_id}: it belongs to another model; restore the model's own files"
            )
        return found

    def tokenizer_file(self, model: nn.Module) -> str:
        """Of letters."""
        return VOCABULARY_FILE

    # Sound

    def encode(self, model: nn.Module, features: torch.Tensor) -> torch.Tensor:
        """States of samples, each clip made of mean 0 and variance 1 where the model asks for it.

        Zeros at the end of a clip are padding. As transformers' processors have it, models with
        layer norms among their convolutions get a mask of it, and their states there are zeros;
        those with one group norm are trained without.
        """
        inner, config = cast(Any, self.encoder(model)), cast(Any, model).config
        if features.is_meta:
            states: torch.Tensor = inner(features).last_hidden_state
            return states
        lengths = heard_samples(features).clamp_min(receptive_field(config))
        mask = torch.arange(features.shape[1], device=features.device) < lengths[:, None]
        samples = _normalized(features, mask) if config.do_normalize else features
        if config.feat_extract_norm != "layer":
            states = inner(samples).last_hidden_state
            return states
        states = inner(samples, attention_mask=mask.long()).last_hidden_state
        heard = inner._get_feat_extract_output_lengths(lengths)
        place = torch.arange(states.shape[1], device=states.device)
        return states * (place < heard[:, None])[..., None].to(states)

    def encoder(self, model: nn.Module) -> nn.Module:
        """Convolutions, positions and layers."""
        return model.get_submodule(self.base)

    def timing(self, model: nn.Module) -> FrameTiming:
        """Every position whose convolutions end within the clip."""
        config: Any = cast(Any, model).config
        stride = math.prod(config.conv_stride)
        return FrameTiming(stride / RATE, (receptive_field(config) - 1) / RATE)

    def head(self, model: nn.Module) -> nn.Linear:
        """Over the states."""
        return cast(nn.Linear, model.get_submodule("lm_head"))

    def project(self, model: nn.Module, states: torch.Tensor) -> torch.Tensor:
        """Logits of states."""
        logits: torch.Tensor = self.head(model)(states)
        return logits

    def width(self, model: nn.Module) -> int:
        """The same in every layer."""
        return int(cast(Any, model).config.hidden_size)

    # Units

    @property
    def stack(self) -> str:
        """Within the encoder."""
        return f"{self.base}.encoder.layers"

    def set_unit_count(self, model: nn.Module, group: UnitSite, count: int) -> None:
        """The matrices say it; the number of heads is kept as a label."""
        if group.kind == "heads":
            attention: Any = model.get_submodule(group.gate.rpartition(".")[0])
            attention.num_heads = count

    def parts(self, model: nn.Module) -> tuple[Part, ...]:
        """The sub-layers of a layer, in the order they act."""
        before = bool(cast(Any, model).config.do_stable_layer_norm)
        return (
            Part("heads", "attention", "layer_norm" if before else "", "self_attn.heads"),
            Part("ffn", "feed_forward", "final_layer_norm" if before else "", "ffn"),
        )

    def site(self, model: nn.Module, part: Part, index: int) -> UnitSite:
        """The units of one sub-layer."""
        name = f"{self.stack}.{index}.{part.name}"
        if part.kind == "heads":
            projections = ("q_proj", "k_proj", "v_proj")
            return head_site(model, name, projections, "out_proj", index, part.key)
        return ffn_site(model, name, "intermediate_dense", "output_dense", index, part.key)

    def final_norms(self, model: nn.Module) -> Mapping[str, nn.Module]:
        """The norm behind the last layer, which post-norm models do not have."""
        if self.norm_stays(model):
            return {}
        return {"encoder": model.get_submodule(f"{self.base}.encoder.layer_norm")}

    # Training

    def set_dropout(self, model: nn.Module, rate: float) -> None:
        """Of what sub-layers add; none in attention, activations, input and output."""
        for name, module in model.named_modules():
            if isinstance(module, nn.Dropout):
                residual = ".layers." in name and not name.endswith("intermediate_dropout")
                module.p = rate if residual and "self_attn.dropout" not in name else 0.0
        for layer in self.modules(model):
            attention: Any = getattr(layer, "attention", None)
            if attention is not None and hasattr(attention, "dropout"):
                attention.dropout = 0.0

    def freeze(self, model: nn.Module, *, encoder: bool, embeddings: bool) -> None:
        """As the flavour; the convolutions over samples are frozen always, as these models are
        tuned."""
        super().freeze(model, encoder=encoder, embeddings=embeddings)
        model.get_submodule(f"{self.base}.feature_extractor").requires_grad_(False)

    # Costs

    def cost_row(self, model: nn.Module, name: str) -> str:
        """Head, convolutions, positions; the rest together."""
        kinds = (("lm_head", "head"), ("feature_extractor", "convolutions"),
                 ("pos_conv_embed", "positions"))  # fmt: skip
        kind = next((kind for part, kind in kinds if part in name.split(".")), "norms_and_biases")
        return f"encoder.{kind}"

    def norm_stays(self, model: nn.Module) -> bool:
        """Of the older form."""
        return not cast(Any, model).config.do_stable_layer_norm

    def _check(self, config: Any) -> None:
        if getattr(config, "add_adapter", False) or getattr(config, "adapter_attn_dim", None):
            raise ValueError("models with adapters are not supported; give one without")
        blank = config.pad_token_id
        if not isinstance(blank, int) or not 0 <= blank < (config.vocab_size or 0):
            raise ValueError(
                f"pad_token_id, the blank, is {blank}; one of the {config.vocab_size} tokens of "
                "the model is needed"
            )


def _check_sizes(config: Any, file: Path) -> None:
    """Raise `CheckpointError` for sizes that no such model has, before anything is built."""
    check_sizes(config, _SIZES, file)
    check_sizes(config, {k: v for k, v in _OF_CONFORMERS.items() if hasattr(config, k)}, file)
    for name in ("conv_dim", "conv_kernel", "conv_stride"):
        found = list(getattr(config, name))
        if len(found) != config.num_feat_extract_layers or not all(
            type(each) is int and 1 <= each <= _MOST_CHANNELS for each in found
        ):
            raise CheckpointError(
                f"{file} says {name} {str(found)[:80]}; accepted is for each of the "
                f"{config.num_feat_extract_layers} layers a whole number from 1 to {_MOST_CHANNELS}"
            )


class HubertFamily(Wav2Vec2Family):
    """HuBERT: the same layers, under other names of their classes."""

    model_type = "hubert"
    base = "hubert"

    def classes(self) -> tuple[Any, Any]:
        """As of the family above."""
        from transformers import HubertConfig, HubertForCTC

        return HubertConfig, HubertForCTC


class ConformerFamily(Wav2Vec2Family):
    """Conformer layers: two feed-forward blocks that add half, attention, a convolution module."""

    model_type = "wav2vec2-conformer"
    opens_linears = False  # one is given distances of positions
    engines: tuple[str, ...] = ("onnx", "hf", "sherpa")
    base = "wav2vec2_conformer"

    def classes(self) -> tuple[Any, Any]:
        """As of the family above."""
        from transformers import Wav2Vec2ConformerConfig, Wav2Vec2ConformerForCTC

        return Wav2Vec2ConformerConfig, Wav2Vec2ConformerForCTC

    def parts(self, model: nn.Module) -> tuple[Part, ...]:
        """Four to a layer."""
        return (
            Part("ffn", "ffn1", "ffn1_layer_norm", "ffn1"),
            Part("heads", "self_attn", "self_attn_layer_norm", "self_attn.heads"),
            Part("channels", "conv_module", "", "conv.channels"),  # its norm is inside
            Part("ffn", "ffn2", "ffn2_layer_norm", "ffn2"),
        )

    def site(self, model: nn.Module, part: Part, index: int) -> UnitSite:
        """With relative positions a head owns its rows of their projection, and both biases."""
        name = f"{self.stack}.{index}.{part.name}"
        if part.kind == "channels":
            return channel_site(model, name, "batch_norm", index, part.key)
        if part.kind == "ffn":
            return ffn_site(model, name, "intermediate_dense", "output_dense", index, part.key)
        relative = hasattr(model.get_submodule(name), "linear_pos")
        projections = ("linear_q", "linear_k", "linear_v", *(("linear_pos",) if relative else ()))
        return head_site(model, name, projections, "linear_out", index, part.key)

    def set_unit_count(self, model: nn.Module, group: UnitSite, count: int) -> None:
        """Of channels. Heads are counted by the matrices: rotary positions turn a layer's input in
        all of its heads, before anything is cut."""
        if group.kind == "channels":
            set_channels(model, group, count, "batch_norm")

    def final_norms(self, model: nn.Module) -> Mapping[str, nn.Module]:
        """Behind the last layer."""
        return {"encoder": model.get_submodule(f"{self.base}.encoder.layer_norm")}

    def norm_stays(self, model: nn.Module) -> bool:
        """Every layer ends in one."""
        return True


def _normalizes(folder: Path, usual: bool) -> bool:
    """Whether clips are to be made of mean 0 and variance 1, by the folder's processor."""
    found = processor_settings(folder)
    if found.get("sampling_rate", RATE) != RATE or found.get("feature_size", 1) != 1:
        raise ValueError(
            f"its processor is of another model: it makes {found!r:.60}…, and {RATE} samples a "
            "second are needed; restore the model's own file"
        )
    return bool(found.get("do_normalize", usual))


def _normalized(samples: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean 0 and variance 1 over what the mask leaves, zeros elsewhere."""
    count = mask.sum(1, keepdim=True)
    mean = (samples * mask).sum(1, keepdim=True) / count
    variance = ((samples - mean).square() * mask).sum(1, keepdim=True) / count
    return (samples - mean) / (variance + _LEAST_VARIANCE).sqrt() * mask
