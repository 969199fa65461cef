"""How long a person waits: importing the package, and the app's first answer.

python -m benchmarks.startup
"""

import argparse
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from tempfile import TemporaryDirectory

from benchmarks.provenance import median_and_range, provenance, timed, write_result

GIVE_UP_SECONDS = 60.0


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    imports = [timed(_import) for _ in range(repeats + 1)][1:]
    answers = [_first_answer() for _ in range(repeats + 1)][1:]
    record = {
        "what": "seconds of wall time in fresh processes",
        "import_whisperslim": median_and_range(imports),
        "app_answers": median_and_range(answers),
        **provenance(threads=0),
    }
    print(write_result("startup", record))


def _import() -> None:
    subprocess.run([sys.executable, "-c", "import whisperslim"], check=True)


def _first_answer() -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with TemporaryDirectory() as runs:
        started = time.perf_counter()
        app = subprocess.Popen(
            [sys.executable, "-m", "whisperslim", "ui", "--port", str(port), "--runs", runs],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/", started)
            return time.perf_counter() - started
        finally:
            app.terminate()
            app.wait()


def _wait_for(address: str, started: float) -> None:
    while time.perf_counter() - started < GIVE_UP_SECONDS:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise TimeoutError(f"no answer from {address} in {GIVE_UP_SECONDS} s")


if __name__ == "__main__":
    main()
