"""A Whisper's folder: its skeleton, its tokenizer, its generation settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from whisperslim.core.families.whisper.tokens import TokenCodec, load_tokens
from whisperslim.errors import CheckpointError
from whisperslim.exported.tokens import TOKENIZER_FILE
from whisperslim.inputs import InputSpec

_NOTHING: Mapping[str, str] = {}
TIED = {"proj_out.weight": "model.decoder.embed_tokens.weight"}


class WhisperFolder:
    """The part of Whisper's family that opens folders and names what is in them."""

    tied = TIED
    older_names = _NOTHING
    token_row = "decoder.embeddings"

    def skeleton(self, folder: Path, tokens: int | None = None) -> WhisperForConditionalGeneration:
        """The architecture of `config.json` on the meta device, with its generation settings."""
        file = folder / "config.json"
        try:
            config = WhisperConfig.from_json_file(file)
            config.vocab_size = tokens or config.vocab_size
            if not config.tie_word_embeddings:
                raise CheckpointError(f"{file}: only models with tie_word_embeddings are supported")
            with torch.device("meta"):
                model = WhisperForConditionalGeneration(config)
        except (OSError, ValueError, TypeError, StrictDataclassError) as error:
            raise CheckpointError(f"{file} is not a usable configuration: {error}") from error
        if (folder / "generation_config.json").is_file():
            model.generation_config = _generation_config(folder)
        return model

    def skeleton_of(self, model: nn.Module) -> WhisperForConditionalGeneration:
        """The architecture of the model's configuration, which a cut leaves as it was."""
        with torch.device("meta"):
            return WhisperForConditionalGeneration(cast(Any, model).config)

    def tokenizer_file(self, model: nn.Module) -> str:
        """As the tokenizers library has it."""
        return TOKENIZER_FILE

    def load_tokens(self, folder: Path) -> TokenCodec:
        """The byte-level tokenizer with Whisper's control tokens."""
        return load_tokens(folder)

    def input_spec(self, model: nn.Module) -> InputSpec:
        """Log-mel features of the bands and the window in the model's configuration.

        The second convolution makes one position of two frames.
        """
        config: Any = cast(Any, model).config
        return InputSpec("log_mel", int(config.num_mel_bins), 2 * int(config.max_source_positions))

    def cost_row(self, model: nn.Module, name: str) -> str:
        """Embeddings of tokens and their copy, convolutions, positions; the rest together."""
        if f"{name}.weight" in (*TIED, *TIED.values()):
            return self.token_row
        stack = "encoder" if "encoder" in name.split(".") else "decoder"
        kinds = ((nn.Conv1d, "convolutions"), (nn.Embedding, "positions"))
        module = model.get_submodule(name)
        kind = next((kind for type_, kind in kinds if isinstance(module, type_)), None)
        return f"{stack}.{kind or 'norms_and_biases'}"


def _generation_config(folder: Path) -> GenerationConfig:
    # Suppressed tokens live here, not in the model's own configuration.
    try:
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        file = folder / "generation_config.json"
        raise CheckpointError(f"{file} cannot be read: {error}") from error
