"""Models on disk, as far as a list of them looks: records and heads of weight files."""

import json
from pathlib import Path

from tests.support.models.inputs import WHISPERS
from whisperslim.engines.export.record import ExportRecord
from whisperslim.jobs.run.folder import RunDir

RECIPE = "model: openai/whisper-base\nruntime: {device: cpu}\n"


def weights(file: Path, elements: int = 10, form: str = "F16", width: int = 2) -> None:
    """A file of weights whose numbers take no room on the disk."""
    length = elements * width
    head = json.dumps(
        {"w": {"dtype": form, "shape": [elements], "data_offsets": [0, length]}}
    ).encode()
    with file.open("wb") as opened:
        opened.write(len(head).to_bytes(8, "little") + head)
        opened.truncate(8 + len(head) + length)


def model_folder(folder: Path, kind: str = "whisper", elements: int = 10) -> Path:
    """An ordinary model's folder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    weights(folder / "model.safetensors", elements)
    return folder


def slim_run(runs: Path, name: str, elements: int = 10, language: str = "hi") -> RunDir:
    """A run with a slim model that was scored on one set."""
    run = runs / name
    slim = model_folder(run / "slim", elements=elements)
    record = {
        "base": "openai/whisper-base", "counts": {}, "dense_counts": {}, "dense_parameters": 20,
        "removed": 0.5, "language": language, "format": 1, "vocabulary": None,
    }  # fmt: skip
    (slim / "slim.json").write_text(json.dumps(record))
    (run / "recipe.yaml").write_text(RECIPE)
    event = {"kind": "finished", "at": 1.0, "seconds": 1.0, "slim": str(slim)}
    (run / "events.jsonl").write_text(json.dumps(event) + "\n")
    (run / "eval").mkdir()
    scores = {"raw": {"wer": 0.9}, "hindi-1": {"wer": 0.25}}
    sets = {"corpus#test": {"n": 12, "language": language, "scores": scores}}
    (run / "eval" / "slim.json").write_text(json.dumps({"sets": sets}))
    return RunDir(run)


def export_folder(folder: Path, source: str = "a-run", size: int = 5) -> Path:
    """An int8 export for ONNX Runtime."""
    folder.mkdir(parents=True)
    (folder / "decoder.onnx").write_bytes(bytes(size))
    ExportRecord(
        "onnx", "int8", source, "0" * 64, 10, "whisper", WHISPERS, {}, "hi",
        {"decoder.onnx": size}, {}, {}, "",
    ).write(folder)  # fmt: skip
    return folder
