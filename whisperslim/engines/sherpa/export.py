"""Write a model as sherpa-onnx reads Whisper, or a CTC model that is given samples.

encoder.onnx, decoder.onnx   graphs with the caches of all layers in one tensor, and its settings
frames.onnx                  of a CTC model: the graph of an ONNX export, in its Omnilingual form
tokens.txt                   id and bytes of every token of text in base64; or letters and their ids
and the tokenizer, as an ONNX export has it

sherpa-onnx's own limits hold for every Whisper: at most 30 s at once, and six tokens a second, so
that a language written in more needs silence after the recording, as `docs/engines.md` says.
"""

from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from transformers import PreTrainedModel

from whisperslim.core.families import family_of
from whisperslim.core.families.hearing import Tokens
from whisperslim.core.families.whisper.decoder import as_whisper
from whisperslim.core.families.whisper.onnx_stacked import (
    write_stacked_decoder,
    write_stacked_encoder,
)
from whisperslim.core.families.whisper.sherpa import settings, token_lines
from whisperslim.core.families.whisper.tokens import whisper_tokens
from whisperslim.core.loading import SpeechModel
from whisperslim.core.store.checkpoint import copy_side_files
from whisperslim.core.tokens.letters import LetterTokens
from whisperslim.engines.export.export import Written
from whisperslim.engines.onnx import export as onnx_export
from whisperslim.engines.onnx.export import PRECISIONS
from whisperslim.engines.onnx.graph import OnnxBuilder
from whisperslim.engines.sherpa.engine import open_export
from whisperslim.errors import ExportError
from whisperslim.exported.bounds import DecoderRules
from whisperslim.exported.names import DECODER_FILE, ENCODER_FILE, FRAMES_FILE, LOGITS

__all__ = ["check", "check_kind", "open_export", "write"]

TOKENS_FILE = "tokens.txt"


def check_kind(model: PreTrainedModel) -> None:
    """Raise `ExportError` when samples reach the model otherwise than sherpa-onnx gives them."""
    config: Any = model.config
    if family_of(model).input_spec(model).kind == "samples" and not config.do_normalize:
        raise ExportError(
            "sherpa-onnx normalizes the samples of such models, and this one was trained on them "
            "as they are (do_normalize false); export it to onnx"
        )


def check(speech: SpeechModel, quantize: str) -> None:
    """Raise `ExportError` as the ONNX exporter does, and as `check_kind`."""
    onnx_export.check(speech, quantize)
    check_kind(speech.model)


def write(speech: SpeechModel, folder: Path, quantize: str) -> Written:
    """Graphs, tokens and tokenizer into the existing folder `folder`."""
    if speech.input_spec.kind == "samples":
        return _write_frames(speech, folder, quantize)
    many, few = PRECISIONS[quantize]
    model, tokens = as_whisper(speech.model), whisper_tokens(speech.tokens)
    rules = DecoderRules(**speech.family.export_facts(speech.model, speech.tokens, speech.path))
    encoder, decoder = OnnxBuilder("encoder", many), OnnxBuilder("decoder", few)
    write_stacked_encoder(model, encoder)
    write_stacked_decoder(model, decoder, rules)
    files = encoder.save(folder / ENCODER_FILE, settings(model, tokens, rules))
    files += decoder.save(folder / DECODER_FILE)
    (folder / TOKENS_FILE).write_text(token_lines(tokens), "utf-8")
    copy_side_files(speech.path, folder)
    return Written((*files, TOKENS_FILE), _versions(), {"bits": few.bits, "block": few.block})


def _write_frames(speech: SpeechModel, folder: Path, quantize: str) -> Written:
    many, few = PRECISIONS[quantize]
    frames = OnnxBuilder("frames", many)
    onnx_export.ONE_GRAPH[speech.family.model_type](speech.model, frames)
    # It takes a second output for the number of frames.
    files = frames.save(folder / FRAMES_FILE, only=(LOGITS,))
    (folder / TOKENS_FILE).write_text(letter_lines(speech.tokens), "utf-8")
    copy_side_files(speech.path, folder)
    return Written((*files, TOKENS_FILE), _versions(), {"bits": few.bits, "block": few.block})


def _versions() -> dict[str, str]:
    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}


def letter_lines(tokens: Tokens) -> str:
    """A line for each letter and its id; the blank and the space under sherpa-onnx's names."""
    if not isinstance(tokens, LetterTokens):
        raise ExportError("only letters can be written for sherpa-onnx; export it to onnx")
    named = {tokens.table.blank: "<blk>", tokens.table.space: "▁"}
    ids = sorted(tokens.table.ids.items(), key=lambda pair: pair[1])
    return "".join(f"{named.get(number, letter)} {number}\n" for letter, number in ids)
