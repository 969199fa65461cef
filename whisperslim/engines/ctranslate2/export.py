"""Write a model as CTranslate2 reads it, which stock faster-whisper may read too.

model.bin           weights, by CTranslate2's own writer and quantiser
vocabulary.json     tokens in the order of their ids
config.json         suppressed, language and alignment ids, under CTranslate2's names
tokenizer files and preprocessor_config.json as in the model's folder
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ctranslate2
from ctranslate2.specs import WhisperSpec

from whisperslim.core.decoding import suppression
from whisperslim.core.disk.hf_folder import preprocessor_config
from whisperslim.core.families.whisper.ct2_write import (
    ACTIVATION,
    cross_attention_layers,
    holds_half,
    present_layers,
    to_ctranslate2,
)
from whisperslim.core.loading import SpeechModel
from whisperslim.core.store.checkpoint import copy_side_files
from whisperslim.engines.ctranslate2.engine import MODEL_FILE, check_precision, open_export
from whisperslim.engines.ctranslate2.shapes import heads_per_stack
from whisperslim.engines.export.export import TOKENIZER_FILE, Written
from whisperslim.errors import ExportError

__all__ = ["check", "open_export", "write"]

FILES = (MODEL_FILE, "config.json", "vocabulary.json")
_MULTILINGUAL, _NEVER_USED = "", "<|startoflm|>"
_TIMESTAMP_STEP = 0.02  # seconds
_STORAGE = {"none": "float32", "float16": "float16", "int8": "int8_float16"}


def check(speech: SpeechModel, quantize: str) -> None:
    """Raise `ExportError` saying why CTranslate2 cannot hold the model, and what it can."""
    check_precision(quantize)
    heads_per_stack(speech.groups())
    _check_settings(speech)
    _check_control_tokens(speech)


def write(speech: SpeechModel, folder: Path, quantize: str) -> Written:
    """All files of the export, into an existing empty folder.

    Without quantisation, floats are stored in half precision only when that loses nothing, which
    is so for models that came in float16; with float16, always. With int8, what is not quantised
    is stored in half precision: positions, biases and norms, which rounds them.

    Raises:
        ExportError: as `check`.
    """
    heads, vocabulary = heads_per_stack(speech.groups()), _vocabulary(speech)
    spec = to_ctranslate2(speech.model, heads)
    spec.register_vocabulary(vocabulary)
    for key, value in _settings(speech, heads).items():
        setattr(spec.config, key, value)
    spec.validate()
    storage = _storage(speech, quantize)
    spec.optimize(quantization=storage)
    _write_side_files(speech, folder)
    spec.save(str(folder))  # last: a trimmed model has a vocabulary.json of its own
    return Written(
        files=FILES,
        runtime={"ctranslate2": ctranslate2.__version__},
        settings={
            "storage": storage,
            "bytes_loaded": _bytes_loaded(spec),
            "faster_whisper": _faster_whisper(speech, vocabulary),
        },
    )


def _check_settings(speech: SpeechModel) -> None:
    config = speech.model.config
    if config.activation_function != ACTIVATION:
        raise ExportError(
            f"the model's activation is {config.activation_function}; CTranslate2's Whisper has "
            f"{ACTIVATION} alone. Export to another engine"
        )
    if config.scale_embedding:
        raise ExportError(
            "the model scales its embeddings, which CTranslate2's Whisper does not; export to "
            "another engine"
        )


def _check_control_tokens(speech: SpeechModel) -> None:
    """CTranslate2 takes for the prompt what lies between the start and the no-timestamps token."""
    tokens = speech.tokens
    if not tokens.end < tokens.start < tokens.transcribe < tokens.no_timestamps:
        raise ExportError(
            "the control tokens are not in Whisper's order (end, start, languages, tasks, no "
            "timestamps), which CTranslate2 goes by; export to another engine"
        )


def _storage(speech: SpeechModel, quantize: str) -> str:
    if quantize == "none" and holds_half(speech.model):
        return "float16"
    return _STORAGE[quantize]


def _vocabulary(speech: SpeechModel) -> list[str]:
    """Every token in the order of ids. Timestamps are missing in some tokenizer files.

    CTranslate2 calls a Whisper multilingual when its vocabulary has the empty token, which
    OpenAI's files of that kind have and a trimmed one need not; faster-whisper ignores the
    language otherwise. Nothing looks up the token of language models, so it lends its place.
    """
    size = int(speech.model.config.vocab_size)
    by_id = {i: token for token, i in speech.tokens.tokenizer.get_vocab().items()}
    first = speech.tokens.no_timestamps + 1
    found = [by_id.get(i, f"<|{(i - first) * _TIMESTAMP_STEP:.2f}|>") for i in range(size)]
    if _MULTILINGUAL not in found and _NEVER_USED in found and _is_multilingual(speech):
        found[found.index(_NEVER_USED)] = _MULTILINGUAL
    return found


def _is_multilingual(speech: SpeechModel) -> bool:
    return getattr(speech.model.generation_config, "is_multilingual", True) is not False


def _settings(speech: SpeechModel, heads: Mapping[str, int]) -> dict[str, Any]:
    """CTranslate2's `config.json`. Our engine hands over the whole list of suppressed ids."""
    rules, stock = suppression(speech.model, speech.tokens), speech.model.generation_config
    return {
        "suppress_ids": list(getattr(stock, "suppress_tokens", None) or ()),
        "suppress_ids_begin": list(rules.at_start),
        "lang_ids": _languages(speech),
        "alignment_heads": _alignment_heads(speech, heads["decoder"]),
    }


