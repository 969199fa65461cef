"""Write a model as CTranslate2 reads it: Whisper, which stock faster-whisper may read too, and
wav2vec 2.0 or HuBERT.

model.bin           weights, by CTranslate2's own writer and quantizer
vocabulary.json     tokens in the order of their ids
config.json         suppressed, language and alignment ids of Whisper, under CTranslate2's names
tokenizer files and preprocessor_config.json as in the model's folder
"""

import json
import math
from pathlib import Path

import ctranslate2
from ctranslate2.specs.model_spec import ModelSpec
from transformers import PreTrainedModel

from whisperslim.core.families import family_of
from whisperslim.core.families.flavours.ct2 import holds_half
from whisperslim.core.families.wav2vec2 import ct2_write as samples
from whisperslim.core.families.whisper import ct2_settings
from whisperslim.core.families.whisper.ct2_write import to_ctranslate2
from whisperslim.core.families.whisper.side_files import preprocessor_config
from whisperslim.core.families.whisper.tokens import whisper_tokens
from whisperslim.core.loading import SpeechModel
from whisperslim.core.store.checkpoint import copy_side_files
from whisperslim.engines.ctranslate2.engine import check_precision, open_export
from whisperslim.engines.ctranslate2.frames import MODEL_FILE
from whisperslim.engines.ctranslate2.shapes import heads_per_stack
from whisperslim.engines.export.export import Written
from whisperslim.exported.spelling import TOKENIZER_FILE

__all__ = ["check", "check_kind", "open_export", "write"]

FILES = (MODEL_FILE, "config.json", "vocabulary.json")
_STORAGE = {"none": "float32", "float16": "float16", "int8": "int8_float16"}


def check_kind(model: PreTrainedModel) -> None:
    """Raise `ExportError` for a model with another arithmetic than CTranslate2's."""
    if family_of(model).input_spec(model).kind == "samples":
        samples.check_held(model)
    else:
        ct2_settings.check_settings(model)


def check(speech: SpeechModel, quantize: str) -> None:
    """Raise `ExportError` saying why CTranslate2 cannot hold the model, and what it can."""
    check_precision(quantize)
    check_kind(speech.model)
    _heads(speech)
    if speech.input_spec.kind != "samples":
        ct2_settings.check_control_tokens(whisper_tokens(speech.tokens))


def write(speech: SpeechModel, folder: Path, quantize: str) -> Written:
    """All files of the export, into an existing empty folder.

    Without quantization, floats are stored in half precision only when that loses nothing, which
    is so for models that came in float16; with float16, always. With int8, what is not quantized
    is stored in half precision: positions, biases and norms, which rounds them.

    Raises:
        ExportError: as `check`.
    """
    if speech.input_spec.kind == "samples":
        return _write_samples(speech, folder, quantize)
    model, tokens = speech.model, whisper_tokens(speech.tokens)
    heads, vocabulary = _heads(speech), ct2_settings.vocabulary(model, tokens)
    spec = to_ctranslate2(model, heads)
    spec.register_vocabulary(vocabulary)
    for key, value in ct2_settings.settings(model, tokens, heads).items():
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
            "faster_whisper": ct2_settings.faster_whisper(model, tokens, vocabulary),
        },
    )


def _heads(speech: SpeechModel) -> dict[str, int]:
    stacks = tuple(speech.family.layers(speech.model))
    return heads_per_stack(speech.groups(), speech.family.engines, stacks)


def _write_samples(speech: SpeechModel, folder: Path, quantize: str) -> Written:
    """A CTC model that is given samples; with what its engine has to do before and after."""
    model, storage = speech.model, _STORAGE[quantize]
    heads = _heads(speech)["encoder"]
    spec = samples.to_ctranslate2(model, heads)
    spec.register_vocabulary(samples.token_names(model, speech.tokens.vocabulary()))
    spec.validate()
    spec.optimize(quantization=storage)
    copy_side_files(speech.path, folder)
    spec.save(str(folder))
    return Written(
        files=FILES,
        runtime={"ctranslate2": ctranslate2.__version__},
        settings={
            "storage": storage,
            "bytes_loaded": _bytes_loaded(spec),
            "normalize": bool(model.config.do_normalize),
            "silence": samples.silence(model),
        },
    )


def _storage(speech: SpeechModel, quantize: str) -> str:
    if quantize == "none" and holds_half(speech.model):
        return "float16"
    return _STORAGE[quantize]


def _write_side_files(speech: SpeechModel, folder: Path) -> None:
    copy_side_files(speech.path, folder)
    if not (folder / TOKENIZER_FILE).is_file():
        whisper_tokens(speech.tokens).save(folder / TOKENIZER_FILE)
    settings = folder / "preprocessor_config.json"
    if not settings.is_file():
        content = preprocessor_config(speech.input_spec.bands)
        settings.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _bytes_loaded(spec: ModelSpec) -> int:
    """Bytes of the weights once the runtime has them: half precision becomes float32 there."""
    held = (value for value in spec.variables().values() if not isinstance(value, str))
    return sum(math.prod(v.shape) * (1 if v.dtype == "int8" else 4) for v in held)
