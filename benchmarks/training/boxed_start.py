"""The dense model that comes with the project as weights that can be tuned.

    python -m benchmarks.training.boxed_start FOLDER --share 0.7

Writes the tuned dense model `whisperslim/base-hi-dense` to FOLDER, in float32. A table that begins
with it begins with the same weights on every computer, so its rows can be made on several, and
anyone with a checkout can add one. What the model lost to 8 bits stays lost: they are the weights
of the export to the bit, each code times its scale.

With a share below 1 it goes only that far from the stock Whisper-base to the tuned model, in a
straight line between their weights (WiSE-FT, Wortsman et al., arXiv 2109.01903, equation 1). The
tuned model knows its training clips by heart, which leaves little to learn from.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from whisperslim.boxed import find_boxed
from whisperslim.core.loading import load_model
from whisperslim.core.store.checkpoint import read_record, save_slim
from whisperslim.core.trimming import save_trimmed, vocabulary_for
from whisperslim.machine.places import ASSETS

NAME = "whisperslim/base-hi-dense"
_STOCK = "openai/whisper-base"
_LANGUAGE = "hi"
_CENTER = 128  # of unsigned codes of 8 bits


class Constants:
    """The constants of an export's two graphs, in float32 and in the shapes of the model."""

    def __init__(self, folder: Path) -> None:
        self._arrays = {
            tensor.name: numpy_helper.to_array(tensor)
            for part in ("encoder", "decoder")
            for tensor in onnx.load(folder / f"{part}.onnx").graph.initializer
        }

    def vector(self, name: str) -> torch.Tensor:
        """A scale, shift or bias."""
        return torch.from_numpy(self._arrays[name].astype(np.float32))

    def matrix(self, name: str) -> torch.Tensor:
        """`(outputs, inputs)`; signed codes have a scale for each output, unsigned for blocks."""
        codes, scales = self._arrays[f"{name}.codes"], self._arrays[f"{name}.scales"]
        if codes.dtype == np.int8:
            return torch.from_numpy(codes.T.astype(np.float32) * scales[:, None])
        centered = (codes.astype(np.float32) - _CENTER).reshape(*scales.shape, -1)
        return torch.from_numpy((centered * scales[..., None].astype(np.float32)).reshape(
            len(codes), -1
        ))  # fmt: skip


def main() -> None:
    """Write the folder, and say where."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, metavar="FOLDER")
    parser.add_argument("--share", type=float, default=1.0, help="of the way from stock to tuned")
    arguments = parser.parse_args()
    print(write_start(arguments.out, arguments.share))


def write_start(folder: Path, share: float = 1.0) -> Path:
    """Write the model; raises `SourceError` where the export or the stock model is not here."""
    boxed = find_boxed(NAME)
    assert boxed is not None
    with tempfile.TemporaryDirectory() as place:
        trimmed = Path(place) / "trimmed"
        stock = load_model(_STOCK)
        save_trimmed(trimmed, stock, vocabulary_for(stock, [_LANGUAGE]), _LANGUAGE)
        model = load_model(str(trimmed)).model
        before = {name: value.clone() for name, value in model.named_parameters()}
        with torch.no_grad():
            _fill(model, Constants(ASSETS / "models" / boxed.folder))
            for name, value in model.named_parameters():
                value.copy_(before[name] + share * (value - before[name]))
        save_slim(folder, model, read_record(trimmed), side_files=trimmed)
    return folder


def _fill(model: Any, constants: Constants) -> None:
    core = model.model
    for name in ("conv1", "conv2"):
        conv = getattr(core.encoder, name)
        windows = constants.matrix(f"encoder.{name}").reshape(conv.out_channels, 3, -1)
        conv.weight.copy_(windows.permute(0, 2, 1))
        conv.bias.copy_(constants.vector(f"encoder.{name}.bias"))
    core.decoder.embed_tokens.weight.copy_(constants.matrix("embedding"))
    core.decoder.embed_positions.weight.copy_(constants.matrix("decoder.positions"))
    for stack in ("encoder", "decoder"):
        whole = getattr(core, stack)
        _fill_norm(whole.layer_norm, f"{stack}.norm", constants)
        for index, layer in enumerate(cast(nn.ModuleList, whole.layers)):
            _fill_layer(cast(Any, layer), f"{stack}.{index}", constants)


def _fill_layer(layer: Any, name: str, constants: Constants) -> None:
    own = layer.self_attn
    _fill_norm(layer.self_attn_layer_norm, f"{name}.self.norm", constants)
    _fill_joined((own.q_proj, own.k_proj, own.v_proj), f"{name}.self.qkv", constants)
    _fill_joined((own.out_proj,), f"{name}.self.out", constants)
    if hasattr(layer, "encoder_attn"):
        cross = layer.encoder_attn
        _fill_norm(layer.encoder_attn_layer_norm, f"{name}.cross.norm", constants)
        _fill_joined((cross.q_proj,), f"{name}.cross.query", constants)
        _fill_joined((cross.k_proj, cross.v_proj), f"{name}.cross.kv", constants)
        _fill_joined((cross.out_proj,), f"{name}.cross.out", constants)
    _fill_norm(layer.final_layer_norm, f"{name}.ffn.norm", constants)
    _fill_joined((layer.fc1,), f"{name}.ffn.inner", constants)
    _fill_joined((layer.fc2,), f"{name}.ffn.outer", constants)


def _fill_norm(norm: Any, name: str, constants: Constants) -> None:
    norm.weight.copy_(constants.vector(f"{name}.scale"))
    norm.bias.copy_(constants.vector(f"{name}.shift"))


def _fill_joined(linears: tuple[Any, ...], name: str, constants: Constants) -> None:
    sizes = [linear.out_features for linear in linears]
    weights = constants.matrix(name).split(sizes)
    biases = constants.vector(f"{name}.bias").split(sizes)
    for linear, weight, bias in zip(linears, weights, biases, strict=True):
        linear.weight.copy_(weight[:, : linear.in_features])  # blocks are padded
        if linear.bias is not None:
            linear.bias.copy_(bias)


if __name__ == "__main__":
    main()
