"""How soon text appears while somebody speaks, and how old it is.

python -m benchmarks.app.live_latency MODEL [--data assets/demo_hi#test] [--clips 12] [--threads 2]

Recordings are played in real time, after half a second of silence, into the session the app uses.
Every piece is what came in since the one before was answered, at least 0.25 s, as in the page; the
microphone, the browser and the network are left out (on one machine some hundredths of a second).
First text: from the first voiced sample (the beginning of the first 32 ms in which the voice
detector, hearing the whole clip, is at least half sure) to the answer that has text. Staleness:
at every answer with text while there is speech, the time since the sound up to which the text
covers all speech.
"""

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.shared.provenance import median_and_range, provenance, write_result
from benchmarks.shared.scoring import short
from whisperslim.engines.live.session import LiveSession
from whisperslim.engines.live.text import LiveOptions, LiveText
from whisperslim.engines.live.voice import FRAME_SAMPLES, SileroDetector
from whisperslim.engines.opening import open_transcriber
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.audio.window import parse_window
from whisperslim.speech.corpus.dataset import load_items

PIECE_SECONDS = 0.25  # assets/live_text.js sends as much at least
WAIT_SECONDS = 0.4  # ui/compare/live_text.py waits as long for a pass at work
LEAD = np.zeros(SAMPLE_RATE // 2, np.float32)


@dataclass
class Played:
    """One clip: seconds from the first voiced sample to text, ages of the texts, and passes."""

    first_text: float | None
    staleness: list[float]
    passes: int


def main() -> None:
    """Play the clips one after another and store the figures."""
    asked = _arguments()
    engine = open_transcriber(asked.model, parse_window("fit"), asked.threads)
    engine.transcribe(decode(load_items(asked.data)[0].path))  # the first pass builds filters
    clips = [decode(item.path) for item in load_items(asked.data)[: asked.clips]]
    found = [play(engine, np.concatenate([LEAD, clip]), asked.language) for clip in clips]
    record = {
        "what": "text while speaking, real time",
        "engine": type(engine).__name__,
        "model": asked.name,
        "data": short(asked.data),
        "clips": len(clips),
        "audio_seconds": sum(map(len, clips)) / SAMPLE_RATE,
        "options": vars(LiveOptions()),
        "piece_seconds": PIECE_SECONDS,
        "weights_bytes": engine.size().bytes_on_disk,
        **_summary(found),
        **provenance(asked.threads),
    }
    print(write_result("live_latency", record))


def play(engine: WindowedTranscriber, sound: np.ndarray, language: str) -> Played:
    """Feed `sound` (16 kHz float32) as time passes, and note when text comes."""
    begins = voice_begins(sound)
    passes: list[int] = []

    def hear(part: np.ndarray) -> str:
        passes.append(len(part))
        return engine.transcribe(part, language).text

    first, ages = None, []
    with ThreadPoolExecutor(1) as lane:
        session = LiveSession(LiveText(hear, SileroDetector()), lambda: None, lane)
        started, sent = time.perf_counter(), 0
        while sent < len(sound):
            due = sent + round(PIECE_SECONDS * SAMPLE_RATE)
            time.sleep(max(0.0, started + due / SAMPLE_RATE - time.perf_counter()))
            until = min(len(sound), round((time.perf_counter() - started) * SAMPLE_RATE))
            partial = session.feed(sound[sent:until], WAIT_SECONDS)
            now, sent = time.perf_counter() - started, until
            if partial.text and first is None and begins is not None:
                first = now - begins
            if partial.text and partial.speaking:
                ages.append(now - partial.heard_seconds)
        session.close()
    return Played(first, ages, len(passes))


def voice_begins(sound: np.ndarray) -> float | None:
    """Seconds at which the first voiced frame begins; None without voice."""
    detector = SileroDetector()
    for start in range(0, len(sound) - FRAME_SAMPLES + 1, FRAME_SAMPLES):
        if detector.probability(sound[start : start + FRAME_SAMPLES]) >= 0.5:
            return start / SAMPLE_RATE
    return None


def _summary(found: Sequence[Played]) -> dict[str, Any]:
    firsts = [each.first_text for each in found if each.first_text is not None]
    ages = [age for each in found for age in each.staleness]
    return {
        "clips_with_text_while_speaking": len(firsts),
        "first_text_seconds": {**median_and_range(firsts), "p95": float(np.quantile(firsts, 0.95))},
        "staleness_seconds": {**median_and_range(ages), "p95": float(np.quantile(ages, 0.95))},
        "passes_per_clip": sum(each.passes for each in found) / len(found),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="export folder, slim folder or model name")
    parser.add_argument("--name", default="slim", help="what the result calls it")
    parser.add_argument("--data", default="assets/demo_hi#test", help="PATH#SPLIT")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--language", default="hi")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
