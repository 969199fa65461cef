"""Whisper whose layers differ in heads and widths, and whose input may be shorter than 30 s.

This file stands inside a model folder, so that transformers (5.x) can load it by itself:

    AutoModelForSpeechSeq2Seq.from_pretrained(folder, trust_remote_code=True)
    AutoModelForCTC.from_pretrained(folder, trust_remote_code=True)    # one that scores frames
    pipeline("automatic-speech-recognition", model=folder, trust_remote_code=True)

It needs torch and transformers, and nothing of the package that made the folder.
"""

from typing import Any

import numpy as np
import torch
import transformers
from torch import nn
from torch.nn import functional
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder, WhisperPreTrainedModel


class WhisperSlimConfig(WhisperConfig):
    """A Whisper's configuration, and what is left of each layer.

    The stock fields describe the model before anything was cut. Each list has one number per
    layer; 0 stands for a sub-layer that is not there. Without lists of widths, heads are as wide
    as in stock Whisper.

    Attributes:
        encoder_heads, decoder_heads: Heads of self-attention.
        decoder_cross_heads: Heads of the decoder's attention to the encoder.
        encoder_heads_width, decoder_heads_width, decoder_cross_heads_width: Their dimensions.
        encoder_ffn, decoder_ffn: Width of the feed-forward block.
        ranks: Name of a linear layer -> rank of the two matrices that it is stored as.
    """

    model_type = "whisper_slim"

    encoder_heads: list[int] | None = None
    encoder_ffn: list[int] | None = None
    decoder_heads: list[int] | None = None
    decoder_cross_heads: list[int] | None = None
    decoder_ffn: list[int] | None = None
    encoder_heads_width: list[int] | None = None
    decoder_heads_width: list[int] | None = None
    decoder_cross_heads_width: list[int] | None = None
    ranks: dict[str, int] | None = None


class WhisperSlimCTCConfig(WhisperSlimConfig):
    """Of an encoder with a head that scores frames (CTC), without a decoder.

    Attributes:
        vocab_size: Tokens that the head scores; `pad_token_id` is the blank.
        pool: Encoder positions of 20 ms that are averaged before the head.
    """

    model_type = "whisper_slim_ctc"

    pool: int = 1


class AbsentAttention(nn.Module):
    """Where an attention block was taken out: adds nothing, and touches no cache."""

    def forward(
        self, hidden_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, None]:
        """A zero of no dimensions, and no attention weights."""
        return hidden_states.new_zeros(()), None


class AbsentLinear(nn.Module):
    """Either projection of a feed-forward block that was taken out."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """A zero of no dimensions."""
        return hidden_states.new_zeros(())


class AbsentLayer(nn.Module):
    """A layer that was taken out as a whole."""

    def forward(self, hidden_states: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """The input itself."""
        return hidden_states


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


class AnyLengthEncoder(WhisperEncoder):
    """Whisper's encoder, for windows that need not be 30 s."""

    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """States of log-mel features `(batch, mel bins, frames)`, frames even and at most 3000."""
        frames, most = input_features.shape[-1], 2 * self.config.max_source_positions
        if frames == most:
            return super().forward(input_features, attention_mask=attention_mask, **kwargs)
        if frames % 2 or not 0 < frames < most:
            raise ValueError(
                f"features have {frames} frames; accepted: an even number up to {most}"
            )
        hidden = functional.gelu(self.conv1(input_features))
        hidden = functional.gelu(self.conv2(hidden)).permute(0, 2, 1)
        hidden = hidden + self.embed_positions.weight[: hidden.shape[1]]
        hidden = functional.dropout(hidden, p=self.dropout, training=self.training)
        for layer in self.layers:
            hidden = layer(hidden, None)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden))


