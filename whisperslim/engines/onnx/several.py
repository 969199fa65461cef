"""Several segments at once in ONNX Runtime: each by itself, on the processor's cores.

The graphs take one segment, and their 8-bit products scale a whole input by one number: in a batch,
a text would depend on the others in it. But a step of a decoder is too small for two cores, so two
segments, each on its own, are heard faster side by side than one after the other.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime

from whisperslim.engines.windowed import Heard
from whisperslim.machine.cores import usable_cores

Hear = Callable[[np.ndarray, float, str], Heard]


def at_once(session: onnxruntime.InferenceSession) -> int:
    """How many segments are heard side by side: as many as the session may use threads."""
    asked: int = session.get_session_options().intra_op_num_threads
    return asked or usable_cores()


def heard_side_by_side(
    hear: Hear, given: Sequence[np.ndarray], seconds: Sequence[float], language: str, most: int
) -> list[Heard]:
    """What `hear` gives for each, `most` of them at once. Raises the first error in their order."""
    workers = min(most, len(given))
    if workers < 2:
        pairs = zip(given, seconds, strict=True)
        return [hear(each, length, language) for each, length in pairs]
    with ThreadPoolExecutor(workers, "side by side") as pool:
        return list(pool.map(lambda each, length: hear(each, length, language), given, seconds))
