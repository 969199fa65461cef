"""The graphs for ONNX Runtime: the arithmetic of the model, whatever was cut; what is stored."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tests.support.models.low_rank import made_two, opened_on_noise
from tests.support.models.narrow import narrow_to
from tests.support.tiny import D_MODEL, VOCABULARY, tiny_model
from whisperslim.core.families import family_of
from whisperslim.core.families.factors import factored
from whisperslim.core.families.whisper.onnx import write_decoder, write_encoder
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import keep_everything
from whisperslim.core.surgery.shrink import cut
from whisperslim.engines.onnx import export as onnx_export
from whisperslim.engines.onnx import graph as onnx_graph
from whisperslim.engines.onnx.export import PRECISIONS, check, write
from whisperslim.engines.onnx.graph import OnnxBuilder, Precision
from whisperslim.engines.onnx.storage import Blocks, quantize
from whisperslim.errors import ExportError


def dequantize(blocks: Blocks) -> np.ndarray:
    """The float32 matrix that the runtime computes with, from what ONNX says of MatMulNBits."""
    packed = blocks.codes
    if blocks.bits == 4:
        packed = np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:2], -1)
    values = packed.astype(np.float32) - 2 ** (blocks.bits - 1)
    values *= blocks.scales.astype(np.float32)[..., None]
    return values.reshape(len(values), -1)[:, : blocks.columns]


RAGGED = {
    "encoder.0.self_attn.heads": (1,),
    "encoder.1.ffn": tuple(range(41)),  # no multiple of a block
    "decoder.0.self_attn.heads": (0, 2, 3),
    "decoder.1.encoder_attn.heads": (1, 2),
}
ABSENT = {
    "encoder.0.ffn": (),
    "encoder.1.self_attn.heads": (),
    "decoder.0.self_attn.heads": (),
    "decoder.0.encoder_attn.heads": (),
    "decoder.0.ffn": (),  # with these three, the layer itself
    "decoder.1.encoder_attn.heads": (3,),
}
WIDTHS = "widths of heads"
TWO = "layers of two matrices"
NARROW = {**RAGGED, WIDTHS: (4, 8, 6, 2, 8, 4)}
KEEPS: dict[str, dict[str, tuple[int, ...]]] = {
    "whole": {}, "ragged": RAGGED, "absent": ABSENT, "narrow": NARROW, "low rank": {TWO: ()},
}  # fmt: skip
every_model = pytest.mark.parametrize("keeps", KEEPS.values(), ids=KEEPS)


def model_with(keeps: dict[str, tuple[int, ...]]) -> Any:
    model = tiny_model()
    if WIDTHS in keeps:
        narrow_to(model, keeps[WIDTHS])
    if TWO in keeps:
        made_two(model, opened_on_noise(model))
        assert 0 < len(factored(model)) < 32
    groups = family_of(model).unit_groups(model)
    plan = keep_everything(groups)
    cut(model, groups, replace(plan, keep={k: keeps.get(k, u) for k, u in plan.keep.items()}))
    return model


class Graphs:
    """Both graphs of a model, in the runtime."""

    def __init__(self, model: Any, folder: Path, quantize: str = "none") -> None:
        many, few = PRECISIONS[quantize]
        self.encoder = self._session(model, write_encoder, folder / "encoder.onnx", many)
        self.decoder = self._session(model, write_decoder, folder / "decoder.onnx", few)

    @staticmethod
    def _session(
        model: Any, family: Callable[..., None], file: Path, precision: Precision
    ) -> onnxruntime.InferenceSession:
        builder = OnnxBuilder(file.stem, precision)
        family(model, builder)
        builder.save(file)
        onnx.checker.check_model(str(file))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(file, options)

    def heard(self, mel: torch.Tensor) -> dict[str, np.ndarray]:
        return run(self.encoder, {"features": mel.numpy()})

    def logits(self, heard: dict[str, np.ndarray], ids: torch.Tensor, *steps: int) -> np.ndarray:
        """Of the last token of each step; `steps` say how many tokens are given at once."""
        caches = {
            i.name: np.zeros([n if isinstance(n, int) else 0 for n in i.shape], np.float32)
            for i in self.decoder.get_inputs()
            if i.name.startswith("past")
        }
        cross = {name: value for name, value in heard.items() if name.startswith("cross")}
        found, at = [], 0
        for new in steps:
            tokens, places = ids[:, at : at + new].numpy(), np.arange(at, at + new)
            result = run(self.decoder, {"tokens": tokens, "positions": places, **cross, **caches})
            found.append(result.pop("logits")[0])
            caches = {
                name.replace("present", "past"): value
                for name, value in result.items()
                if name.startswith("present")
            }
            at += new
        return np.stack(found)


def run(session: onnxruntime.InferenceSession, given: dict[str, Any]) -> dict[str, np.ndarray]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def torch_side(model: Any, mel: torch.Tensor, ids: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Encoder states, and logits after every token, from transformers."""
    with torch.no_grad():
        states = family_of(model).encode(model, mel)
        logits = model(decoder_input_ids=ids, encoder_outputs=(states,)).logits
    return states.numpy(), logits[0].numpy()


