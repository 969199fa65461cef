"""What `pip install whisperslim` takes without extras: disk, memory, and time to the first text.

    python -m benchmarks.systems.light                    all of it
    python -m benchmarks.systems.light --part seconds     only that; the rest of the record stays

`size`, `memory` and `peers`, the environments of other systems, are the same beside other work;
`seconds` needs a machine that does nothing else. Each but `peers` is measured in a new environment,
made of a wheel of this checkout and the releases of requirements.txt, with the slim model in the
box.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile

from benchmarks.shared.provenance import RESULTS, median_and_range, provenance, write_result
from whisperslim.boxed import find_boxed
from whisperslim.machine.places import ASSETS
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.decoding import decode

NAME = "light"
MODEL = "whisperslim/base-hi"
_ROOT = Path(__file__).parents[2]
_CLIP_SECONDS = 5
# The kernel counts what a process held before it became another program as the other's. This one
# has torch in memory, so a small process starts what is measured, and prints its peak in bytes.
_PEAK = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(child, 0)
print(used.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""
# What others ask to be installed for Whisper alone; torch is the build for processors alone.
_PEERS = {
    "faster-whisper": ("faster-whisper",),
    "transformers": ("torch==2.13.0", "transformers"),
    "whisper.cpp (pywhispercpp)": ("pywhispercpp",),
}
_IN_PYTHON = f"""
import sys
from whisperslim import runtime
model = runtime.load({MODEL!r})
for clip in sys.argv[1:]:
    print(model.transcribe(clip).text, flush=True)
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the package in it.

    Attributes:
        folder: Of the environment.
        own: Packages that were there before.
    """

    folder: Path
    own: frozenset[str]

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "bin" / "python")

    @property
    def command(self) -> str:
        """Its `whisperslim`."""
        return str(self.folder / "bin" / "whisperslim")

    def packages(self) -> list[Distribution]:
        """What was installed, in no order."""
        return [
            each for each in distributions(path=_site(self.folder)) if each.name not in self.own
        ]


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", action="append", choices=PARTS, help="all unless named")
    parser.add_argument("--repeats", type=int, default=9, help="of the time to the first text")
    arguments = parser.parse_args()
    file = RESULTS / f"{NAME}.json"
    record = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    with TemporaryDirectory() as place:
        environment = make_environment(Path(place))
        versions = {each.name: each.version for each in environment.packages()}
        for part in arguments.part or PARTS:
            found = PARTS[part](environment, Path(place), arguments.repeats)
            # The packages are those that were measured, not those that measure.
            record[part] = {**found, **provenance(threads=0), "packages": versions}
            print(part, json.dumps(found, ensure_ascii=False), flush=True)
    print(write_result(NAME, record))


def make_environment(place: Path) -> Environment:
    """A new environment below `place` with a wheel of this checkout, without extras."""
    wheel = ("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir")
    _quiet([sys.executable, "-m", "pip", *wheel, str(place / "dist"), str(_ROOT)])
    made = _empty_environment(place / "environment")
    (built,) = (place / "dist").iterdir()
    pins = str(_ROOT / "requirements.txt")
    _quiet([made.python, "-m", "pip", "install", "--constraint", pins, str(built)])
    return made


def _empty_environment(folder: Path) -> Environment:
    venv.create(folder, with_pip=True)
    made = Environment(folder, frozenset())
    return Environment(folder, frozenset(each.name for each in made.packages()))


def bytes_of(package: Distribution) -> int:
    """Of its files on disk, compiled ones included."""
    files = [Path(str(package.locate_file(each))) for each in package.files or ()]
    return sum(file.stat().st_size for file in files if file.is_file())


def peak_of(words: Sequence[str]) -> int:
    """The most bytes that a command's process has resident (Linux: `ru_maxrss`)."""
    return int(_output([sys.executable, "-I", "-S", "-c", _PEAK, *words]).splitlines()[-1])


