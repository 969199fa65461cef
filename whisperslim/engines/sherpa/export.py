"""Write a model as sherpa-onnx reads Whisper.

encoder.onnx, decoder.onnx   graphs with the caches of all layers in one tensor, and its settings
tokens.txt                   id and bytes of every token of text, in base64
and the tokenizer, as an ONNX export has it

sherpa-onnx's own limits hold for every model: at most 30 s at once, and six tokens a second, so
that a language written in more needs silence after the recording, as `docs/engines.md` says.
"""

from pathlib import Path

import onnx
import onnxruntime

from whisperslim.core.families.whisper.decoder import as_whisper
from whisperslim.core.families.whisper.onnx_stacked import (
    write_stacked_decoder,
    write_stacked_encoder,
)
from whisperslim.core.families.whisper.sherpa import settings, token_lines
from whisperslim.core.families.whisper.tokens import whisper_tokens
from whisperslim.core.loading import SpeechModel
from whisperslim.core.store.checkpoint import copy_side_files
from whisperslim.engines.export.export import Written
from whisperslim.engines.onnx.export import PRECISIONS, check
from whisperslim.engines.onnx.graph import OnnxBuilder
from whisperslim.engines.sherpa.engine import open_export
from whisperslim.exported.bounds import DecoderRules
from whisperslim.exported.names import DECODER_FILE, ENCODER_FILE

__all__ = ["check", "open_export", "write"]

TOKENS_FILE = "tokens.txt"


def write(speech: SpeechModel, folder: Path, quantize: str) -> Written:
    """Graphs, tokens and tokenizer into the existing folder `folder`."""
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
    versions = {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    return Written((*files, TOKENS_FILE), versions, {"bits": few.bits, "block": few.block})