def question(frames: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    mel = torch.randn(1, 80, frames, generator=generator)
    return mel, torch.randint(0, 200, (1, 9), generator=generator)


@every_model
@pytest.mark.parametrize("frames", [2, 50, 3000])
def test_float_graphs_are_the_model(
    keeps: dict[str, tuple[int, ...]], frames: int, tmp_path: Path
) -> None:
    model, (mel, ids) = model_with(keeps), question(frames)
    graphs = Graphs(model, tmp_path)
    states, logits = torch_side(model, mel, ids)
    heard = graphs.heard(mel)
    assert np.abs(heard["states"] - states).max() < 1e-5 * np.abs(states).max() * 10
    # A prompt at once, then token by token, then several with others cached.
    found = graphs.logits(heard, ids, 4, 1, 3, 1)
    assert np.abs(found - logits[[3, 4, 7, 8]]).max() < 1e-4


def test_absent_sublayers_leave_no_trace(tmp_path: Path) -> None:
    graphs = Graphs(model_with(ABSENT), tmp_path)
    heard = {output.name: output.shape for output in graphs.encoder.get_outputs()}
    assert set(heard) == {"states", "cross_keys_1", "cross_values_1"}
    assert heard["cross_keys_1"] == [1, 1, "heard", D_MODEL // 4]
    assert {i.name for i in graphs.decoder.get_inputs()} == {
        "tokens", "positions", "past_keys_1", "past_values_1", "cross_keys_1", "cross_values_1",
    }  # fmt: skip


def test_the_token_table_is_stored_once(tmp_path: Path) -> None:
    for name, (_, precision) in PRECISIONS.items():
        Graphs(tiny_model(), tmp_path, name)
        graph = onnx.load(tmp_path / "decoder.onnx").graph
        tables = [t for t in graph.initializer if t.dims and t.dims[0] == VOCABULARY]
        stored = sum(len(tensor.raw_data) for tensor in tables)
        bits = precision.table_bits
        scales = 0 if precision.exact else 2 * D_MODEL // precision.block
        assert stored == VOCABULARY * (D_MODEL * bits // 8 + scales), name


def as_stored(model: Any, form: str) -> Any:
    """A copy with every product's weight and table as the runtime computes with it."""
    few = PRECISIONS[form][1]

    def in_blocks(weight: torch.Tensor, bits: int) -> torch.Tensor:
        return torch.from_numpy(dequantize(quantize(weight.numpy(), bits, few.block)).copy())

    def in_rows(weight: torch.Tensor) -> torch.Tensor:
        weight = weight if few.bits == 8 else in_blocks(weight, few.bits)
        step = weight.abs().amax(1, keepdim=True) / 127
        return torch.round(weight / step) * step

    copy = deepcopy(model)
    with torch.no_grad():
        for name, module in copy.named_modules():
            heard = ".encoder." in name or name.endswith(("encoder_attn.k_proj", "attn.v_proj"))
            if isinstance(module, nn.Embedding) and "encoder" not in name:
                module.weight.copy_(in_blocks(module.weight, few.table_bits))
            elif isinstance(module, nn.Linear) and name != "proj_out":
                rounded = in_rows if heard else lambda w: in_blocks(w, few.bits)
                module.weight.copy_(rounded(module.weight))
            elif isinstance(module, nn.Conv1d):
                flat = module.weight.permute(0, 2, 1).flatten(1).contiguous()
                again = in_rows(flat).reshape(-1, 3, module.in_channels)
                module.weight.copy_(again.permute(0, 2, 1))
    return copy


@every_model
@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_quantized_graphs_are_the_rounded_model(
    quantize: str, keeps: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    """What is left is the rounding of what is multiplied, to 8 bits: about a hundredth a product.

    Between the model and its rounded self there is much more with 4 bits, so that a nibble or a
    scale in the wrong place would show.
    """
    model, (mel, ids) = model_with(keeps), question()
    graphs = Graphs(model, tmp_path, quantize)
    states, logits = torch_side(as_stored(model, quantize), mel, ids)
    heard = graphs.heard(mel)
    found = graphs.logits(heard, ids, 4, 1, 3, 1)
    assert np.isfinite(found).all()
    assert far(heard["states"], states) < 0.04
    assert far(found, logits[[3, 4, 7, 8]]) < 0.04
    if quantize == "int4":
        exact = torch_side(model, mel, ids)
        assert far(heard["states"], exact[0]) > 0.06
        assert far(found, exact[1][[3, 4, 7, 8]]) > 0.06


def far(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("bits", [8, 4])
def test_blocks_round_to_the_nearest_step(bits: int) -> None:
    weight = np.random.default_rng(0).normal(size=(5, 70)).astype(np.float32)
    weight[:, 3:9] = 0.0
    blocks = quantize(weight, bits, 32)
    assert blocks.codes.shape == (5, 3, 32 * bits // 8)
    assert (blocks.codes.dtype, blocks.scales.dtype) == (np.uint8, np.float16)
    again = dequantize(blocks)
    assert again.shape == weight.shape
    assert not again[:, 3:9].any(), "zeros stay zeros"
    step = np.repeat(np.abs(blocks.scales.astype(np.float32)), 32, 1)[:, :70]
    top = 2 ** (bits - 1)
    inside = np.abs(weight) <= (top - 1) * step
    assert (np.abs(again - weight)[inside] <= step[inside] * 0.501).all()
    assert (np.abs(again) <= top * step * 1.001).all()


def test_blocks_by_hand() -> None:
    """The largest, -8, makes a step of 1; two codes a byte, the first one low."""
    weight = np.zeros((1, 16), np.float32)
    weight[0, :4] = (-8.0, 3.0, 0.0, 7.0)
    blocks = quantize(weight, 4, 16)
    assert blocks.scales.tolist() == [[1.0]]
    assert blocks.codes[0, 0, :3].tolist() == [0 | 11 << 4, 8 | 15 << 4, 8 | 8 << 4]
    assert dequantize(blocks).tolist() == weight.tolist()
    nothing = quantize(np.zeros((2, 16), np.float32), 8, 16)
    assert not dequantize(nothing).any()
    assert isinstance(nothing, Blocks)


def test_files_and_settings(speech: SpeechModel, tmp_path: Path) -> None:
    check(speech, "none")
    written = write(speech, tmp_path, "none")
    assert written.files == ("encoder.onnx", "decoder.onnx")
    assert (tmp_path / "tokenizer.json").is_file()
    assert written.runtime["onnxruntime"] == onnxruntime.__version__
    parameters = {id(p): p.numel() for p in speech.model.parameters()}
    stored = sum((tmp_path / name).stat().st_size for name in written.files)
    assert 4 * sum(parameters.values()) < stored < 4 * sum(parameters.values()) + 60_000


def test_positions_are_computed_when_they_are_sinusoids(
    speech: SpeechModel, tmp_path: Path
) -> None:
    """And stored as they are when training moved them."""
    table = 2 * 1500 * D_MODEL
    sizes = []
    for name, shift in (("stock", 0.0), ("moved", 0.1)):
        model = deepcopy(speech.model)
        model.model.encoder.embed_positions.weight.data += shift
        (tmp_path / name).mkdir()
        write(replace(speech, model=model), tmp_path / name, "int8")
        sizes.append((tmp_path / name / "encoder.onnx").stat().st_size)
    assert table - 2000 < sizes[1] - sizes[0] < table + 2000


def test_weights_too_many_for_one_file_go_beside_it(
    speech: SpeechModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_graph, "_ONE_FILE", 1000)
    written = write(speech, tmp_path, "none")
    assert set(written.files) == {
        "encoder.onnx", "encoder.onnx.data", "decoder.onnx", "decoder.onnx.data",
    }  # fmt: skip
    for name in ("encoder.onnx", "decoder.onnx"):
        onnxruntime.InferenceSession(tmp_path / name)


def test_what_cannot_be_held_is_refused(
    speech: SpeechModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = replace(speech, model=deepcopy(speech.model))
    odd.model.config.d_model = 40
    check(odd, "none")
    with pytest.raises(ExportError, match=r"40 wide.*multiple of 32"):
        check(odd, "int4")
    monkeypatch.setattr(onnx_export.onnxruntime, "__version__", "1.19.2")
    with pytest.raises(ExportError, match=r"1\.19\.2 is too old.*pip install"):
        check(speech, "none")
