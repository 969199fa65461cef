"""A Hugging Face folder for others: transformers loads it by itself.

config.json, preprocessor_config.json and others   as the model's family has them
modeling_....py       the code that `trust_remote_code=True` asks about, where there has to be some
model.safetensors     the cut weights, dense: zeroed ones are stored as zeros
README.md             the model card
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from whisperslim.core.families import family_of
from whisperslim.core.families.hf_remote.form import HfSource
from whisperslim.core.families.hf_remote.forms import form_of, frames_form
from whisperslim.core.loading import SpeechModel
from whisperslim.core.store.checkpoint import (
    WEIGHTS_FILE,
    copy_side_files,
    stored_buffers,
    write_tensors,
)
from whisperslim.engines.export.export import Written, tuned_language
from whisperslim.engines.export.record import ExportRecord
from whisperslim.engines.hf.engine import HfTranscriber
from whisperslim.engines.hf.frames import open_frames
from whisperslim.engines.hf.model_card import model_card
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.speech.audio.window import WindowPolicy

CARD_FILE = "README.md"
DTYPES = {"none": torch.float32, "float16": torch.float16}


def check_kind(model: PreTrainedModel) -> None:
    """Raise `ExportError` for what transformers has no form of."""
    form_of(family_of(model).model_type).check(model)


def check(speech: SpeechModel, quantize: str) -> None:
    """Every shape is possible. Raises as `check_kind`."""
    check_kind(speech.model)


def write(speech: SpeechModel, folder: Path, quantize: str) -> Written:
    """Everything that transformers needs, and the model card."""
    form, dtype = form_of(speech.family.model_type), DTYPES[quantize]
    groups, language = speech.family.unit_groups(speech.model), tuned_language(speech)
    _write_weights(speech, folder / WEIGHTS_FILE, dtype)
    copy_side_files(speech.path, folder)
    source = HfSource(speech.model, speech.tokens, groups, dtype, language, folder)
    files = [WEIGHTS_FILE]
    if (code := form.code(source)) is not None:
        shutil.copyfile(code, folder / code.name)
        files.append(code.name)
    for name, table in form.tables(source).items():
        _write_json(folder / name, table)
        files.append(name)
    card = model_card(speech, folder, quantize, form.words(language), code)
    (folder / CARD_FILE).write_text(card, "utf-8")
    runtime = {"transformers": transformers.__version__, "torch": torch.__version__}
    return Written(tuple(files), runtime)


def open_export(
    folder: Path, record: ExportRecord, window: WindowPolicy, threads: int
) -> WindowedTranscriber:
    """The folder by this package's own copy of its modeling file.

    The one inside the folder is not run, since a folder may come from anywhere.
    """
    if threads:
        torch.set_num_threads(threads)
    if (form := frames_form(record.model_type)) is not None:
        return open_frames(folder, record, window, form)
    return HfTranscriber.load(folder, record, window)


def _write_weights(speech: SpeechModel, file: Path, dtype: torch.dtype) -> None:
    tensors = {
        name: parameter.detach().to("cpu", dtype).contiguous()
        for name, parameter in speech.model.named_parameters()
        if name not in speech.family.tied
    }
    write_tensors(file, {**tensors, **stored_buffers(speech.model)}, {"format": "pt"})


def _write_json(file: Path, table: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", "utf-8")