def seconds_to_text(words: Sequence[str]) -> float:
    """From the start of a process to the first line that it writes."""
    started = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=_variables()) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - started
        process.stdout.read()
    if process.returncode or not line.strip():
        raise SystemExit(f"{words[0]} ended with exit code {process.returncode} and wrote {line!r}")
    return seconds


def _size(environment: Environment, place: Path, repeats: int) -> dict[str, Any]:
    sizes = {each.name: bytes_of(each) for each in environment.packages()}
    model = find_boxed(MODEL)
    assert model is not None
    return {
        "bytes": sum(sizes.values()),
        "of_the_model": sum(file.stat().st_size for file in model.path.iterdir()),
        "by_package": dict(sorted(sizes.items(), key=lambda item: item[1], reverse=True)),
    }


def _memory(environment: Environment, place: Path, repeats: int) -> dict[str, Any]:
    clips = _clips()
    each = [peak_of(_asked(environment, [clip])) for clip in clips]
    return {
        "clips": len(clips),
        "audio_seconds": sum(len(decode(Path(clip))) for clip in clips) / SAMPLE_RATE,
        "transcribe": median_and_range([float(peak) for peak in each]),
        "transcribe_all": peak_of(_asked(environment, clips)),
        "runtime": peak_of([environment.python, "-c", _IN_PYTHON, *clips]),
    }


def _seconds(environment: Environment, place: Path, repeats: int) -> dict[str, Any]:
    clip = place / "clip.wav"
    longest = max((decode(Path(each)) for each in _clips()), key=len)
    silence = np.zeros(_CLIP_SECONDS * SAMPLE_RATE - len(longest), np.float32)
    soundfile.write(clip, np.concatenate([longest, silence]), SAMPLE_RATE)
    ways = {
        "transcribe": _asked(environment, [str(clip)]),
        "runtime": [environment.python, "-c", _IN_PYTHON, str(clip)],
    }
    # The first of each is for the disk's cache.
    times = {way: [seconds_to_text(words) for _ in range(repeats + 1)][1:]
             for way, words in ways.items()}  # fmt: skip
    return {
        "clip_seconds": _CLIP_SECONDS,
        "speech_seconds": len(longest) / SAMPLE_RATE,
        **{way: median_and_range(values) for way, values in times.items()},
    }


def _peers(environment: Environment, place: Path, repeats: int) -> dict[str, Any]:
    found = {}
    for name, wanted in _PEERS.items():
        made = _empty_environment(place / name.split()[0])
        _quiet([made.python, "-m", "pip", "install", *wanted])
        packages = made.packages()
        found[name] = {
            "bytes": sum(bytes_of(each) for each in packages),
            "installed": {each.name: each.version for each in packages},
        }
    return found


PARTS: dict[str, Callable[[Environment, Path, int], dict[str, Any]]] = {
    "size": _size,
    "memory": _memory,
    "seconds": _seconds,
    "peers": _peers,
}


def _asked(environment: Environment, clips: Sequence[str]) -> list[str]:
    return [environment.command, "transcribe", "--model", MODEL, *clips]


def _clips() -> list[str]:
    return sorted(str(file) for file in (ASSETS / "demo_hi" / "audio").iterdir())


def _site(folder: Path) -> list[str]:
    return [str(each) for each in folder.glob("lib/python*/site-packages")]


def _variables() -> dict[str, str]:
    """Without what would have another checkout imported, or other thread numbers."""
    unwanted = ("PYTHON", "WHISPERSLIM_", "OMP_", "MKL_", "OPENBLAS_NUM")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}


def _output(words: Sequence[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, env=_variables(), check=False)
    if done.returncode:
        raise SystemExit(f"{words[0]} ended with exit code {done.returncode}: {done.stderr}")
    return done.stdout


def _quiet(words: Sequence[str]) -> None:
    _output(words)


if __name__ == "__main__":
    main()
