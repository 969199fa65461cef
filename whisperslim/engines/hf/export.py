"""A Hugging Face folder for others: transformers alone loads it, by a modeling file inside it.

config.json                  `model_type` whisper_slim, units of each layer
modeling_whisper_slim.py     the code that `trust_remote_code=True` asks about
model.safetensors            the cut weights, dense: zeroed ones are stored as zeros
preprocessor_config.json     features in fitted windows
generation_config.json       greedy, in the language the model was tuned for
README.md                    the model card
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers

from whisperslim.core.families.hf_remote import modeling_whisper_slim as remote
from whisperslim.core.families.whisper.hf import FEATURES_CLASS, generation_table, model_table
from whisperslim.core.families.whisper_ctc.architecture import WhisperForCTC
from whisperslim.core.families.whisper_ctc.hf import ctc_table, writes_letters
from whisperslim.core.loading import SpeechModel
from whisperslim.core.store.checkpoint import (
    WEIGHTS_FILE,
    copy_side_files,
    write_tensors,
)
from whisperslim.engines.export.export import Written, tuned_language
from whisperslim.engines.export.record import ExportRecord
from whisperslim.engines.hf.engine import HfTranscriber
from whisperslim.engines.hf.frames import open_frames
from whisperslim.engines.hf.model_card import model_card
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.errors import ExportError
from whisperslim.speech.audio.audio import HOP_LENGTH, N_FFT, SAMPLE_RATE
from whisperslim.speech.audio.window import MIN_WINDOW_SECONDS, WindowPolicy

REMOTE_FILE = Path(remote.__file__)
CARD_FILE = "README.md"
WHISPER_CTC = WhisperForCTC.config_class.model_type
DTYPES = {"none": torch.float32, "float16": torch.float16}


def check(speech: SpeechModel, quantize: str) -> None:
    """Every shape is possible. Raises `ExportError` for a CTC head over pieces of words."""
    if isinstance(speech.model, WhisperForCTC) and not writes_letters(speech.model):
        raise ExportError(
            "transformers has no tokenizer that reads pieces of words off frames, as this model "
            "writes them; train a head with head.writes letters, or export it for onnx"
        )


def write(speech: SpeechModel, folder: Path, quantize: str) -> Written:
    """Everything that transformers needs, and the model card."""
    _write_weights(speech, folder / WEIGHTS_FILE, DTYPES[quantize])
    copy_side_files(speech.path, folder)
    shutil.copyfile(REMOTE_FILE, folder / REMOTE_FILE.name)
    model, tokens, groups = speech.model, speech.tokens, speech.family.unit_groups(speech.model)
    tables = {"preprocessor_config.json": _preprocessor(speech)}
    if isinstance(model, WhisperForCTC):
        tables["config.json"] = ctc_table(model, groups, DTYPES[quantize], REMOTE_FILE.stem)
    else:
        tables |= {
            "config.json": model_table(model, tokens, groups, DTYPES[quantize], REMOTE_FILE.stem),
            "generation_config.json": generation_table(model, tokens, tuned_language(speech)),
        }
    for name, table in tables.items():
        _write_json(folder / name, table)
    (folder / CARD_FILE).write_text(model_card(speech, folder, quantize), "utf-8")
    runtime = {"transformers": transformers.__version__, "torch": torch.__version__}
    return Written((WEIGHTS_FILE, REMOTE_FILE.name, *tables), runtime)


def open_export(
    folder: Path, record: ExportRecord, window: WindowPolicy, threads: int
) -> WindowedTranscriber:
    """The folder by this package's own copy of the modeling file.

    The one inside the folder is not run, since a folder may come from anywhere.
    """
    if threads:
        torch.set_num_threads(threads)
    if record.model_type == WHISPER_CTC:
        return open_frames(folder, record, window)
    return HfTranscriber.load(folder, record, window)


def _write_weights(speech: SpeechModel, file: Path, dtype: torch.dtype) -> None:
    tensors = {
        name: parameter.detach().to("cpu", dtype).contiguous()
        for name, parameter in speech.model.named_parameters()
        if name not in speech.family.tied
    }
    write_tensors(file, tensors, {"format": "pt"})


def _preprocessor(speech: SpeechModel) -> dict[str, Any]:
    fit = WindowPolicy()
    return {
        "feature_extractor_type": FEATURES_CLASS,
        "auto_map": {"AutoFeatureExtractor": f"{REMOTE_FILE.stem}.{FEATURES_CLASS}"},
        "processor_class": "WhisperProcessor",
        "feature_size": speech.input_spec.bands,
        "sampling_rate": SAMPLE_RATE,
        "hop_length": HOP_LENGTH,
        "n_fft": N_FFT,
        "chunk_length": int(speech.input_spec.max_seconds),
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
        "window": fit.kind,
        "margin_seconds": fit.margin_seconds,
        "step_seconds": fit.step_seconds,
        "shortest_seconds": MIN_WINDOW_SECONDS,
    }


def _write_json(file: Path, table: dict[str, Any]) -> None:
    file.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", "utf-8")
