"""What ONNX Runtime's integer products can do on this processor, asked of the runtime itself."""

from functools import cache

import numpy as np
import onnxruntime

SIGNED_AS_UNSIGNED = "session.x64quantprecision"
"""Option of a session: signed weights are made unsigned ones, exact on every processor, slower."""

# One `MatMulInteger` of uint8 and int8 matrices of any shape, as `onnx` writes it: that package is
# missing where exports are only run.
PROBE = bytes.fromhex(
    "080812003a3e0a180a01610a0162120163220d4d61744d756c496e74656765721201705a090a016112040a0208025a"
    "090a016212040a02080362090a016312040a02080642040a00100a"
)
_INNER, _LARGEST = 64, (255, 127)


@cache
def signed_is_exact() -> bool:
    """Whether products with signed weights keep their largest sums.

    On x86-64 without VNNI the kernels for signed weights add two products in 16 bits, and cut off
    what does not fit; elsewhere they are exact, and several times as fast as those for unsigned
    ones.
    """
    session = onnxruntime.InferenceSession(PROBE, providers=["CPUExecutionProvider"])
    unsigned, signed = _LARGEST
    given = {
        "a": np.full((2, _INNER), unsigned, np.uint8),
        "b": np.full((_INNER, 16), signed, np.int8),
    }
    found = session.run(None, given)[0]
    return bool((found == _INNER * unsigned * signed).all())
