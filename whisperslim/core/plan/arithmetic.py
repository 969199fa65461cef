"""Size of a model that is not made yet, from numbers alone: what a slider shows as it moves.

Imports nothing heavy, so the app can start without torch.
"""

import math
from dataclasses import dataclass

from whisperslim.errors import UsageError

MOST_PRUNED = 0.95
"""Most that may be removed and zeroed together, of the prunable weights (our choice): beyond it,
every group is at its last unit."""
_ROUNDING = 1e-9  # of two shares that were written down as decimals


@dataclass(frozen=True)
class ExpectedSize:
    """Arithmetic, not a measurement.

    Attributes:
        parameters: What is left, zeroed elements included: they keep their place.
        removed: Elements cut out.
        zeroed: Elements set to zero where they stand: a smaller file, no less memory or time.
        bytes: Weights on disk, without the file's header of some kilobytes; zeros as
            `stored_bytes` has it, as if every prunable matrix had the same share of them.
        dense_bytes: The dense model's in the same number format.
        tokens: Elements of the embedding that go with tokens of the vocabulary.
    """

    parameters: int
    removed: int
    zeroed: int
    bytes: int
    dense_bytes: int
    tokens: int = 0


def stored_bytes(elements: int, zeros: int, bytes_each: int) -> int:
    """Data bytes of `elements` weights of which `zeros` are zero: dense or sparse, the smaller.

    Sparse is one bit for each element and the values that are not zero, so it pays from a share of
    1 / (8 * bytes_each): 1/16 of float16.
    """
    sparse = -(-elements // 8) + (elements - zeros) * bytes_each
    return min(elements * bytes_each, sparse)


def rounded_down(limit: float) -> float:
    """The largest share that may be asked for, to four digits: rounded up, it would be refused."""
    return math.floor(limit * 10_000) / 10_000


def too_much(removed: float, zeroed: float) -> str:
    """What is wrong with two shares of the prunable weights that are each valid; "" for nothing."""
    if removed + zeroed <= MOST_PRUNED + _ROUNDING:
        return ""
    return (
        f"{removed:g} removed and {zeroed:g} zeroed is over {MOST_PRUNED} together; lower one of "
        "them"
    )


def expected_size(
    dense_parameters: int,
    prunable: int,
    removed: float,
    bytes_per_parameter: int = 2,
    zeroed: float = 0.0,
    tokens: int = 0,
) -> ExpectedSize:
    """Size after cutting out a share of the prunable weights.

    Args:
        dense_parameters: All parameters of the dense model, tied ones counted once.
        prunable: Those in prunable matrices: the denominator of `removed` and `zeroed`.
        removed: Share of `prunable` that is cut out.
        bytes_per_parameter: 2 for float16, 4 for float32.
        zeroed: Share of `prunable` set to zero where it stands.
        tokens: Elements of the embedding that go with tokens of the vocabulary: their number
            times the model's width. They are not prunable weights and count beside `removed`.

    A cut removes whole units, so the real model overshoots by less than one unit; and the biases
    of removed units go too, which is not counted here (0.1 % of what is cut from Whisper-base).

    Raises:
        UsageError: for shares outside 0 to `MOST_PRUNED`, together or apart, or counts that make no
            sense.
    """
    for name, share in (("removed", removed), ("zeroed", zeroed)):
        if not 0.0 <= share <= MOST_PRUNED:
            raise UsageError(f"{name}: {share:g} is outside 0 to {MOST_PRUNED}; change it")
    if problem := too_much(removed, zeroed):
        raise UsageError(problem)
    if not (0 < prunable <= dense_parameters - tokens and tokens >= 0 and bytes_per_parameter > 0):
        raise UsageError(
            f"{prunable} prunable and {tokens} of tokens that go, of {dense_parameters} parameters "
            f"with {bytes_per_parameter} bytes each: counts must be positive, and not over all"
        )
    gone = round(removed * prunable)
    left, zeros = dense_parameters - gone - tokens, round(zeroed * prunable)
    matrices = stored_bytes(prunable - gone, zeros, bytes_per_parameter)
    return ExpectedSize(
        parameters=left,
        removed=gone,
        zeroed=zeros,
        bytes=(dense_parameters - tokens - prunable) * bytes_per_parameter + matrices,
        dense_bytes=dense_parameters * bytes_per_parameter,
        tokens=tokens,
    )
