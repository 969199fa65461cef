"""Several segments at once in ONNX Runtime: each by itself, on the processor's cores.

The graphs take one segment, and their 8-bit products scale a whole input by one number: in a batch,
a text would depend on the others in it. But a step of a decoder is too small for two cores, so two
segments, each on its own, are heard faster side by side than one after the other.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime

from whisperslim.engines.windowed import Heard, WindowedTranscriber
from whisperslim.machine.cores import usable_cores

Hear = Callable[[np.ndarray, float, str], Heard]


class SideBySide(WindowedTranscriber):
    """An engine that hears several segments side by side."""

    @property
    @abstractmethod
    def session(self) -> onnxruntime.InferenceSession:
        """The one whose steps are small."""

    @property
    def at_once(self) -> int:
        """As many as the session may use threads."""
        asked: int = self.session.get_session_options().intra_op_num_threads
        return asked or usable_cores()

    def hear_many(
        self, given: Sequence[np.ndarray], seconds: Sequence[float], language: str
    ) -> list[Heard]:
        """As `WindowedTranscriber.hear_many`, side by side."""
        return heard_side_by_side(self.hear, given, seconds, language, self.at_once)


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
