"""Dense tuned weights in the forms that other systems read, made once for each weights file."""

import json
from pathlib import Path

from ctranslate2.converters import TransformersConverter

from benchmarks.systems.ggml_weights import write_ggml
from whisperslim.core.disk.files import renamed_into_place, write_text_atomically
from whisperslim.core.families.whisper.side_files import preprocessor_config
from whisperslim.core.families.whisper.tokens import whisper_tokens
from whisperslim.core.loading import SpeechModel
from whisperslim.core.store.checkpoint import save_dense

_COPIED = ["tokenizer.json", "preprocessor_config.json"]


def stock_folder(speech: SpeechModel, work: Path) -> Path:
    """The dense model as an ordinary float32 folder that stock transformers generates from."""
    folder = work / "transformers"
    if not (folder / "preprocessor_config.json").is_file():
        save_dense(folder, speech.model, side_files=speech.path)
        _complete_generation(speech, folder / "generation_config.json")
        text = json.dumps(preprocessor_config(speech.input_spec.bands), indent=1)
        write_text_atomically(folder / "preprocessor_config.json", text)
    return folder


def faster_whisper_folder(stock: Path, work: Path, storage: str) -> Path:
    """What CTranslate2's own converter makes of the stock folder, for faster-whisper."""
    folder = work / f"faster-whisper-{storage}"
    if not folder.is_dir():
        with renamed_into_place(folder) as temporary:
            converter = TransformersConverter(str(stock), copy_files=_COPIED)
            converter.convert(str(temporary), quantization=storage, force=True)
    return folder


def ggml_file(speech: SpeechModel, work: Path) -> Path:
    """The dense model for whisper.cpp."""
    folder = work / "whisper.cpp"
    if not folder.is_dir():
        with renamed_into_place(folder) as temporary:
            write_ggml(speech, temporary / "ggml.bin")
    return folder / "ggml.bin"


def _complete_generation(speech: SpeechModel, file: Path) -> None:
    """Name the control tokens, which `generate(language=...)` asks for."""
    tokens = whisper_tokens(speech.tokens)
    stored = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    known = tokens.vocabulary()
    tasks = {task: known[f"<|{task}|>"] for task in ("transcribe", "translate")}
    languages = {name: i for name, i in known.items() if tokens.start < i < min(tasks.values())}
    complete = {
        **stored,
        "is_multilingual": True,
        "lang_to_id": languages,
        "task_to_id": tasks,
        "no_timestamps_token_id": tokens.no_timestamps,
        "decoder_start_token_id": tokens.start,
        "eos_token_id": tokens.end,
        "pad_token_id": tokens.end,
        "return_timestamps": False,
        "max_length": speech.model.config.max_target_positions,
    }
    write_text_atomically(file, json.dumps(complete, indent=1))
