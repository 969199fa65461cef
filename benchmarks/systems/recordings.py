"""Real recordings by length, and one long one made of them, as sample files all systems read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.shared.scoring import short
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.corpus.dataset import Item, load_items

LENGTHS = {"up to 3 s": (0.0, 3.0), "3 to 7 s": (3.0, 7.0), "7 to 15 s": (7.0, 15.0)}
ALL_SHORT = "up to 15 s"
LONG, LONG_SECONDS = "3 minutes", 180.0
_LONG_FROM = 100  # sentences from all over the sets, of which the first that suffice are taken
_PAUSE = 0.5  # seconds of silence between the sentences of the long recording


@dataclass(frozen=True)
class Clip:
    """One recording: its length class, its samples in a `.npy` file, and what is said in it."""

    name: str
    length: str
    seconds: float
    text: str
    file: Path


def choose_clips(sources: Sequence[str], per_class: int, folder: Path, long: bool) -> list[Clip]:
    """`per_class` recordings of each length class, from all over the sets, and a long one.

    Boundaries belong to the shorter class. Fewer come of a class that has no more.
    """
    items = [(short(source), item) for source in sources for item in load_items(source)]
    timed = [(name, item, _seconds(item)) for name, item in items if item.text.strip()]
    clips = []
    for length, (low, high) in LENGTHS.items():
        fitting = [each for each in timed if low < each[2] <= high]
        for name, item, _ in _spread(fitting, per_class):
            clips.append(_clip(f"{name}/{item.key}", length, decode(item.path), item.text, folder))
    if long:
        clips.append(_long([item for _, item, _ in timed], folder))
    return clips


def _spread(found: list[tuple[str, Item, float]], count: int) -> list[tuple[str, Item, float]]:
    """`count` of a list, evenly from its beginning to its end."""
    places = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)
    return [found[place] for place in places]


def _long(items: Sequence[Item], folder: Path) -> Clip:
    parts: list[np.ndarray] = []
    texts: list[str] = []
    silence = np.zeros(int(_PAUSE * SAMPLE_RATE), np.float32)
    for item in items[:: max(1, len(items) // _LONG_FROM)]:
        if sum(map(len, parts)) >= LONG_SECONDS * SAMPLE_RATE:
            break
        parts += [decode(item.path), silence]
        texts.append(item.text)
    return _clip("concatenation", LONG, np.concatenate(parts), " ".join(texts), folder)


def _clip(name: str, length: str, audio: np.ndarray, text: str, folder: Path) -> Clip:
    file = folder / f"{name.replace('/', '_')}.npy"
    np.save(file, audio)
    return Clip(name, length, len(audio) / SAMPLE_RATE, text, file)


def _seconds(item: Item) -> float:
    return len(decode(item.path)) / SAMPLE_RATE if item.duration is None else item.duration
