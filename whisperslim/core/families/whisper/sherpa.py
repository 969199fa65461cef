"""What sherpa-onnx reads besides the graphs: settings of a Whisper model, and its tokens."""

import base64
import re
from collections.abc import Mapping

from transformers import WhisperForConditionalGeneration

from whisperslim.core.families.whisper.onnx_stacked import cache_shape
from whisperslim.core.families.whisper.tokens import TokenCodec
from whisperslim.exported.bounds import DecoderRules
from whisperslim.exported.symbols import bytes_of

_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
_CONTROL = re.compile(r"<\|.*\|>")


def settings(
    model: WhisperForConditionalGeneration, tokens: TokenCodec, rules: DecoderRules
) -> Mapping[str, str]:
    """What sherpa-onnx reads of the encoder's graph. A token that was left out is named as another
    that it never asks for: it transcribes, without times, in a language that is given.
    """
    vocabulary, shape = tokens.vocabulary(), cache_shape(model)
    found = {match[1]: i for name, i in vocabulary.items() if (match := _LANGUAGE.fullmatch(name))}
    languages = dict(sorted(found.items(), key=lambda pair: pair[1]))
    first = next(iter(languages.values()))
    (space,) = [i for name, i in vocabulary.items() if name == "Ġ"] or [tokens.end]
    values = {
        "model_type": "whisper-slim",
        "n_mels": int(model.config.num_mel_bins),
        "n_text_layer": shape.layers,
        "n_text_ctx": rules.positions,
        "n_text_state": shape.channels,
        "n_vocab": int(model.config.vocab_size),
        "sot": tokens.start,
        "eot": tokens.end,
        "blank_id": space,
        "is_multilingual": 1,
        "transcribe": tokens.transcribe,
        "translate": vocabulary.get("<|translate|>", tokens.transcribe),
        "no_timestamps": tokens.no_timestamps,
        "no_speech": vocabulary.get("<|nospeech|>", vocabulary.get("<|nocaptions|>", tokens.end)),
        "sot_sequence": ",".join(map(str, (tokens.start, first, tokens.transcribe))),
        "all_language_tokens": ",".join(map(str, languages.values())),
        "all_language_codes": ",".join(languages),
    }
    return {name: str(value) for name, value in values.items()}


def token_lines(tokens: TokenCodec) -> str:
    """A line for each token of text: its bytes in base64, and its id."""
    text = {i: name for name, i in tokens.vocabulary().items() if not _CONTROL.fullmatch(name)}
    lines = [f"{base64.b64encode(bytes_of(text[i])).decode()} {i}" for i in sorted(text)]
    return "\n".join(lines) + "\n"
