"""How long a user waits: importing the package, and the app's first answer.

python -m benchmarks.app.startup
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.app.served import served
from benchmarks.shared.provenance import median_and_range, provenance, timed, write_result


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
    with TemporaryDirectory() as runs:
        started = time.perf_counter()
        with served(Path(runs)):
            return time.perf_counter() - started


if __name__ == "__main__":
    main()
