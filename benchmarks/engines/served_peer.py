"""One system behind our server, in a process of its own: ours as it is, or another's library.

    python -m benchmarks.engines.served_peer KIND PATH PORT --options '{"compute_type": "int8"}'

So what is compared is transcribing, and not receiving.
"""

import argparse
import json
from dataclasses import dataclass

import numpy as np

from benchmarks.systems.opening import Opened, System, open_system
from whisperslim.engines.base import EngineSize
from whisperslim.engines.opening import open_transcriber
from whisperslim.engines.windowed import Heard, WindowedTranscriber
from whisperslim.inputs import InputSpec
from whisperslim.server.app import Bounds
from whisperslim.server.serve import Place, run, service_of
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.window import WindowPolicy, hearing_window

OURS = "whisperslim"
_HOUR = InputSpec("samples", 0, 360_000)  # it makes its own cuts


@dataclass(frozen=True)
class Peer(WindowedTranscriber):
    """A system of `benchmarks.systems` as an engine of ours. Its language was given at opening."""

    opened: Opened
    language: str
    window: WindowPolicy

    @property
    def name(self) -> str:
        """What the table says of it."""
        return self.opened.describe

    @property
    def input_spec(self) -> InputSpec:
        """The sound itself."""
        return _HOUR

    def size(self) -> EngineSize:
        """Bytes on disk; it reports nothing else."""
        return EngineSize(0, self.opened.bytes_on_disk, 0, 0)

    def check_language(self, language: str) -> None:
        """Raise `ValueError` for another than it was opened for."""
        if language != self.language:
            raise ValueError(f"opened for {self.language}, asked for {language}")

    def hear(self, given: np.ndarray, seconds: float, language: str) -> Heard:
        """As the system does."""
        found = self.opened.listen(given[: round(seconds * SAMPLE_RATE)])
        return Heard(found.text, found.tokens or 0)

    def describe_decoding(self) -> str:
        """As `benchmarks.systems.opening` says."""
        return "greedy, language given"


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", help=f"{OURS}, or a kind of benchmarks.systems.opening")
    parser.add_argument("path", help="folder of the weights")
    parser.add_argument("port", type=int)
    parser.add_argument("--options", default="{}", help="of that kind, as JSON")
    parser.add_argument("--language", default="hi")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--waiting", type=int, default=32)
    asked = parser.parse_args()
    options = json.loads(asked.options)
    if asked.kind == OURS:
        window = hearing_window(options.get("window", "fit"))
        engine = open_transcriber(asked.path, window, asked.threads)
    else:
        system = System(asked.kind, asked.path, options)
        opened = open_system(system, asked.language, asked.threads)
        engine = Peer(opened, asked.language, WindowPolicy())
    where = Place(port=asked.port)
    bounds = Bounds(language=asked.language, waiting=asked.waiting)
    run(service_of({"m": engine}, where, bounds), where)


if __name__ == "__main__":
    main()
