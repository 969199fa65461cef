"""A Whisper with a CTC head, of a Whisper: its encoder's weights, and a head yet to be learned."""

from typing import Any

import torch
from transformers import WhisperForConditionalGeneration

from whisperslim.core.families.whisper.decoder import as_whisper
from whisperslim.core.families.whisper_ctc.architecture import (
    LETTERS,
    PIECES,
    WhisperCTCConfig,
    WhisperForCTC,
)
from whisperslim.errors import UsageError

# Deviation of the head's first weights, as of Whisper's own.
_DEVIATION = 0.02
# Of the decoder, which is not there.
_NOT_OURS = ("decoder_start_token_id", "suppress_tokens", "begin_suppress_tokens", "architectures",
             "model_type", "id2label", "label2id", "_name_or_path", "dtype",
             "transformers_version")  # fmt: skip


def with_ctc_head(
    model: torch.nn.Module, vocabulary: int, blank: int, *, pieces: bool, pool: int
) -> WhisperForCTC:
    """As `TakesCTCHead` has it, of a Whisper."""
    whisper = as_whisper(model)
    made = WhisperForCTC(_config(whisper, vocabulary, blank, pieces=pieces, pool=pool))
    found = {f"model.encoder.{n}": p for n, p in whisper.model.encoder.state_dict().items()}
    wanted = made.state_dict()
    if any(name not in found or found[name].shape != p.shape for name, p in wanted.items()
           if not name.startswith("head.")):  # fmt: skip
        raise UsageError(
            "a CTC head needs a whole encoder, and units of this one are cut out; give the model "
            "that it was cut from"
        )
    with torch.no_grad():
        made.head.weight.normal_(0.0, _DEVIATION)
        made.head.bias.zero_()
    head = {f"head.{name}": p for name, p in made.head.state_dict().items()}
    made.load_state_dict({**found, **head})
    return made.eval()


def _config(
    whisper: WhisperForConditionalGeneration,
    vocabulary: int,
    blank: int,
    *,
    pieces: bool,
    pool: int,
) -> WhisperCTCConfig:
    kept = {n: v for n, v in _plain(whisper.config).items() if n not in _NOT_OURS}
    return WhisperCTCConfig(**{
        **kept,
        "architectures": ["WhisperForCTC"],
        "is_encoder_decoder": False,
        "vocab_size": vocabulary,
        "pad_token_id": blank,
        "bos_token_id": None,
        "eos_token_id": None,
        "writes": PIECES if pieces else LETTERS,
        "pool": pool,
    })  # fmt: skip


def _plain(config: Any) -> dict[str, Any]:
    found: dict[str, Any] = config.to_dict()
    return found
