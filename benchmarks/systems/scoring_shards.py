"""Memory and time of scoring a very large set in shards, all but the listening.

    python -m benchmarks.systems.scoring_shards --rows 1000000 --shards 50

The manifest is made up: sentences of Hindi words, and transcripts with one word in five wrong. One
shard is scored in full; the others are filled with its rows under other keys, so that all rows are
merged. Each step is a process of its own, whose memory is what it holds beside its libraries.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from benchmarks.shared.provenance import provenance, write_result
from whisperslim.jobs.scoring.evaluation import Prepared
from whisperslim.jobs.scoring.shard import Shard, shard_number
from whisperslim.jobs.scoring.shards import merge, score_shard
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.dataset import Item, item_record, load_items
from whisperslim.train.evaluate import Heard

_TEXT = (
    "यह वह हम तुम किताब पानी घर सुबह रात हवा दिन बाज़ार हूँ हैं गए नयी सौ हज़ार लोग काम सरकार समय देश "
    "बात साल जाना करना होना लेकिन इसलिए क्योंकि अच्छा"
)
_WORDS = _TEXT.split()


@dataclass(frozen=True)
class Stub(Prepared):
    """Hears without listening."""

    def usable(self, items: Sequence[Item]) -> tuple[list[Item], dict[str, str]]:
        """All of them: there are no recordings to look at."""
        return list(items), {}

    def trained_on(self, items: Sequence[Item]) -> tuple[str, ...]:
        """None."""
        return ()

    def hear(self, items: Sequence[Item]) -> Heard:
        """Every fifth word or so is another."""
        draw = random.Random(0)
        texts = tuple(
            " ".join(draw.choice(_WORDS) if draw.random() < 0.2 else w for w in item.text.split())
            for item in items
        )
        return Heard(texts, 0.0, 0, 0.0, 5.0 * len(items), "stub", 1)


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=50)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        _measured(given.step, given.folder, given.rows, given.shards)
        return
    with tempfile.TemporaryDirectory() as folder:
        steps = {step: _in_process(step, folder, given.rows, given.shards) for step in STEPS}
    record = {
        **provenance(1),
        "rows": given.rows,
        "shards": given.shards,
        "steps": {name: steps[name] for name in ("shard", "merge")},
    }
    print(write_result("scoring_shards", record), json.dumps(record["steps"], indent=1))


def _in_process(step: str, folder: str, rows: int, shards: int) -> dict[str, float]:
    own = [sys.executable, "-m", "benchmarks.systems.scoring_shards"]
    more = ["--step", step, "--folder", folder, "--rows", str(rows), "--shards", str(shards)]
    done = subprocess.run([*own, *more], capture_output=True, text=True, check=True)
    return cast("dict[str, float]", json.loads(done.stdout))


def _measured(step: str, folder: Path, rows: int, shards: int) -> None:
    before, started, worked = _most_bytes(), time.perf_counter(), time.process_time()
    STEPS[step](folder, rows, shards)
    found = {
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - worked,
        "libraries_bytes": before,
        "peak_bytes": _most_bytes(),
    }
    print(json.dumps(found))


def _most_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _make(folder: Path, rows: int, shards: int) -> None:
    draw = random.Random(1)
    with (folder / "manifest.tsv").open("w", encoding="utf-8") as file:
        file.write("path\ttext\tspeaker\n")
        for row in range(rows):
            text = " ".join(draw.choices(_WORDS, k=draw.randint(4, 16)))
            file.write(f"audio/{row % 997:03d}/clip_{row:08d}.wav\t{text}\tspeaker{row % 5000}\n")


def _shard(folder: Path, rows: int, shards: int) -> None:
    opened: Any = SimpleNamespace(
        decoding="stub", provenance=lambda: {"model": "stub", "weights_sha256": "0" * 64}
    )
    stub = Stub(
        "stub", opened, str(folder), "hi", WindowPolicy(), folder,
        progress=lambda done, total: None, announce=lambda message: None, skip_problems=False,
        normalizers=(),
    )  # fmt: skip
    score_shard(stub, Shard(1, shards), folder / "shards")


def _fill(folder: Path, rows: int, shards: int) -> None:
    """The other shards, with the rows of the first."""
    places = folder / "shards"
    head, *scored = (places / Shard(1, shards).name).read_text("utf-8").splitlines()
    others = cycle(scored)
    with ExitStack() as stack:
        files = {}
        for number in range(2, shards + 1):
            path = places / Shard(number, shards).name
            files[number] = stack.enter_context(path.open("w", encoding="utf-8"))
            files[number].write(json.dumps({**json.loads(head), "shard": number}) + "\n")
        for place, item in enumerate(load_items(str(folder))):
            if file := files.get(shard_number(item.key, shards)):
                row = {**json.loads(next(others)), "place": place, "item": item_record(item)}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _merge(folder: Path, rows: int, shards: int) -> None:
    merged = merge(shards, folder / "shards")
    assert merged.record["n"] == rows


STEPS: dict[str, Callable[[Path, int, int], None]] = {
    "make": _make,
    "shard": _shard,
    "fill": _fill,
    "merge": _merge,
}

if __name__ == "__main__":
    main()
