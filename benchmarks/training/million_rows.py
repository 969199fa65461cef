"""Seconds and memory from a list of a million clips to the first batch's plan.

    python -m benchmarks.training.million_rows

The list is of the form NeMo writes: stretches of long recordings, with text, speaker and length,
made up here. Parts are what a run does with it before it trains, in that order, with
`data.lengths: listed`; a run lists and hashes twice, once to record its data and once to use it.
What `data.lengths: heard` would add is computed from the time to decode one clip.
"""

import argparse
import json
import resource
import time
import wave
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np

from benchmarks.shared.provenance import median_and_range, provenance, timed, write_result
from whisperslim.core.fetch.sources import resolve
from whisperslim.jobs.run.data_record import DATA_FILE, read_data
from whisperslim.jobs.stages.context import load_all
from whisperslim.jobs.stages.data import text_limit
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.batching import BucketedSampler
from whisperslim.speech.corpus.dataset import hold_out, load_items, manifest_hash
from whisperslim.speech.corpus.report import TextLimit, examine, usable

CLIPS_IN_A_RECORDING = 1000
SECONDS = (1.0, 20.0)
SPEAKERS = 2000
WORDS = ("नमस्ते", "दुनिया", "मौसम", "बहुत", "अच्छा", "है", "और", "लोग", "बाजार", "किताब", "पानी",
         "सरकार", "ने", "कहा", "गाँव", "में", "सड़क", "बनेगी")  # fmt: skip
WORDS_IN_A_CLIP = 12
DECODED = 20
T = TypeVar("T")


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--model", default="openai/whisper-base", help="whose tokens are counted")
    arguments = parser.parse_args()
    rows = arguments.rows
    limit = text_limit(resolve(arguments.model).path, "hi")
    with TemporaryDirectory() as folder:
        source = _write(Path(folder), rows)
        parts = _measured(source, Path(folder), limit)
        heard = [timed(partial(decode, _clip(Path(folder)))) for _ in range(DECODED)]
    per_clip = median_and_range(heard)
    record = {
        "what": "seconds and memory from a list of clips to the plan of the first epoch",
        "rows": rows,
        "parts": parts,
        "seconds": sum(part["seconds"] for part in parts.values()),
        "cpu_seconds": sum(part["cpu_seconds"] for part in parts.values()),
        "peak_memory_bytes": _peak(),
        "decoding_a_clip_of_10_s": per_clip,
        "hours_to_decode_all_first": per_clip["median"] * rows / 3600,
        **provenance(1),
    }
    print(write_result("million_rows", record))


def _measured(source: str, folder: Path, limit: TextLimit | None) -> dict[str, dict[str, float]]:
    parts: dict[str, dict[str, float]] = {}

    def part(name: str, work: Callable[[], T]) -> T:
        begun, busy = time.perf_counter(), time.process_time()
        found = work()
        parts[name] = {
            "seconds": time.perf_counter() - begun,
            "cpu_seconds": time.process_time() - busy,
            "peak_memory_bytes": _peak(),
        }
        print(f"{name:16s} {parts[name]['seconds']:7.1f} s", flush=True)
        return found

    part("list and hash", lambda: manifest_hash(load_items(source)))
    items = part("list again", lambda: load_all(source))
    cache = AudioCache(folder / "cache")
    seconds = partial(cache.seconds, listed=True)
    report = part("examine", lambda: examine(items, seconds=seconds, limit=limit))
    kept = usable(items, report)
    train, dev = part("hold out", lambda: hold_out(kept, 0.01, "speaker", 0))
    chosen = {"train": [item.key for item in train], "dev": [item.key for item in dev]}
    record = {"report": report.to_record(), "chosen": chosen, "train_sha256": manifest_hash(train)}
    text = part("record", lambda: json.dumps(record, ensure_ascii=False, indent=1))
    (folder / DATA_FILE).write_text(text, "utf-8")
    part("read the record", lambda: read_data(folder))
    lengths = part("lengths", lambda: cache.durations(train, listed=True))
    part("plan", lambda: next(BucketedSampler(lengths, 16, 0)))
    return parts


def _write(folder: Path, rows: int) -> str:
    rng = np.random.default_rng(0)
    path = folder / "manifest.json"
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            recording, place = divmod(number, CLIPS_IN_A_RECORDING)
            name = f"recording_{recording:05d}.wav"
            line = {
                "audio_filepath": name,
                "offset": place * SECONDS[1],
                "duration": round(float(rng.uniform(*SECONDS)), 3),
                "text": " ".join(rng.choice(WORDS, WORDS_IN_A_CLIP)),
                "speaker": f"s{number % SPEAKERS}",
                "lang": "hi",
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            if place == 0:
                (folder / name).touch()
    return str(path)


def _clip(folder: Path) -> Path:
    path = folder / "clip.wav"
    if not path.exists():
        noise = np.random.default_rng(0).integers(-1000, 1000, 10 * SAMPLE_RATE, np.int16)
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
            file.writeframes(noise.tobytes())
    return path


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
