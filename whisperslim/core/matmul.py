"""Which library multiplies float32 matrices on the processor: torch's own choice, or oneDNN.

On x86, torch gives them to MKL. It gives them to oneDNN when it may compute them in bfloat16
(`torch.backends.mkldnn.matmul.fp32_precision = "bf16"`), and oneDNN then does so only where the
processor has bfloat16 kernels of its kind, which means AMX. Elsewhere it computes in float32, and
on AMD faster than MKL does. There is no setting for "oneDNN, in float32".

So it is decided by measuring, not by the maker's name: which processors have the kernels and which
library is slower differ with the model, the virtual machine's mask of it and torch's version, and
what is measured cannot be out of date. The error is measured first, and is unambiguous: bfloat16 is
wrong by some 2e-3, TensorFloat32 by 3e-4, float32 by less than 1e-6. On a processor with AMX,
`ONEDNN_MAX_CPU_ISA=AVX512_CORE_FP16` in the environment makes oneDNN compute in float32, and then
it may be chosen; there MKL was as fast.

The narrow setting is used, not `torch.set_float32_matmul_precision`, which would also allow
TensorFloat32 on a GPU. It holds for the whole process, for every thread.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

STOCK = "stock"
ONEDNN = "oneDNN"
LIBRARIES = (STOCK, ONEDNN)

LEAST_GAIN = 1.1  # times as fast; less is lost in the noise of timing
MOST_ERROR = 4.0  # times stock's; another order of summing costs up to 2
_SECONDS = 0.3  # of timing
_LEAST_ROUNDS = 3  # on a processor that is too slow for more

_PRECISION: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
_STOCK_WORDS = "float32 products with torch's default library"
_SETTINGS = {STOCK: "none", ONEDNN: "bf16"}

Kernel = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Two float32 matrices, or batches of them, to their product."""


@dataclass(frozen=True)
class MatmulChoice:
    """Which library a process multiplies with, and why.

    Attributes:
        library: One of `LIBRARIES`.
        ratio: Stock's time over oneDNN's, geometric mean over the products; None if not timed.
        error: Root mean square error of oneDNN against float64, relative to the product's root
            mean square, the largest of all products; None if not computed.
        stock_error: The same of stock.
        why: One sentence for people.
    """

    library: str
    ratio: float | None
    error: float | None
    stock_error: float | None
    why: str

    def to_record(self) -> dict[str, Any]:
        """As `from_record` takes it."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "MatmulChoice":
        """Raises `TypeError` when the fields are others than `to_record` writes."""
        return cls(**record)


def stock_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """`left @ right` by torch's own choice of library."""
    with setting(STOCK):
        return left @ right


def onednn_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """`left @ right` by oneDNN where it can, in whatever precision it then uses."""
    with setting(ONEDNN):
        return left @ right


KERNELS: Mapping[str, Kernel] = {STOCK: stock_product, ONEDNN: onednn_product}


def choose(
    kernels: Mapping[str, Kernel] = KERNELS, clock: Callable[[], float] = time.perf_counter
) -> MatmulChoice:
    """Measure both libraries and take oneDNN if it is float32 and `LEAST_GAIN` times as fast.

    Takes about half a second with the threads set now, and leaves torch's generator alone. While
    it measures, the setting of the whole process changes: nothing else should compute meanwhile.
    `kernels` has one for each of `LIBRARIES`; `clock` gives seconds.
    """
    products = _products()
    errors = _errors(kernels, products)
    if refused := _refusal(errors):
        return MatmulChoice(
            STOCK, None, errors[ONEDNN], errors[STOCK], f"{_STOCK_WORDS}: {refused}"
        )
    if errors[ONEDNN] == errors[STOCK]:
        why = f"{_STOCK_WORDS}: the other setting does not change a bit here"
        return MatmulChoice(STOCK, None, errors[ONEDNN], errors[STOCK], why)
    ratio = _ratio(kernels, products, clock)
    exact = f"(error {errors[ONEDNN]:.1e}, that of torch's own choice {errors[STOCK]:.1e})"
    if ratio >= LEAST_GAIN:
        why = f"float32 products by oneDNN, {ratio:.2f} times as fast here and as exact {exact}"
        return MatmulChoice(ONEDNN, ratio, errors[ONEDNN], errors[STOCK], why)
    why = (
        f"{_STOCK_WORDS}: oneDNN is as exact here but {ratio:.2f} times as fast, and less than "
        f"{LEAST_GAIN} is not worth it"
    )
    return MatmulChoice(STOCK, ratio, errors[ONEDNN], errors[STOCK], why)


