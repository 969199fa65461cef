"""The family of Whisper's encoder with a CTC head: units as in Whisper, text as with CTC."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn

from whisperslim.core.families.configuration import read_configuration
from whisperslim.core.families.flavours.ctc import CTC
from whisperslim.core.families.hearing import Tokens
from whisperslim.core.families.whisper.folder import WhisperFolder, check_config
from whisperslim.core.families.whisper.tokens import WHOLE_WORDS
from whisperslim.core.families.whisper.units import POSITION_SECONDS, WhisperUnits
from whisperslim.core.families.whisper_ctc.architecture import (
    LETTERS,
    PIECES,
    WhisperCTCConfig,
    WhisperForCTC,
    pooled,
)
from whisperslim.core.tokens.bounds import check_token_files
from whisperslim.core.tokens.letters import load_letters
from whisperslim.core.tokens.pieces import load_pieces
from whisperslim.errors import CheckpointError, UsageError
from whisperslim.exported.ctc import FrameTiming
from whisperslim.exported.letters import VOCABULARY_FILE
from whisperslim.exported.spelling import TOKENIZER_FILE
from whisperslim.inputs import InputSpec

_MOST_POOLED = 2
_STACKS = {"encoder": ("self_attn",)}
_NOTHING: Mapping[str, str] = {}


class WhisperCTCFamily(WhisperUnits, CTC):
    """Attention heads and FFN units of every encoder layer."""

    model_type = "whisper_ctc"
    engines: tuple[str, ...] = ("onnx", "hf")
    stacks = _STACKS
    tied = _NOTHING
    older_names = _NOTHING
    token_row = "encoder.head"

    def skeleton(self, folder: Path, tokens: int | None = None) -> WhisperForCTC:
        """The architecture of `config.json` on the meta device."""
        file = folder / "config.json"
        try:
            config = WhisperCTCConfig(**read_configuration(folder))
            config.vocab_size = tokens or config.vocab_size
            _check(config)
            check_config(config, file)
            with torch.device("meta"):
                return WhisperForCTC(config)
        except (ValueError, TypeError, AttributeError, StrictDataclassError) as error:
            raise CheckpointError(f"{file} is not a usable configuration: {error}") from error

    def skeleton_of(self, model: nn.Module) -> WhisperForCTC:
        """The architecture of the model's configuration, which a cut leaves as it was."""
        with torch.device("meta"):
            return WhisperForCTC(cast(WhisperCTCConfig, as_whisper_ctc(model).config))

    def tokenizer_file(self, model: nn.Module) -> str:
        """Of letters or pieces."""
        pieces = as_whisper_ctc(model).config.writes == PIECES
        return TOKENIZER_FILE if pieces else VOCABULARY_FILE

    def load_tokens(self, folder: Path) -> Tokens:
        """Letters or pieces, as the configuration says; their blank is the model's."""
        config = self.skeleton(folder).config
        check_token_files(folder, WHOLE_WORDS)
        blank = int(cast(Any, config).pad_token_id)
        if config.writes == PIECES:
            return load_pieces(folder, blank, lead=" ")
        found = load_letters(folder)
        if found.blank != blank:
            raise CheckpointError(
                f"the tokenizer in {folder} has {found.blank} for the blank and the model {blank}: "
                "it belongs to another model; restore the model's own files"
            )
        return found

    def input_spec(self, model: nn.Module) -> InputSpec:
        """As Whisper's."""
        return WhisperFolder().input_spec(model)

    def no_sound(self, model: nn.Module, frames: int) -> torch.Tensor:
        """Log-mel features `(1, bands, frames)`."""
        weight = next(model.parameters())
        return weight.new_zeros(1, int(cast(Any, model).config.num_mel_bins), frames)

    def width(self, model: nn.Module) -> int:
        """Of the encoder."""
        return int(as_whisper_ctc(model).config.d_model)

    def head(self, model: nn.Module) -> nn.Linear:
        """Over pooled states."""
        return as_whisper_ctc(model).head

    def project(self, model: nn.Module, states: torch.Tensor) -> torch.Tensor:
        """Logits of pooled states."""
        logits: torch.Tensor = self.head(model)(pooled(states, self._pool(model)))
        return logits

    def timing(self, model: nn.Module) -> FrameTiming:
        """Every position that begins within the clip."""
        return FrameTiming(POSITION_SECONDS, pool=self._pool(model))

    def freeze(self, model: nn.Module, *, encoder: bool, embeddings: bool) -> None:
        """As the flavour; the sinusoidal positions are frozen always."""
        super().freeze(model, encoder=encoder, embeddings=embeddings)
        positions = cast(nn.Embedding, model.get_submodule("model.encoder.embed_positions"))
        positions.requires_grad_(False)

    def cost_row(self, model: nn.Module, name: str) -> str:
        """The head, convolutions, positions; the rest together."""
        kinds = ((nn.Linear, "head"), (nn.Conv1d, "convolutions"), (nn.Embedding, "positions"))
        module = model.get_submodule(name)
        kind = next((kind for type_, kind in kinds if isinstance(module, type_)), None)
        return f"encoder.{kind or 'norms_and_biases'}"

    def _pool(self, model: nn.Module) -> int:
        return int(as_whisper_ctc(model).config.pool)


def as_whisper_ctc(model: nn.Module) -> WhisperForCTC:
    """The same model. Raises `UsageError` unless it is of this family."""
    if not isinstance(model, WhisperForCTC):
        raise UsageError(f"this takes a Whisper with a CTC head and not a {type(model).__name__}")
    return model


def _check(config: WhisperCTCConfig) -> None:
    if config.pool not in range(1, _MOST_POOLED + 1):
        raise ValueError(f"pool is {config.pool}; 1 or {_MOST_POOLED} is accepted")
    if config.writes not in (LETTERS, PIECES):
        raise ValueError(f"writes is {config.writes!r}; {LETTERS} or {PIECES} is accepted")
    blank = config.pad_token_id
    if not isinstance(blank, int) or not 0 <= blank < config.vocab_size:
        raise ValueError(
            f"pad_token_id, the blank, is {blank}; one of the {config.vocab_size} tokens is needed"
        )
