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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from whisperslim.boxed import find_boxed
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.core.store.checkpoint import read_record, save_slim
from whisperslim.core.surgery.shrink import cut
from whisperslim.core.trimming import save_trimmed, vocabulary_for
from whisperslim.jobs.stages.interpolate import mix
from whisperslim.machine.places import ASSETS

NAME = "whisperslim/base-hi-dense"
_STOCK = "openai/whisper-base"
_LANGUAGE = "hi"
_CENTER = 128  # of unsigned codes of 8 bits
_HEAD = 64
_NEAR = 0.9  # cosine of a unit and what became of it; others are under 0.5


class Constants:
    """The constants of an export's two graphs, in float32 and in the shapes of the model."""

    def __init__(self, folder: Path) -> None:
        self._arrays = {
            tensor.name: numpy_helper.to_array(tensor)
            for part in ("encoder", "decoder")
            for tensor in onnx.load(folder / f"{part}.onnx").graph.initializer
        }

    def has(self, name: str) -> bool:
        """Whether there is such a matrix; a sub-layer that was removed has none."""
        return f"{name}.codes" in self._arrays

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


@dataclass(frozen=True)
class Boxed:
    """A model of the project in PyTorch: its shapes, and its weights before and after tuning."""

    speech: SpeechModel
    before: Mapping[str, torch.Tensor]
    tuned: Mapping[str, torch.Tensor]

    def at(self, share: float) -> SpeechModel:
        """The model at a share of the way from before to tuned; the same object each time."""
        mix(self.speech.model, self.before, self.tuned, share)
        return self.speech


def main() -> None:
    """Write the folder, and say where."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, metavar="FOLDER")
    parser.add_argument("--share", type=float, default=1.0, help="of the way from stock to tuned")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        model = boxed_weights(NAME, Path(place)).at(arguments.share)
        record = read_record(model.path)
        save_slim(arguments.out, model.model, record, side_files=model.path)
    print(arguments.out)


@torch.no_grad()
def boxed_weights(name: str, place: Path) -> Boxed:
    """A model that comes with the project, and the stock Whisper-base cut as it is.

    An export does not say which units it kept. They are found again: a unit was tuned, and is
    still by far nearer to the one it was than to any other. Not so where heads were narrowed,
    which turned their dimensions.

    Args:
        name: Such as `NAME`.
        place: An empty folder for the stock model with the tokens of Hindi alone.

    Raises:
        SourceError: the export or the stock model is not here.
    """
    boxed = find_boxed(name)
    if boxed is None:
        raise SystemExit(f"{name} is no model that comes with the project")
    stock = load_model(_STOCK)
    save_trimmed(place / "trimmed", stock, vocabulary_for(stock, [_LANGUAGE]), _LANGUAGE)
    speech, constants = (
        load_model(str(place / "trimmed")),
        Constants(ASSETS / "models" / boxed.folder),
    )
    keep = {group.key: _kept(speech.model, group.key, constants) for group in speech.groups()}
    cut(speech.model, speech.groups(), PruningPlan(keep))
    before = {n: value.clone() for n, value in speech.model.named_parameters()}
    _fill(speech.model, constants)
    tuned = {n: value.detach().clone() for n, value in speech.model.named_parameters()}
    return Boxed(speech, before, tuned)


def _kept(model: nn.Module, group: str, constants: Constants) -> tuple[int, ...]:
    layer, _, kind = group.removesuffix(".heads").rpartition(".")
    module = f"model.{layer.replace('.', '.layers.', 1)}"
    name, whole, size = {
        "ffn": (f"{layer}.ffn.inner", f"{module}.fc1", 1),
        "self_attn": (f"{layer}.self.qkv", f"{module}.self_attn.q_proj", _HEAD),
        "encoder_attn": (f"{layer}.cross.query", f"{module}.encoder_attn.q_proj", _HEAD),
    }[kind]
    if not constants.has(name):
        return ()
    found = constants.matrix(name)
    found = found[: len(found) // 3] if kind == "self_attn" else found
    if len(found) % size:
        raise SystemExit(f"{group}: its heads were narrowed, and cannot be found again")
    units, known = (
        nn.functional.normalize(weight.detach().reshape(-1, size * weight.shape[1]))
        for weight in (found, model.get_parameter(f"{whole}.weight"))
    )
    if len(units) == len(known):
        return tuple(range(len(known)))
    nearness, kept = (units @ known.T).max(1)
    places = tuple(kept.tolist())
    if list(places) != sorted(set(places)) or float(nearness.min()) < _NEAR:
        raise SystemExit(f"{group}: these units are not those of {_STOCK}")
    return places


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