# The name is stock Whisper's on purpose: the speech recognition pipeline knows models that write
# text by the name of their class, and would take any other for one that scores frames (CTC).
class WhisperForConditionalGeneration(transformers.WhisperForConditionalGeneration):
    """Whisper, cut as its configuration says."""

    config_class = WhisperSlimConfig

    def __init__(self, config: WhisperSlimConfig) -> None:
        super().__init__(config)
        self.model.encoder = AnyLengthEncoder(config)
        _cut(self, config)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in transformers, but a tensor that does not fit is an error and not a warning."""
        return _strictly(super().from_pretrained, *args, **kwargs)

    @staticmethod
    def _get_input_segment(
        input_features: torch.Tensor | None,
        seek: torch.Tensor,
        seek_num_frames: torch.Tensor,
        num_segment_frames: int,
        cur_bsz: int,
        batch_idx_map: list[int],
    ) -> torch.Tensor | None:
        # Stock generation fills every input up to 30 s; here only to the longest of the batch.
        longest = min(num_segment_frames, int(seek_num_frames.max()))
        segment: torch.Tensor | None = (
            transformers.WhisperForConditionalGeneration._get_input_segment(
                input_features, seek, seek_num_frames, longest, cur_bsz, batch_idx_map
            )
        )
        return segment


class _Encoder(nn.Module):
    """Holds the encoder under the name that it has in Whisper."""

    def __init__(self, config: WhisperSlimCTCConfig) -> None:
        super().__init__()
        self.encoder = AnyLengthEncoder(config)


class WhisperSlimForCTC(WhisperPreTrainedModel):
    """Whisper's encoder, cut as its configuration says, and a head that scores its frames."""

    config_class = WhisperSlimCTCConfig

    def __init__(self, config: WhisperSlimCTCConfig) -> None:
        super().__init__(config)
        self.model = _Encoder(config)
        self.head = nn.Linear(config.d_model, config.vocab_size)
        _cut(self, config)
        self.post_init()

    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutput:
        """Logits `(batch, frames, vocabulary)` of log-mel features, in a window of any length."""
        states = self.model.encoder(input_features).last_hidden_state
        if self.config.pool > 1:
            whole = states.shape[1] // self.config.pool
            states = states[:, : whole * self.config.pool]
            states = states.unflatten(1, (whole, self.config.pool)).mean(2)
        return CausalLMOutput(logits=self.head(states))

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in transformers, but a tensor that does not fit is an error and not a warning."""
        return _strictly(super().from_pretrained, *args, **kwargs)


class WhisperSlimFeatureExtractor(WhisperFeatureExtractor):
    """Whisper's features in a window fitted to the audio, as the model was tuned on.

    Args:
        window: "fit", or "30s" for stock Whisper's own window.
        margin_seconds: Silence after the audio in a fitted window.
        step_seconds: Fitted windows are multiples of this.
        shortest_seconds: And never shorter than this.
    """

    def __init__(
        self,
        window: str = "fit",
        margin_seconds: float = 0.4,
        step_seconds: float = 0.5,
        shortest_seconds: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.window = window
        self.margin_seconds = margin_seconds
        self.step_seconds = step_seconds
        self.shortest_seconds = shortest_seconds

    def __call__(self, raw_speech: Any, *args: Any, **kwargs: Any) -> Any:
        """As `WhisperFeatureExtractor`. A batch gets the window of its longest recording."""
        longest = _longest(raw_speech)
        if longest > self.n_samples:
            raise ValueError(
                f"a recording of {longest / self.sampling_rate:.1f} s: this model hears up to "
                f"{self.chunk_length} s at once; in a pipeline, ask for pieces with "
                "chunk_length_s=28, stride_length_s=0"
            )
        if self.window == "fit":
            kwargs.setdefault("max_length", self._samples_for(longest))
        return super().__call__(raw_speech, *args, **kwargs)

    def _samples_for(self, samples: int) -> int:
        rate = self.sampling_rate
        needed = round(max(self.shortest_seconds, samples / rate + self.margin_seconds) * rate)
        # An odd number of frames would leave half a position of the encoder.
        step = 2 * round(self.step_seconds * rate / self.hop_length / 2) * self.hop_length
        return min(self.n_samples, -(-needed // step) * step)


def _strictly(load: Any, *args: Any, **kwargs: Any) -> Any:
    wants_report = kwargs.pop("output_loading_info", False)
    model, report = load(*args, output_loading_info=True, **kwargs)
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report.get(what):
            raise ValueError(
                f"the weights do not fit this model, {what}: {sorted(report[what])[:3]}; "
                "download the folder again"
            )
    return (model, report) if wants_report else model


def _longest(raw_speech: Any) -> int:
    many = isinstance(raw_speech, (list, tuple)) and not np.isscalar(raw_speech[0])
    if isinstance(raw_speech, np.ndarray) and raw_speech.ndim > 1:
        many = True
    return max(len(one) for one in raw_speech) if many else len(raw_speech)


def _cut(model: Any, config: WhisperSlimConfig) -> None:
    stacks: dict[str, Any] = {
        stack: getattr(model.model, stack)
        for stack in ("encoder", "decoder")
        if hasattr(model.model, stack)
    }
    for stack, owner in stacks.items():
        for index, layer in enumerate(owner.layers):
            _cut_attention(layer, "self_attn", config, f"{stack}_heads", index)
            if stack == "decoder":
                _cut_attention(layer, "encoder_attn", config, "decoder_cross_heads", index)
            _cut_ffn(layer, getattr(config, f"{stack}_ffn"), index)
            if _is_empty(layer):
                owner.layers[index] = AbsentLayer()
    if "decoder" in stacks:
        _number_caches(stacks["decoder"].layers)
    for name, rank in (config.ranks or {}).items():
        _factor(model, name, rank)


def _factor(model: Any, name: str, rank: int) -> None:
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


def _cut_attention(
    layer: Any, name: str, config: WhisperSlimConfig, listed: str, index: int
) -> None:
    heads, widths = getattr(config, listed), getattr(config, f"{listed}_width")
    if heads is None:
        return
    if heads[index] == 0:
        setattr(layer, name, AbsentAttention())
        setattr(layer, f"{name}_layer_norm", nn.Identity())
        return
    attention = getattr(layer, name)
    if widths is not None:  # scores are scaled as before
        attention.head_dim = widths[index]
    inner, width = attention.embed_dim, heads[index] * attention.head_dim
    attention.num_heads = heads[index]
    attention.q_proj = nn.Linear(inner, width)
    attention.k_proj = nn.Linear(inner, width, bias=False)
    attention.v_proj = nn.Linear(inner, width)
    attention.out_proj = nn.Linear(width, inner)


def _cut_ffn(layer: Any, widths: list[int] | None, index: int) -> None:
    if widths is None:
        return
    if widths[index] == 0:
        layer.fc1, layer.fc2 = AbsentLinear(), AbsentLinear()
        layer.final_layer_norm = nn.Identity()
        return
    layer.fc1 = nn.Linear(layer.embed_dim, widths[index])
    layer.fc2 = nn.Linear(widths[index], layer.embed_dim)


def _is_empty(layer: Any) -> bool:
    attentions = [getattr(layer, name, None) for name in ("self_attn", "encoder_attn")]
    gone = [isinstance(a, AbsentAttention) for a in attentions if a is not None]
    return all(gone) and isinstance(layer.fc1, AbsentLinear)


def _number_caches(layers: nn.ModuleList) -> None:
    # transformers reads how many tokens are cached, and so the next position, off cache 0.
    for name in ("self_attn", "encoder_attn"):
        present = [getattr(layer, name, None) for layer in layers]
        kept = [a for a in present if a is not None and not isinstance(a, AbsentAttention)]
        for index, attention in enumerate(kept):
            attention.layer_idx = index
