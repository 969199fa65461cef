"""Size of a model that is not made yet, from numbers alone: what a slider shows as it moves.

Imports nothing heavy, so the app can start without torch.
"""

from dataclasses import dataclass

from whisperslim.errors import UsageError


@dataclass(frozen=True)
class ExpectedSize:
    """Arithmetic, not a measurement.

    Attributes:
        parameters: What is left, zeroed elements included: they keep their place.
        removed: Elements cut out.
        zeroed: Elements set to zero where they stand; they make nothing smaller.
        bytes: Weights on disk, without the file's header of some kilobytes.
        dense_bytes: The dense model's in the same number format.
    """

    parameters: int
    removed: int
    zeroed: int
    bytes: int
    dense_bytes: int


def expected_size(
    dense_parameters: int,
    prunable: int,
    removed: float,
    bytes_per_parameter: int = 2,
    zeroed: float = 0.0,
) -> ExpectedSize:
    """Size after cutting out a share of the prunable weights.

    Args:
        dense_parameters: All parameters of the dense model, tied ones counted once.
        prunable: Those in prunable matrices: the denominator of `removed` and `zeroed`.
        removed: Share of `prunable` that is cut out.
        bytes_per_parameter: 2 for float16, 4 for float32.
        zeroed: Share of `prunable` set to zero where it stands.

    A cut removes whole units, so the real model overshoots by less than one unit; and the biases
    of removed units go too, which is not counted here (0.1 % of what is cut from Whisper-base).

    Raises:
        UsageError: for shares outside 0 to 1, together or apart, or counts that make no sense.
    """
    if not (removed >= 0.0 and zeroed >= 0.0 and removed + zeroed <= 1.0):
        raise UsageError(
            f"removed {removed} and zeroed {zeroed}: shares of the prunable weights, each 0 to 1 "
            "and at most 1 together"
        )
    if not (0 < prunable <= dense_parameters and bytes_per_parameter > 0):
        raise UsageError(
            f"{prunable} prunable of {dense_parameters} parameters with {bytes_per_parameter} "
            "bytes each: counts must be positive, and prunable at most all"
        )
    gone = round(removed * prunable)
    left = dense_parameters - gone
    return ExpectedSize(
        parameters=left,
        removed=gone,
        zeroed=round(zeroed * prunable),
        bytes=left * bytes_per_parameter,
        dense_bytes=dense_parameters * bytes_per_parameter,
    )
