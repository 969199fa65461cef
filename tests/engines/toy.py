"""A newcomer's engine, all of it: PyTorch under another name, with shapes that it cannot hold.

Its exports are the model's own folder and a file of its own. FFN blocks of a stack must be equally
wide.
"""

import shutil
from pathlib import Path

from whisperslim.core.families import UnitGroup
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.engines.export.export import Written
from whisperslim.engines.export.record import ExportRecord
from whisperslim.engines.registry import FULL, EngineSpec
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.errors import ExportError
from whisperslim.speech.audio.window import WindowPolicy


def equal_widths(group: UnitGroup) -> str:
    return f"{group.stack}.widths" if group.kind == "ffn" else ""


SPEC = EngineSpec(
    name="toy",
    title="Toy Runtime",
    words="an engine to play with",
    shapes="every FFN block of a stack is equally wide",
    precisions=(FULL, "int1"),
    exporter=__name__,
    install="pip install toy",
    ties=equal_widths,
    rests=("model.toy",),
    ranks={FULL: 0},
    dense={"int1": "toy, int1"},
)


def check(speech: SpeechModel, quantize: str) -> None:
    for stack in ("encoder", "decoder"):
        widths = {g.count for g in speech.groups() if g.stack == stack and g.kind == "ffn"}
        if len(widths) > 1:
            raise ExportError(f"the toy holds one FFN width in the {stack}, not {sorted(widths)}")


def write(speech: SpeechModel, folder: Path, quantize: str) -> Written:
    shutil.copytree(speech.path, folder, dirs_exist_ok=True)
    (folder / "model.toy").write_bytes(b"toy")
    return Written(("model.toy", "model.safetensors"), {"toy": "1"})


def open_export(
    folder: Path, record: ExportRecord, window: WindowPolicy, threads: int
) -> TorchTranscriber:
    return TorchTranscriber(load_model(str(folder)), window)
