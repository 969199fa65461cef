"""A Whisper's folder: its skeleton, its tokenizer, its generation settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration
from transformers.activations import ACT2FN

from whisperslim.core.disk.untrusted import read_json
from whisperslim.core.families.configuration import (
    MOST_BYTES,
    MOST_VALUES,
    check_sizes,
    read_configuration,
)
from whisperslim.core.families.whisper.tokens import TokenCodec, load_tokens
from whisperslim.errors import CheckpointError
from whisperslim.exported.spelling import TOKENIZER_FILE
from whisperslim.inputs import InputSpec

_NOTHING: Mapping[str, str] = {}
# Of what a configuration may say, both ends included. Our choice; the largest Whisper has 32 layers
# of 1280 channels, 20 heads, 5120 units and 51,866 tokens.
_SIZES = {
    "d_model": (1, 8192), "vocab_size": (1, 1_000_000), "num_mel_bins": (1, 512),
    "max_source_positions": (1, 30_000), "max_target_positions": (1, 30_000),
    "encoder_layers": (1, 64), "encoder_attention_heads": (1, 256), "encoder_ffn_dim": (1, 32_768),
    "decoder_layers": (1, 64), "decoder_attention_heads": (1, 256), "decoder_ffn_dim": (1, 32_768),
}  # fmt: skip
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
            config = WhisperConfig(**read_configuration(folder))
            config.vocab_size = tokens or config.vocab_size
            check_config(config, file)
            if not config.tie_word_embeddings:
                raise CheckpointError(f"{file}: only models with tie_word_embeddings are supported")
            with torch.device("meta"):
                model = WhisperForConditionalGeneration(config)
        except (ValueError, TypeError, AttributeError, StrictDataclassError) as error:
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


def check_config(config: Any, file: Path) -> None:
    """Raise `CheckpointError` for sizes that no Whisper has, before anything is built of them."""
    check_sizes(config, _SIZES, file)
    for name in ("encoder_attention_heads", "decoder_attention_heads"):
        if config.d_model % getattr(config, name):
            raise CheckpointError(
                f"{file} says d_model {config.d_model} and {name} {getattr(config, name)}, which "
                "must divide it: fetch or save the model again"
            )
    padding = config.pad_token_id
    if padding is not None and not 0 <= padding < config.vocab_size:
        raise CheckpointError(
            f"{file} says pad_token_id {padding} and vocab_size {config.vocab_size}; the first "
            "must be less: fetch or save the model again"
        )
    if config.activation_function not in ACT2FN:
        raise CheckpointError(
            f"{file} says activation_function {config.activation_function!r}, which transformers "
            "does not have; Whisper's is gelu"
        )


def _generation_config(folder: Path) -> GenerationConfig:
    # Suppressed tokens live here, not in the model's own configuration.
    file = folder / "generation_config.json"
    try:
        read_json(file.resolve(), most=MOST_BYTES, values=MOST_VALUES)  # transformers has no bounds
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