def _languages(speech: SpeechModel) -> list[int]:
    """Ids between the start and the first task: that is where Whisper has its languages."""
    tokens = speech.tokens
    translate = tokens.tokenizer.get_vocab().get("<|translate|>", tokens.transcribe)
    return list(range(tokens.start + 1, min(translate, tokens.transcribe)))


def _alignment_heads(speech: SpeechModel, heads: int) -> list[list[int]]:
    """(layer, head) of the cross-attention heads that word times are read off.

    The model's own list while its decoder is whole. Which heads a cut left is not known here, so
    a cut decoder gets CTranslate2's own default, all heads of the later half of its layers.
    """
    model = speech.model
    config, present = model.config, present_layers(model, "decoder")
    layers = cross_attention_layers(model)
    given = getattr(model.generation_config, "alignment_heads", None)
    whole = len(layers) == config.decoder_layers and heads == config.decoder_attention_heads
    if given and whole:
        return [list(pair) for pair in given]
    later = [i for i in layers if i >= len(present) // 2] or layers[-1:]
    return [[layer, head] for layer in later for head in range(heads)]


def _write_side_files(speech: SpeechModel, folder: Path) -> None:
    copy_side_files(speech.path, folder)
    if not (folder / TOKENIZER_FILE).is_file():
        speech.tokens.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER_FILE))
    settings = folder / "preprocessor_config.json"
    if not settings.is_file():
        content = preprocessor_config({"num_mel_bins": speech.n_mels})
        settings.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _faster_whisper(speech: SpeechModel, vocabulary: Sequence[str]) -> str:
    """Whether stock faster-whisper transcribes with the folder: "yes", or what it takes."""
    if _MULTILINGUAL not in vocabulary and _is_multilingual(speech):
        return "no: it takes a vocabulary without an empty token for an English one"
    if len(vocabulary) <= speech.tokens.no_timestamps + 1:
        return "with without_timestamps=True: the vocabulary has no timestamps"
    return "yes"


def _bytes_loaded(spec: WhisperSpec) -> int:
    """Bytes of the weights once the runtime has them: half precision becomes float32 there."""
    held = (value for value in spec.variables().values() if not isinstance(value, str))
    return sum(math.prod(v.shape) * (1 if v.dtype == "int8" else 4) for v in held)
