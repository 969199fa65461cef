"""Builds an ONNX graph operator by operator, and decides how each weight is stored in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from whisperslim.engines.onnx_storage import Blocks, quantise

OPSET, IR_VERSION = 20, 10
CONTRIB = "com.microsoft"
# A protobuf file may not pass 2 GB; the graph itself is small.
_ONE_FILE = 2**31 - 2**24
# Smaller tables stay float32: a half with its cast would not be smaller.
_WORTH_HALVING = 64


@dataclass(frozen=True)
class Precision:
    """How weights are stored.

    Attributes:
        bits: Of products and tables: 32, 8 or 4.
        block: Inputs that share a scale; of no account with 32.
        table_bits: Of the token table, which is also the weight of the output product.
    """

    bits: int = 32
    block: int = 32
    table_bits: int = 32

    @property
    def exact(self) -> bool:
        """Whether nothing is rounded."""
        return self.bits == 32


class OnnxBuilder:
    """A graph in the making; see `GraphBuilder` for the methods a family calls."""

    def __init__(self, name: str, precision: Precision) -> None:
        self._name, self._precision = name, precision
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._tensors: dict[str, onnx.TensorProto] = {}
        self._made: dict[str, str] = {}
        self._blocks: dict[str, Blocks] = {}

    def input(self, name: str, shape: Sequence[int | str], *, integer: bool = False) -> str:
        kind = TensorProto.INT64 if integer else TensorProto.FLOAT
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, value: str, name: str, shape: Sequence[int | str]) -> None:
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def node(
        self, op: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any
    ) -> tuple[str, ...]:
        number = len(self._nodes)
        names = tuple(f"{op}_{number}_{i}" for i in range(outputs))
        made = helper.make_node(op, inputs, names, f"{op}_{number}", domain=domain, **attributes)
        self._nodes.append(made)
        return names

    def numbers(self, *values: int) -> str:
        return self._tensor("_".join(map(str, ("numbers", *values))), np.array(values, np.int64))

    def zeros(self, *shape: int) -> str:
        return self._tensor("_".join(map(str, ("zeros", *shape))), np.zeros(shape, np.float32))

    def product(
        self, x: str, name: str, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> str:
        added = () if bias is None else (self._vector(f"{name}.bias", bias),)
        if self._precision.exact:
            return self._float_product(x, name, weight, added)
        blocks = self._quantised(name, weight)
        inputs = (x, *self._packed(name, blocks), *(("", "", *added) if added else ()))
        return self.node(
            "MatMulNBits", *inputs, domain=CONTRIB, K=blocks.columns, N=len(blocks.codes),
            bits=blocks.bits, block_size=blocks.block, accuracy_level=4,
        )[0]  # fmt: skip

    def norm(self, x: str, name: str, norm: nn.LayerNorm) -> str:
        scale = self._vector(f"{name}.scale", norm.weight)
        shift = self._vector(f"{name}.shift", norm.bias)
        return self.node("LayerNormalization", x, scale, shift, axis=-1, epsilon=norm.eps)[0]

    def rows(self, name: str, weight: torch.Tensor, ids: str) -> str:
        if self._precision.exact:
            return self.node("Gather", self._tensor(name, _array(weight)), ids)[0]
        blocks = self._quantised(name, weight)
        return self.node(
            "GatherBlockQuantized", self._codes(name, blocks), ids, self._scales(name, blocks),
            domain=CONTRIB, bits=blocks.bits, block_size=blocks.block,
            gather_axis=0, quantize_axis=1,
        )[0]  # fmt: skip

    def sinusoids(self, name: str, weight: torch.Tensor, *, exact: bool) -> str:
        if self._precision.exact or not exact:
            return self._vector(name, weight)
        return self._computed_sinusoids(name, *weight.shape)

    def save(self, file: Path) -> tuple[str, ...]:
        """Write the graph; weights beyond what one file may hold go beside it.

        Returns:
            The names of the files written.
        """
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        tensors = list(self._tensors.values())
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, tensors)
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        if sum(len(tensor.raw_data) for tensor in tensors) < _ONE_FILE:
            onnx.save_model(model, file)
            return (file.name,)
        beside = f"{file.name}.data"
        onnx.save_model(model, file, save_as_external_data=True, location=beside)
        return file.name, beside

    def _tensor(self, name: str, array: np.ndarray) -> str:
        if name not in self._tensors:
            self._tensors[name] = numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    def _once(self, name: str, make: Callable[[], str]) -> str:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def _vector(self, name: str, tensor: torch.Tensor) -> str:
        return self._halved(name, _array(tensor))

    def _halved(self, name: str, array: np.ndarray) -> str:
        """Stored as float16 where nothing need be exact; the runtime widens it once, on load."""
        if self._precision.exact or array.size < _WORTH_HALVING:
            return self._tensor(name, array)
        return self._widened(name, array.astype(np.float16))

    def _widened(self, name: str, half: np.ndarray) -> str:
        stored = self._tensor(name, half)
        return self._once(stored, lambda: self.node("Cast", stored, to=TensorProto.FLOAT)[0])

    def _float_product(
        self, x: str, name: str, weight: torch.Tensor, added: tuple[str, ...]
    ) -> str:
        if name in self._tensors:  # a table already stored row by row
            return self.node("Gemm", x, name, *added, transB=1)[0]
        (result,) = self.node("MatMul", x, self._tensor(name, _array(weight).T))
        return self.node("Add", result, *added)[0] if added else result

    def _quantised(self, name: str, weight: torch.Tensor) -> Blocks:
        if name not in self._blocks:
            bits = self._precision.bits
            self._blocks[name] = quantise(_array(weight), bits, self._precision.block)
        return self._blocks[name]

    def _packed(self, name: str, blocks: Blocks) -> tuple[str, str]:
        shape = self.numbers(*blocks.codes.shape)
        codes = self._codes(name, blocks)
        (cut,) = self.node("Reshape", codes, shape)
        return cut, self._scales(name, blocks)

    def _codes(self, name: str, blocks: Blocks) -> str:
        return self._tensor(f"{name}.codes", blocks.codes.reshape(len(blocks.codes), -1))

    def _scales(self, name: str, blocks: Blocks) -> str:
        return self._widened(f"{name}.scales", blocks.scales)

    def _computed_sinusoids(self, name: str, length: int, width: int) -> str:
        """Constants alone, so that the runtime computes the table once, on load."""
        step = np.log(10_000) / (width // 2 - 1)
        rates = np.exp(-step * np.arange(width // 2)).astype(np.float32)[None]
        start, end, one = (self._tensor(f"float_{i}", np.float32(i)) for i in (0, length, 1))
        (places,) = self.node("Range", start, end, one)
        (column,) = self.node("Reshape", places, self.numbers(length, 1))
        (angles,) = self.node("Mul", column, self._tensor(f"{name}.rates", rates))
        (sine,), (cosine,) = self.node("Sin", angles), self.node("Cos", angles)
        return self.node("Concat", sine, cosine, axis=1)[0]


def _array(tensor: torch.Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().to("cpu", torch.float32).numpy()
    return array
