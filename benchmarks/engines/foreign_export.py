"""What it costs to hear a clip in a foreign export's process, rather than in ours.

    python -m benchmarks.engines.foreign_export EXPORT [--data assets/demo_hi#test] [--clips 12] \\
        [--passes 5] [--threads 2]

The same export is opened both ways, and each clip is heard by both in turn, after one that is not
timed. Seconds are of a clip's fastest pass: what is asked is what the way through another process
adds, and not what else the computer did. Figures count only where the processors were idle before.
"""

import argparse
from pathlib import Path

import psutil

from benchmarks.shared.provenance import median_and_range, provenance, write_result
from whisperslim.engines.export.export import load_exporter
from whisperslim.engines.export.record import read_export
from whisperslim.engines.foreign.transcriber import ForeignTranscriber
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.audio.window import parse_window
from whisperslim.speech.corpus.dataset import load_items

QUIET = 0.1  # share of the processors that may be busy before, for the figures to count


def main() -> None:
    """Time both and store the figures."""
    asked = _arguments()
    busy = psutil.cpu_percent(5.0) / 100
    record, window = read_export(asked.export), parse_window("fit")
    given = asked.export, record, window, asked.threads
    both: tuple[WindowedTranscriber, ...] = (
        load_exporter(record.engine).open_export(*given),
        ForeignTranscriber.open(*given),
    )
    clips = [decode(item.path) for item in load_items(asked.data)[: asked.clips]]
    for engine in both:
        engine.transcribe(clips[0])
    passes = [
        [[engine.transcribe(clip).seconds for engine in both] for clip in clips]
        for _ in range(asked.passes)
    ]
    fastest = [
        [min(way) for way in zip(*of_clip, strict=True)] for of_clip in zip(*passes, strict=True)
    ]
    here, there = zip(*fastest, strict=True)
    found = {
        "what": "seconds to hear a clip of an export in this process and in one of its own",
        "engine": record.engine,
        "data": asked.data,
        "clips": len(clips),
        "seconds_of_sound": round(sum(map(len, clips)) / SAMPLE_RATE, 2),
        "passes": asked.passes,
        "busy_before": round(busy, 3),
        "counts": busy < QUIET,
        "note": asked.note if busy < QUIET else "other programs ran beside; the figures count not",
        "in_this_process": median_and_range(list(here)),
        "in_its_own": median_and_range(list(there)),
        "more": median_and_range([own - ours for ours, own in fastest]),
        **provenance(asked.threads),
    }
    print(write_result("foreign_export", found))
    print(f"median of the differences, clip by clip: {1e3 * found['more']['median']:+.1f} ms")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("export", type=Path)
    parser.add_argument("--data", default="assets/demo_hi#test")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--passes", type=int, default=5, help="of all clips by both")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--note", default="", help="free text stored with the record")
    return parser.parse_args()


if __name__ == "__main__":
    main()
