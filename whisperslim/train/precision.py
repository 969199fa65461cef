"""The arithmetic of training: float32, or bfloat16 under autocast where the hardware has it.

On a CPU with AVX512-BF16 or AMX a training step of Whisper-base takes well under half the time in
bf16; on one without, PyTorch emulates it, tens of times slower than float32
(pytorch/pytorch#146508). So it is asked for, never guessed. Weights, gradients and the optimizer
stay float32 in both.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from whisperslim.errors import DeviceError

CHOICES = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Precision:
    """`name` is `fp32` or `bf16`; `why` is a clause for people."""

    name: str
    why: str

    def autocast(self, device: torch.device) -> AbstractContextManager:
        """The block in which forward passes are computed."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)


FP32 = Precision("fp32", "as asked for")


def choose_precision(wanted: str, device: str) -> Precision:
    """The precision for `wanted`, one of `CHOICES`, on `cpu` or `cuda`.

    Raises:
        DeviceError: when bf16 is asked for by name where it is only emulated.
    """
    if wanted == "fp32":
        return FP32
    lacking = bf16_lacking(device)
    if wanted == "bf16":
        if lacking:
            raise DeviceError(f"precision bf16 cannot be used: {lacking}; use fp32, or auto")
        return Precision("bf16", "as asked for")
    if lacking:
        return Precision("fp32", lacking)
    unit = "GPU" if device == "cuda" else "processor"
    return Precision("bf16", f"this {unit} computes in it faster than in fp32")


def bf16_lacking(device: str) -> str:
    """Why bf16 does not pay on `device`, a clause; empty when it does."""
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "" if native else "this GPU has no native bf16 arithmetic"
    # Private names, but there are no public ones that cover both.
    if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return ""
    return "this processor has neither AVX512-BF16 nor AMX, and would only emulate bf16"
