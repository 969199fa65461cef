"""How long a user waits at the page: loading, first words while speaking, the final pair.

    python -m benchmarks.app.page RUNS --clip RECORDING [--dense MODEL] [--name WORDS]

A real Chromium; its microphone plays the recording. Both sides are what the app offers first: the
newest run in RUNS, or else the model that comes with the project, in its fastest engine beside what
it was made from. With `--dense` the dense side is that folder. First text: from the press of Record
to the first word of each side on the page; the dense side may have none before Stop. How long the
recording is silent first is given beside it. Frames a second: those the browser drew from Record to
Stop; slow frames: the share of them that came more than a thirtieth of a second after the one
before. Final pair: from the press of Stop to both transcripts, the upload included; the first of
them loads both models. Needs requirements-dev.txt. Nothing else should run meanwhile; the browser
itself shares the machine.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from benchmarks.app.served import Served, browser_hearing, fresh_page, served
from benchmarks.shared.provenance import median_and_range, provenance, write_result
from whisperslim.engines.live.voice import FRAME_SAMPLES, SileroDetector
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.decoding import decode

# Reads the page before each frame, when a viewer would see it.
_WATCH = """() => {
  const seen = window.watched = { begun: performance.now(), frames: 0, texts: {}, ended: false };
  let before = seen.begun;
  seen.slow = 0;
  const seconds = () => (performance.now() - seen.begun) / 1000;
  const look = () => {
    seen.frames += 1;
    seen.slow += performance.now() - before > 1000 / 30;
    before = performance.now();
    for (const side of ["dense", "slim"]) {
      const text = document.querySelector(`.ws-live-${side} .ws-live-text`);
      if (!(side in seen.texts) && text?.innerText.trim()) seen.texts[side] = seconds();
    }
    if (!seen.ended) requestAnimationFrame(look);
  };
  seen.seconds = seconds;
  requestAnimationFrame(look);
}"""
_SEEN = """() => {
  const seen = window.watched;
  seen.ended = true;
  const slow = seen.slow / seen.frames;
  return { ...seen.texts, frames: seen.frames / seen.seconds(), slow };
}"""


def main() -> None:
    """Serve, load, speak, store."""
    asked = _arguments()
    sound = decode(asked.clip)
    with (
        served(asked.runs, *opened_folder(asked.dense)) as app,
        browser_hearing(asked.clip) as browser,
    ):
        loads = [_load(browser, app) for _ in range(asked.repeats + 1)][1:]
        idle = app.memory()
        waits = [_speak(browser, app, asked, len(sound)) for _ in range(asked.repeats + 1)]
        both = app.memory()
    first, later = waits[0], waits[1:]
    record = {
        "what": "seconds a person waits at the page, and bytes of memory the app alone holds",
        "name": asked.name,
        "audio_seconds": len(sound) / SAMPLE_RATE,
        "silent_at_first": _silence(sound),
        "page_load": median_and_range(loads),
        "first_text_cold": first["slim"],
        "first_text": median_and_range([wait["slim"] for wait in later]),
        "first_text_dense": _where_any([wait["dense"] for wait in later if "dense" in wait]),
        "frames_per_second": median_and_range([wait["frames"] for wait in later]),
        "slow_frames": median_and_range([wait["slow"] for wait in later]),
        "pair_from": "Stop",
        "final_pair_cold": first["pair"],
        "final_pair": median_and_range([wait["pair"] for wait in later]),
        "memory_idle": idle,
        "memory_two_models": both,
        **provenance(threads=0),
    }
    print(write_result("app_page", record))


def _load(browser: Browser, app: Served) -> float:
    started = time.perf_counter()
    with fresh_page(browser, app.address):
        return time.perf_counter() - started


def _speak(
    browser: Browser, app: Served, asked: argparse.Namespace, samples: int
) -> dict[str, float]:
    with fresh_page(browser, app.address) as page:
        open_compare(page, asked.dense)
        record = page.locator(".ws-record")
        page.evaluate(_WATCH)
        record.click()
        page.wait_for_function("() => 'slim' in window.watched.texts")
        said = page.evaluate("() => window.watched.seconds()")
        page.wait_for_timeout(max(0.0, 1000 * (samples / SAMPLE_RATE - said)))
        seen = page.evaluate(_SEEN)
        started = time.perf_counter()
        record.click()
        page.wait_for_function("() => document.querySelectorAll('.ws-transcript').length === 2")
        return {**seen, "pair": time.perf_counter() - started}


def _where_any(values: list[float]) -> dict[str, float] | None:
    return median_and_range(values) if values else None


def opened_folder(dense: Path | None) -> tuple[str, ...]:
    """The option by which the app may open the dense model's folder."""
    return () if dense is None else ("--folder", str(dense))


def open_compare(page: Page, dense: Path | None) -> None:
    """The Compare tab with both sides as offered, or with `dense` on its left side."""
    for tab in ("Models", "Compare"):  # the page may open at Compare: it is to be chosen
        page.get_by_role("tab", name=tab, exact=True).click()
    page.get_by_text("Models, engines and options").click()
    page.wait_for_function("() => document.querySelector('#slim input').value !== ''")
    if dense is not None:
        field = page.locator("#dense input")
        field.fill(str(dense))
        field.press("Enter")
    page.wait_for_timeout(3000)  # the slim model is read ahead when the tab is opened


def _silence(sound: Any) -> float:
    detector = SileroDetector()
    for start in range(0, len(sound) - FRAME_SAMPLES, FRAME_SAMPLES):
        if detector.probability(sound[start : start + FRAME_SAMPLES]) >= 0.5:
            return float(start / SAMPLE_RATE)
    raise ValueError("the voice detector finds no speech in the recording; name another")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder of runs, with one that is finished")
    parser.add_argument("--dense", type=Path, help="folder of the dense model")
    parser.add_argument("--clip", type=Path, required=True, help="what is said")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--name", default="", help="words for the models, stored beside")
    return parser.parse_args()


if __name__ == "__main__":
    main()