def keep(begun: MatmulChoice, kernels: Mapping[str, Kernel] = KERNELS) -> MatmulChoice:
    """What a run began with, on perhaps another processor; stock where oneDNN is not float32."""
    if begun.library == STOCK:
        return begun
    errors = _errors(kernels, _products())
    refused = _refusal(errors)
    if not refused:
        return begun
    why = f"the run began with products by oneDNN and cannot continue bit for bit: {refused}"
    return MatmulChoice(STOCK, None, errors[ONEDNN], errors[STOCK], why)


def refusal(kernels: Mapping[str, Kernel] = KERNELS) -> str:
    """Why oneDNN does not compute float32 products in float32 here; "" where it does."""
    return _refusal(_errors(kernels, _products()))


def _refusal(errors: Mapping[str, float]) -> str:
    # A product that is not a number compares false, too.
    if errors[ONEDNN] <= MOST_ERROR * errors[STOCK]:
        return ""
    return (
        "on this processor oneDNN does not compute float32 products in float32 "
        f"(error {errors[ONEDNN]:.1e} against {errors[STOCK]:.1e})"
    )


def _products() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Products of Whisper-base: forward and backward of a feed-forward layer, attention, tokens."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    rows, wide, weight = draw(256, 512), draw(256, 2048), draw(2048, 512)
    return [
        (rows, weight.t()),
        (wide, weight),
        (wide.t(), rows),
        (draw(8, 256, 64), draw(8, 256, 64).transpose(1, 2)),
        (draw(1, 512), weight.t()),
        (draw(1, 512), draw(4096, 512).t()),
    ]


def _errors(
    kernels: Mapping[str, Kernel], products: list[tuple[torch.Tensor, torch.Tensor]]
) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in kernels}
    for left, right in products:
        exact = left.double() @ right.double()
        for name, kernel in kernels.items():
            squares = (kernel(left, right).double() - exact).square().mean()
            found[name].append(math.sqrt(float(squares / exact.square().mean())))
    # Not Python's `max`, which may pass over what is not a number.
    return {name: float(np.max(each)) for name, each in found.items()}


def _ratio(
    kernels: Mapping[str, Kernel],
    products: list[tuple[torch.Tensor, torch.Tensor]],
    clock: Callable[[], float],
) -> float:
    """In turn, the least time of several: what else runs only adds to a time."""
    best = {name: [math.inf] * len(products) for name in kernels}
    began, rounds = clock(), 0
    while rounds < _LEAST_ROUNDS or clock() - began < _SECONDS:
        rounds += 1
        for place, (left, right) in enumerate(products):
            for name, kernel in kernels.items():
                started = clock()
                kernel(left, right)
                best[name][place] = min(best[name][place], clock() - started)
    ratios = [stock / onednn for stock, onednn in zip(best[STOCK], best[ONEDNN], strict=True)]
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def current() -> str:
    """The library this process multiplies with now."""
    return ONEDNN if _PRECISION.fp32_precision == _SETTINGS[ONEDNN] else STOCK


@contextmanager
def setting(library: str) -> Iterator[None]:
    """Multiply with a library inside the block, whatever its precision; then as before."""
    before = _PRECISION.fp32_precision
    _PRECISION.fp32_precision = _SETTINGS[library]
    try:
        yield
    finally:
        _PRECISION.fp32_precision = before


class _Process:
    """What this process has decided. A second thread that asks waits for the first's answer."""

    def __init__(self) -> None:
        self.choice: MatmulChoice | None = None
        self.lock = threading.RLock()


_PROCESS = _Process()


def decided() -> MatmulChoice:
    """This process's choice, in force from now on; measured at the first call.

    Ask before computing anything, and after the threads are set.
    """
    with _PROCESS.lock:
        return _PROCESS.choice or take(choose())


def take(choice: MatmulChoice) -> MatmulChoice:
    """Make a choice that of this process, as a run does that goes on with what it began with."""
    with _PROCESS.lock:
        _PRECISION.fp32_precision = _SETTINGS[choice.library]
        _PROCESS.choice = choice
        return choice


@contextmanager
def pinned(library: str) -> Iterator[None]:
    """A library is this process's choice inside the block, unmeasured; for tests, benchmarks."""
    before = _PROCESS.choice
    with setting(library):
        _PROCESS.choice = MatmulChoice(library, None, None, None, "pinned")
        try:
            yield
        finally:
            _PROCESS.choice = before
