"""What CTranslate2 must know of a Whisper beside its weights, and what it cannot hold."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from whisperslim.core.families.whisper.ct2_write import (
    ACTIVATION,
    cross_attention_layers,
    present_layers,
)
from whisperslim.core.families.whisper.decoder import as_whisper, suppression
from whisperslim.core.families.whisper.tokens import TokenCodec
from whisperslim.errors import ExportError

_MULTILINGUAL, _NEVER_USED = "", "<|startoflm|>"
_TIMESTAMP_STEP = 0.02  # seconds


def check_settings(model: nn.Module) -> None:
    """Raise `ExportError` for a configuration that CTranslate2's Whisper does not know."""
    config = as_whisper(model).config
    if config.activation_function != ACTIVATION:
        raise ExportError(
            f"the model's activation is {config.activation_function}; CTranslate2's Whisper only "
            f"has {ACTIVATION}. Export to another engine"
        )
    if config.scale_embedding:
        raise ExportError(
            "the model scales its embeddings, which CTranslate2's Whisper does not; export to "
            "another engine"
        )


def check_control_tokens(tokens: TokenCodec) -> None:
    """Raise `ExportError` for ids in another order than CTranslate2 relies on.

    It takes for the prompt what lies between the start and the no-timestamps token.
    """
    if not tokens.end < tokens.start < tokens.transcribe < tokens.no_timestamps:
        raise ExportError(
            "the control tokens are not in Whisper's order (end, start, languages, tasks, no "
            "timestamps), which CTranslate2 goes by; export to another engine"
        )


def vocabulary(model: nn.Module, tokens: TokenCodec) -> list[str]:
    """Every token in the order of ids. Timestamps are missing in some tokenizer files.

    CTranslate2 calls a Whisper multilingual when its vocabulary has the empty token, which
    OpenAI's files of that kind have and a trimmed one need not; faster-whisper ignores the
    language otherwise. Nothing looks up the token of language models, so the empty token takes its
    place.
    """
    size = int(as_whisper(model).config.vocab_size)
    by_id = {i: token for token, i in tokens.vocabulary().items()}
    first = tokens.no_timestamps + 1
    found = [by_id.get(i, f"<|{(i - first) * _TIMESTAMP_STEP:.2f}|>") for i in range(size)]
    if _MULTILINGUAL not in found and _NEVER_USED in found and _is_multilingual(model):
        found[found.index(_NEVER_USED)] = _MULTILINGUAL
    return found


def settings(model: nn.Module, tokens: TokenCodec, heads: Mapping[str, int]) -> dict[str, Any]:
    """CTranslate2's `config.json`. Our engine hands over the whole list of suppressed ids."""
    rules, stock = suppression(model, tokens), as_whisper(model).generation_config
    return {
        "suppress_ids": list(getattr(stock, "suppress_tokens", None) or ()),
        "suppress_ids_begin": list(rules.at_start),
        "lang_ids": _languages(tokens),
        "alignment_heads": _alignment_heads(model, heads["decoder"]),
    }


def faster_whisper(model: nn.Module, tokens: TokenCodec, names: Sequence[str]) -> str:
    """Whether stock faster-whisper transcribes with the folder: "yes", or what it takes.

    `names` is the written vocabulary.
    """
    if _MULTILINGUAL not in names and _is_multilingual(model):
        return "no: it takes a vocabulary without an empty token for an English one"
    if len(names) <= tokens.no_timestamps + 1:
        return "with without_timestamps=True: the vocabulary has no timestamps"
    return "yes"


def _is_multilingual(model: nn.Module) -> bool:
    return getattr(as_whisper(model).generation_config, "is_multilingual", True) is not False


def _languages(tokens: TokenCodec) -> list[int]:
    """Ids between the start and the first task: that is where Whisper has its languages."""
    translate = tokens.vocabulary().get("<|translate|>", tokens.transcribe)
    return list(range(tokens.start + 1, min(translate, tokens.transcribe)))


def _alignment_heads(model: nn.Module, heads: int) -> list[list[int]]:
    """(layer, head) of the cross-attention heads that word times are read off.

    The model's own list while its decoder is whole. Which heads a cut left is not known here, so
    a cut decoder gets CTranslate2's own default, all heads of the later half of its layers.
    """
    whisper = as_whisper(model)
    config, present = whisper.config, present_layers(whisper, "decoder")
    layers = cross_attention_layers(whisper)
    given = getattr(whisper.generation_config, "alignment_heads", None)
    whole = len(layers) == config.decoder_layers and heads == config.decoder_attention_heads
    if given and whole:
        return [list(pair) for pair in given]
    later = [i for i in layers if i >= len(present) // 2] or layers[-1:]
    return [[layer, head] for layer in later for head in range(heads)]
