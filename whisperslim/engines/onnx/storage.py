"""How numbers are stored in a quantized graph: blocks of few bits with a half-precision scale.

A block is a run of consecutive inputs of one output. Its values are whole multiples of its scale,
centered, so that zero stays exactly zero: `value = (code - 2 ** (bits - 1)) * scale`. That is the
layout of ONNX Runtime's `MatMulNBits` and `GatherBlockQuantized`. Whole rows of 8 bits, signed and
one scale for all inputs of an output, are what its `DynamicQuantizeMatMul` is fastest with.
"""

from dataclasses import dataclass

import numpy as np

# Clipping the largest value of a block costs less than the others gain; the best of these shares of
# it is taken, block by block, by squared error. Our choice of steps.
_SHARES = np.linspace(0.70, 1.05, 15)
# With 8 bits this gains nothing.
_SEARCHED_BITS = 4
_ROWS_AT_ONCE = 4096
# The scale of a row of zeros.
LEAST_SCALE = 1e-12


@dataclass(frozen=True)
class Blocks:
    """A quantized matrix `(rows, columns)`.

    Attributes:
        codes: uint8 `(rows, blocks, block * bits / 8)`; of two 4-bit codes the first is low.
        scales: float16 `(rows, blocks)`.
        columns: Of the matrix; the last block is padded with codes of zero.
        bits: Per code, 4 or 8.
        block: Columns a scale is for.
    """

    codes: np.ndarray
    scales: np.ndarray
    columns: int
    bits: int
    block: int


@dataclass(frozen=True)
class Rows:
    """A matrix of int8 `codes` `(rows, columns)`, and float32 `scales` `(rows,)`."""

    codes: np.ndarray
    scales: np.ndarray


def quantize_rows(weight: np.ndarray) -> Rows:
    """The rows of a float32 matrix `(rows, columns)`, the largest of each at 127 steps."""
    scales = np.maximum(np.abs(weight).max(1) / np.float32(127), np.float32(LEAST_SCALE))
    return Rows(np.rint(weight / scales[:, None]).astype(np.int8), scales)


def quantize(weight: np.ndarray, bits: int, block: int) -> Blocks:
    """The blocks of a float32 matrix `(rows, columns)`."""
    rows, columns = weight.shape
    padded = np.pad(weight, ((0, 0), (0, -columns % block))).reshape(rows, -1, block)
    parts = [padded[i : i + _ROWS_AT_ONCE] for i in range(0, rows, _ROWS_AT_ONCE)]
    scales = np.concatenate([_scales(part, bits) for part in parts])
    codes = _codes(padded, scales.astype(np.float32)[..., None], bits)
    shifted = (codes + 2 ** (bits - 1)).astype(np.uint8)
    packed = shifted if bits == 8 else shifted[..., ::2] | (shifted[..., 1::2] << 4)
    return Blocks(packed, scales, columns, bits, block)


def _codes(values: np.ndarray, scales: np.ndarray, bits: int) -> np.ndarray:
    top = 2 ** (bits - 1)
    inverse = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales != 0)
    return np.clip(np.rint(values * inverse), -top, top - 1)


def _scales(values: np.ndarray, bits: int) -> np.ndarray:
    """Signed, so that the largest value of a block takes the one extra code below zero."""
    at = np.abs(values).argmax(-1)[..., None]
    full = np.take_along_axis(values, at, -1) / -(2 ** (bits - 1))
    best = full.astype(np.float16)
    if bits > _SEARCHED_BITS:
        return best[..., 0]
    least = np.full(full.shape, np.inf, np.float32)
    for share in _SHARES:
        scales = (full * share).astype(np.float16)
        used = scales.astype(np.float32)
        error = np.square(_codes(values, used, bits) * used - values).sum(-1, keepdims=True)
        best = np.where(error < least, scales, best)
        least = np.minimum(error, least)
    return best[..., 0]
