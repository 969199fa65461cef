"""Builds an ONNX graph operator by operator, and decides how each weight is stored in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from whisperslim.engines.onnx.storage import (
    LEAST_SCALE,
    Blocks,
    quantize,
    quantize_rows,
)

OPSET, IR_VERSION = 20, 10
CONTRIB = "com.microsoft"
# A protobuf file may not pass 2 GB; the graph itself is small.
_ONE_FILE = 2**31 - 2**24
# Smaller tables stay float32: a half with its cast would not be smaller.
_WORTH_HALVING = 64


@dataclass(frozen=True)
class Precision:
    """How weights are stored, and what they are multiplied with.

    Attributes:
        bits: Of the weights of products: 32, 8 or 4.
        table_bits: Of tables that are looked up, the token table among them, whose rows are also
            the weight of the output product.
        block: Inputs that share a scale; not used with 32 bits.
        many: For products of many positions: a whole sequence is rounded to 8 bits by one scale,
            and each output's weights by one of theirs, which the runtime multiplies fastest.
            Otherwise each block of a position has its own scale, which rounds less and is as fast
            for one position.
    """

    bits: int = 32
    table_bits: int = 32
    block: int = 32
    many: bool = False

    @property
    def exact(self) -> bool:
        """Whether nothing is rounded."""
        return self.bits == 32


class OnnxBuilder:
    """A graph being built; see `GraphBuilder` for the methods a family calls."""

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

    def stored(self, name: str, tensor: torch.Tensor, *, exact: bool = False) -> str:
        return self._tensor(name, _array(tensor)) if exact else self._vector(name, tensor)

    def convolution(
        self,
        x: str,
        name: str,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        *,
        strides: Sequence[int],
        pads: Sequence[int],
        groups: int = 1,
    ) -> str:
        added = () if bias is None else (self._vector(f"{name}.bias", bias),)
        weights = self._vector(f"{name}.weight", weight)
        return self.node("Conv", x, weights, *added, strides=strides, pads=pads, group=groups)[0]

    def product(
        self, x: str, name: str, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> str:
        added = () if bias is None else (self._vector(f"{name}.bias", bias),)
        if self._precision.exact:
            return self._float_product(x, name, weight, added)
        if self._precision.many:
            return self._product_of_many(x, name, weight, added)
        return self._product_of_few(x, name, weight, added)

    def norm(self, x: str, name: str, norm: nn.LayerNorm) -> str:
        scale = self._vector(f"{name}.scale", norm.weight)
        shift = self._vector(f"{name}.shift", norm.bias)
        return self.node("LayerNormalization", x, scale, shift, axis=-1, epsilon=norm.eps)[0]

    def rows(self, name: str, weight: torch.Tensor, ids: str) -> str:
        if self._precision.exact:
            return self.node("Gather", self._tensor(name, _array(weight)), ids)[0]
        blocks = self._quantized(name, weight, self._precision.table_bits)
        return self.node(
            "GatherBlockQuantized", self._codes(name, blocks), ids, self._scales(name, blocks),
            domain=CONTRIB, bits=blocks.bits, block_size=blocks.block,
            gather_axis=0, quantize_axis=1,
        )[0]  # fmt: skip

    def sinusoids(self, name: str, weight: torch.Tensor, *, exact: bool) -> str:
        if self._precision.exact or not exact:
            return self._vector(name, weight)
        return self._computed_sinusoids(name, *weight.shape)

    def save(
        self, file: Path, facts: Mapping[str, str] | None = None, only: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Write the graph; weights beyond what one file may hold go beside it.

        `facts` are what a runtime may read of it; `only` are the outputs it has, when not all.

        Returns:
            The names of the files written.
        """
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        tensors = list(self._tensors.values())
        outputs = [out for out in self._outputs if not only or out.name in only]
        graph = helper.make_graph(self._nodes, self._name, self._inputs, outputs, tensors)
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        helper.set_model_props(model, dict(facts or {}))
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

    def _product_of_few(
        self, x: str, name: str, weight: torch.Tensor, added: tuple[str, ...]
    ) -> str:
        blocks = self._quantized(name, weight, self._precision.bits)
        inputs = (x, *self._packed(name, blocks), *(("", "", *added) if added else ()))
        return self.node(
            "MatMulNBits", *inputs, domain=CONTRIB, K=blocks.columns, N=len(blocks.codes),
            bits=blocks.bits, block_size=blocks.block, accuracy_level=4,
        )[0]  # fmt: skip

    def _product_of_many(
        self, x: str, name: str, weight: torch.Tensor, added: tuple[str, ...]
    ) -> str:
        # Signed codes, for which the runtime has its fastest kernels. On processors without dot
        # products of 8-bit integers these overflow; see `processor.signed_is_exact`.
        if self._precision.bits == 8:
            rounded = quantize_rows(_array(weight))
            codes = self._tensor(f"{name}.codes", rounded.codes.T)
            scales = self._tensor(f"{name}.scales", rounded.scales)
        else:
            blocks = self._quantized(name, weight, self._precision.bits)
            codes, scales = self._requantized(self._unpacked(name, blocks))
        # One for each: where the runtime makes it unsigned, it gives it a name that must be new.
        center = self._tensor(f"{name}.center", np.array(0, np.int8))
        even, sizes = self._evened(x)
        inputs = (even, codes, scales, center)
        (result,) = self.node("DynamicQuantizeMatMul", *inputs, domain=CONTRIB)
        (result,) = self.node("Mul", result, sizes)
        return self.node("Add", result, *added)[0] if added else result

    def _evened(self, x: str) -> tuple[str, str]:
        """`x` with the largest value of every position at 1, and what each was divided by.

        The runtime has one scale for all positions of a product. Whisper's states have a few
        positions many times as large as the others, which would be left with a few steps of 8 bits.
        """

        def divide() -> str:
            (absolute,) = self.node("Abs", x)
            (largest,) = self.node("ReduceMax", absolute, self.numbers(-1), keepdims=1)
            least = self._tensor("least", np.array(LEAST_SCALE, np.float32))
            (self._made[sizes],) = self.node("Max", largest, least)
            return self.node("Div", x, self._made[sizes])[0]

        sizes = f"{x} sizes"
        return self._once(f"{x} evened", divide), self._made[sizes]

    def _unpacked(self, name: str, blocks: Blocks) -> str:
        """The float matrix `(rows, columns)` of 4-bit blocks; constant, so computed on load."""
        rows, count, half = blocks.codes.shape
        (pairs,) = self.node(
            "Reshape", self._codes(name, blocks), self.numbers(rows, count, half, 1)
        )
        sixteen = self._tensor("sixteen", np.array(16, np.uint8))
        (low,), (high,) = self.node("Mod", pairs, sixteen), self.node("Div", pairs, sixteen)
        (codes,) = self.node("Concat", low, high, axis=3)
        (codes,) = self.node("Cast", codes, to=TensorProto.FLOAT)
        (codes,) = self.node("Sub", codes, self._tensor("eight", np.array(8, np.float32)))
        (codes,) = self.node("Reshape", codes, self.numbers(rows, count, 2 * half))
        (scales,) = self.node("Reshape", self._scales(name, blocks), self.numbers(rows, count, 1))
        (values,) = self.node("Mul", codes, scales)
        (values,) = self.node("Reshape", values, self.numbers(rows, count * 2 * half))
        ends = self.numbers(blocks.columns)
        return self.node("Slice", values, self.numbers(0), ends, self.numbers(1))[0]

    def _requantized(self, matrix: str) -> tuple[str, str]:
        """What `quantize_rows` does, as constants that are computed on load; codes transposed."""
        (sizes,) = self.node("Abs", matrix)
        (largest,) = self.node("ReduceMax", sizes, self.numbers(1), keepdims=1)
        (scales,) = self.node("Div", largest, self._tensor("top", np.array(127, np.float32)))
        least = self._tensor("least", np.array(LEAST_SCALE, np.float32))
        (scales,) = self.node("Max", scales, least)
        (codes,) = self.node("Div", matrix, scales)
        (codes,) = self.node("Round", codes)
        (codes,) = self.node("Cast", codes, to=TensorProto.INT8)
        (codes,) = self.node("Transpose", codes, perm=(1, 0))
        return codes, self.node("Reshape", scales, self.numbers(-1))[0]

    def _quantized(self, name: str, weight: torch.Tensor, bits: int) -> Blocks:
        """A table that is a product's weight as well is stored once, as it was first."""
        if name not in self._blocks:
            self._blocks[name] = quantize(_array(weight), bits, self._precision.block)
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
        bounds = [self._tensor(f"float_{i}", np.array(i, np.float32)) for i in (0, length, 1)]
        (places,) = self.node("Range", *bounds)
        (column,) = self.node("Reshape", places, self.numbers(length, 1))
        (angles,) = self.node("Mul", column, self._tensor(f"{name}.rates", rates))
        (sine,), (cosine,) = self.node("Sin", angles), self.node("Cos", angles)
        return self.node("Concat", sine, cosine, axis=1)[0]


def _array(tensor: torch.Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().to("cpu", torch.float32).numpy()
    return array
