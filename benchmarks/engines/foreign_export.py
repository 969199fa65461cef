"""What it costs to hear a clip in a foreign export's process, rather than in ours.

python -m benchmarks.engines.foreign_export EXPORT [--data assets/demo_hi#test] [--clips 12] \\
    [--threads 2]

The same export is opened both ways; each clip is heard in turn by both, after one that is not
timed. Printed are the medians and that of the differences, clip by clip. Nothing is stored.
"""

import argparse
import statistics
from pathlib import Path

from whisperslim.engines.export.export import load_exporter
from whisperslim.engines.export.record import read_export
from whisperslim.engines.foreign.transcriber import ForeignTranscriber
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.speech.audio.audio import decode
from whisperslim.speech.audio.window import parse_window
from whisperslim.speech.corpus.dataset import load_items


def main() -> None:
    """Time both and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("export", type=Path)
    parser.add_argument("--data", default="assets/demo_hi#test")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    record, window = read_export(asked.export), parse_window("fit")
    given = asked.export, record, window, asked.threads
    both: tuple[WindowedTranscriber, ...] = (
        load_exporter(record.engine).open_export(*given),
        ForeignTranscriber.open(*given),
    )
    clips = [decode(item.path) for item in load_items(asked.data)[: asked.clips]]
    for engine in both:
        engine.transcribe(clips[0])
    pairs = [[engine.transcribe(clip).seconds for engine in both] for clip in clips]
    here, there = (statistics.median(column) for column in zip(*pairs, strict=True))
    more = statistics.median(foreign - own for own, foreign in pairs)
    print(f"in this process {1e3 * here:.1f} ms a clip, in its own {1e3 * there:.1f} ms")
    print(f"median of the differences, clip by clip: {1e3 * more:+.1f} ms (n = {len(pairs)})")


if __name__ == "__main__":
    main()
