"""Exports of a tiny model, and copies of them that break what runs them."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from tests.support.tiny import tiny_model_folder
from whisperslim.core.loading import load_model
from whisperslim.engines.export import parity, parity_child
from whisperslim.engines.export.export import export
from whisperslim.engines.export.record import EXPORT_FILE
from whisperslim.speech.audio.window import WindowPolicy

WINDOW = WindowPolicy()
TONE = (0.3 * np.sin(2 * np.pi * 300 * np.arange(16_000) / 16_000)).astype(np.float32)
HEADS = 4  # of the tiny model's encoder


def written(folder: Path, *engines: str) -> Path:
    """One tiny model, written here for each engine; the folder of the last."""
    speech = load_model(str(tiny_model_folder(folder / "model")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "run_child", lambda place, timeout: parity_child.main(place))
        for engine in engines:
            export(speech, engine, "none", folder / engine, [TONE], "hi", WINDOW)
    return folder / engines[-1]


def changed(source: Path, folder: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """A copy of an export with one file changed, whose record does not contradict it."""
    copytree(source, folder)
    content = change((folder / name).read_bytes())
    (folder / name).write_bytes(content)
    record = json.loads((folder / EXPORT_FILE).read_text("utf-8"))
    record["files"][name] = len(content)
    (folder / EXPORT_FILE).write_text(json.dumps(record), "utf-8")
    return folder


def no_heads(model: bytes) -> bytes:
    """CTranslate2's `model.bin`, which it divides by the number of heads of, without a look."""
    name = b"encoder/num_heads\0"
    start = model.index(struct.pack("<H", len(name)) + name) + 2 + len(name)
    rank, _, size = struct.unpack_from("<BBI", model, start)
    value = model[start + 6 : start + 6 + size]
    assert (rank, value) == (0, HEADS.to_bytes(size, "little"))
    return model[: start + 6] + bytes(size) + model[start + 6 + size :]


def forever(model: bytes) -> bytes:
    """An encoder that first hands its features round and round."""
    import onnx
    from onnx import TensorProto, helper

    read = onnx.load_from_string(model)
    (given,) = read.graph.input
    for node in read.graph.node:
        names = ["late" if name == given.name else name for name in node.input]
        del node.input[:]
        node.input.extend(names)
    flag = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    round_ = helper.make_tensor_value_info("round", TensorProto.INT64, [])
    on = helper.make_tensor_value_info("on", TensorProto.BOOL, [])
    held, out = (helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", "y"))
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["x"], ["y"])],
        "body", [round_, flag, held], [on, out],
    )  # fmt: skip
    always = helper.make_tensor("always", TensorProto.BOOL, [], [True])
    read.graph.initializer.append(always)
    loop = helper.make_node("Loop", ["", "always", given.name], ["late"], body=body)
    read.graph.node.insert(0, loop)
    whole: bytes = read.SerializeToString()
    return whole
