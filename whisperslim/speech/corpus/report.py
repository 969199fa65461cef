"""What is in a data set and what is wrong with it, before anything is trained on it."""

import dataclasses
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from whisperslim.errors import AudioError, UsageError
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.corpus.clip_reader import ClipReader, is_there
from whisperslim.speech.corpus.dataset import Item
from whisperslim.text.scripts import LANGUAGES, letters

KINDS = {
    "missing": "the audio file is not there",
    "unreadable": "the audio file cannot be decoded",
    "empty_text": "the text has no letter and no digit",
    "text_too_long": "the text takes more tokens than the model can be trained on",
    "too_long": "the clip is longer than the model can take",
    "too_short": "the clip is too short to hold a word",
    "foreign_characters": "the text has characters outside the language",
    "duplicate_text": "another clip has the same text",
    "shared_text": "a clip of the set compared with has the same text",
    "shared_speaker": "the speaker is also in the set compared with",
    "shared_audio": "the recording is also in the set compared with",
}
UNUSABLE = frozenset(
    {"missing", "unreadable", "empty_text", "text_too_long", "too_long", "too_short"}
)
SHARED = frozenset({"shared_text", "shared_speaker", "shared_audio"})
SHORTEST_SECONDS = 0.2

_PUNCTUATION = " .,;:?!'\"()-–—…“”‘’/%₹"
# Zero-width joiner and non-joiner choose between forms of Devanagari conjuncts: correct spelling.
_JOINERS = "\u200c\u200d"
_DIGITS = "0123456789"
_ALPHABETS = {
    "hi": frozenset(map(chr, range(0x0900, 0x0980))) | set(_PUNCTUATION + _JOINERS + _DIGITS),
    "en": frozenset(map(chr, range(0x20, 0x7F))) | set(_PUNCTUATION),
}
_DANDAS = "।॥"  # one pair for all Indian scripts
_EXAMPLES = 3


@dataclass(frozen=True)
class TextLimit:
    """How much text a model can be trained on.

    Attributes:
        count: Positions that a text takes at least: of a decoder, in tokens, the prompt before it
            included; of a model that scores frames, in frames.
        positions: How many of them the model has at most.
        room: How many it has for so many seconds of sound; None: always all.
        short: Bytes of UTF-8 up to which a text fits for sure and is not counted: to count those of
            a million takes a minute.
    """

    count: Callable[[str], int]
    positions: int
    room: Callable[[float], int] | None = None
    short: int = -1

    def of(self, seconds: float) -> int:
        """The positions there are for so much sound."""
        return self.positions if self.room is None else self.room(seconds)


@dataclass(frozen=True, slots=True)
class Problem:
    """`key` is the clip's, `kind` one of `KINDS`."""

    key: str
    kind: str
    message: str


@dataclass(frozen=True)
class DataReport:
    """`seconds` is of the clips that decode. `speakers` counts named ones.

    `characters` are those outside the language with their counts, most frequent first, or None
    when no alphabet of the language is known here and texts were not checked. `positions` are
    those that texts were to fit, or None when their tokens were not counted.
    """

    clips: int
    seconds: float
    speakers: int
    language: str
    characters: tuple[tuple[str, int], ...] | None
    problems: tuple[Problem, ...]
    positions: int | None = None

    @property
    def minutes(self) -> float:
        return self.seconds / 60.0

    def count(self, kind: str) -> int:
        """How many clips have this kind of problem."""
        return sum(problem.kind == kind for problem in self.problems)

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON, with the counts of each kind."""
        counts = {kind: self.count(kind) for kind in KINDS}
        return {**dataclasses.asdict(self), "minutes": self.minutes, "counts": counts}

    def lines(self) -> list[str]:
        """The report as plain text."""
        lines = [f"{self.clips} clips, {self.minutes:.1f} minutes, {self.speakers} speakers"]
        for kind, meaning in KINDS.items():
            lines += self._about(kind, meaning)
        if self.characters is None:
            lines.append(f"characters: not checked, no alphabet known for {self.language!r}")
        elif self.characters:
            lines.append(f"characters outside {self.language!r}: {_listed(self.characters)}")
        return lines if len(lines) > 1 else [*lines, "no problems found"]

    def _about(self, kind: str, meaning: str) -> list[str]:
        of_kind = [problem for problem in self.problems if problem.kind == kind]
        if not of_kind:
            return []
        shown = [f"  {p.key}: {p.message}" for p in of_kind[:_EXAMPLES]]
        more = len(of_kind) - len(shown)
        return [f"{kind}: {len(of_kind)} clips ({meaning})", *shown] + (
            [f"  and {more} more"] if more else []
        )


def examine(
    items: Sequence[Item],
    *,
    language: str = "hi",
    max_seconds: float = math.inf,
    against: Sequence[Item] = (),
    limit: TextLimit | None = None,
    load: Callable[[Item], np.ndarray] | None = None,
    seconds: Callable[[Item], float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DataReport:
    """Decode every clip and look at every text; compare with a test set given as `against`.

    What lasts longer than `max_seconds` cannot be used. `limit` is what every text must fit;
    without one, texts may be of any length. `load` gives a clip's samples (default: decode
    it; with an `AudioCache`'s `load`, training need not decode again). `seconds` gives how long a
    clip is instead, as `AudioCache.seconds` does without decoding what is known. `progress` is
    called with (done, total). What the set holds never raises; it becomes a `Problem`.
    """
    samples = load or ClipReader().samples
    length = seconds or (lambda item: len(samples(item)) / SAMPLE_RATE)
    problems: list[Problem] = []
    lengths = []
    for done, item in enumerate(items, start=1):
        lasts, found = _examine_audio(item, length, max_seconds)
        lengths.append(lasts)
        problems += found
        if progress:
            progress(done, len(items))
    problems += [*_examine_texts(items), *_overlap(items, against)]
    problems += _long_texts(items, lengths, limit) if limit else ()
    characters = _foreign_counts(items, language)
    problems += _foreign_problems(items, language)
    speakers = len({item.speaker for item in items if item.speaker})
    return DataReport(
        clips=len(items),
        seconds=sum(lengths),
        speakers=speakers,
        language=language,
        characters=characters,
        problems=tuple(problems),
        positions=limit.positions if limit else None,
    )


def usable(items: Sequence[Item], report: DataReport, *, drop: Set[str] = UNUSABLE) -> list[Item]:
    """The clips without a problem of the kinds in `drop`, in order.

    By default what cannot be trained on; `UNUSABLE | SHARED` also keeps a test set unseen.
    """
    unknown = sorted(set(drop) - set(KINDS))
    if unknown:
        raise UsageError(f"no such kind of problem: {unknown[0]!r}; known: {', '.join(KINDS)}")
    dropped = {problem.key for problem in report.problems if problem.kind in drop}
    return [item for item in items if item.key not in dropped]


def _examine_audio(
    item: Item, length: Callable[[Item], float], max_seconds: float
) -> tuple[float, list[Problem]]:
    """Seconds (0 when nothing can be decoded) and what is wrong."""
    if not is_there(item):
        return 0.0, [Problem(item.key, "missing", f"no file {item.path}")]
    try:
        seconds = length(item)
    except AudioError as error:
        return 0.0, [Problem(item.key, "unreadable", str(error))]
    if seconds > max_seconds:
        message = f"lasts {seconds:.1f} s; at most {max_seconds:g} s"
        return seconds, [Problem(item.key, "too_long", message)]
    if seconds < SHORTEST_SECONDS:
        message = f"lasts {seconds:.2f} s; at least {SHORTEST_SECONDS} s"
        return seconds, [Problem(item.key, "too_short", message)]
    return seconds, []


def _examine_texts(items: Sequence[Item]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for item in items:
        if not _has_words(item.text):
            yield Problem(item.key, "empty_text", f"the text is {item.text!r}")
            continue
        other = first.setdefault(_same(item.text), item.key)
        if other != item.key:
            yield Problem(item.key, "duplicate_text", f"same text as {other}")


def _long_texts(
    items: Sequence[Item], lengths: Sequence[float], limit: TextLimit
) -> Iterator[Problem]:
    for item, seconds in zip(items, lengths, strict=True):
        if len(item.text.encode()) <= limit.short:
            continue
        taken, there = limit.count(item.text), limit.of(seconds)
        if seconds and taken > there:  # without sound it is unusable anyway
            message = f"its text takes {taken} of the model's {there} positions"
            message += "" if limit.room is None else f" in {seconds:.1f} s"
            yield Problem(item.key, "text_too_long", message)


def _overlap(items: Sequence[Item], against: Sequence[Item]) -> Iterator[Problem]:
    texts = {_same(other.text): other.key for other in against if _has_words(other.text)}
    speakers = {other.speaker for other in against if other.speaker}
    recordings = {_recording(other): other.key for other in against}
    for item in items:
        if (text := _same(item.text)) in texts:
            yield Problem(item.key, "shared_text", f"same text as {texts[text]}")
        if item.speaker in speakers:
            yield Problem(item.key, "shared_speaker", f"speaker {item.speaker}")
        # Without a set to compare with there is nothing to look for, and looking takes a call to
        # the file system.
        if recordings and (place := _recording(item)) in recordings:
            yield Problem(item.key, "shared_audio", f"same file as {recordings[place]}")


def _recording(item: Item) -> tuple[object, ...]:
    """The same for every name of a recording, links among them."""
    try:
        found = item.path.stat()
    except (OSError, ValueError):
        return (str(item.path.absolute()), item.part, item.cut)
    return (found.st_dev, found.st_ino, item.part, item.cut)


def _foreign_counts(items: Sequence[Item], language: str) -> tuple[tuple[str, int], ...] | None:
    alphabet = _alphabet(language)
    if alphabet is None:
        return None
    strange = (item.text for item in items if not alphabet.issuperset(item.text))
    return _foreign(chain.from_iterable(strange), alphabet)


def _foreign_problems(items: Sequence[Item], language: str) -> Iterator[Problem]:
    alphabet = _alphabet(language)
    for item in items:
        # Nearly all texts of a set are without: to count is for the others.
        if alphabet is not None and not alphabet.issuperset(item.text):
            found = _listed(_foreign(item.text, alphabet))
            yield Problem(item.key, "foreign_characters", found)


def _alphabet(language: str) -> frozenset[str] | None:
    """What a text in the language is written with; None for a language that is not known here."""
    if language in _ALPHABETS or language not in LANGUAGES:
        return _ALPHABETS.get(language)
    return letters([language]) | set(_PUNCTUATION + _JOINERS + _DIGITS + _DANDAS)


def _foreign(text: Iterable[str], alphabet: Set[str]) -> tuple[tuple[str, int], ...]:
    counts = Counter(c for c in text if c not in alphabet)
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _listed(characters: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{c!r} (U+{ord(c):04X}) {n}x" for c, n in characters)


def _has_words(text: str) -> bool:
    return any(unicodedata.category(c)[0] in "LN" for c in text)


def _same(text: str) -> str:
    """Texts are the same when they differ only in Unicode form and in spaces.

    The text itself where it is written so: of a large set, others take as much memory again.
    """
    same = " ".join(unicodedata.normalize("NFC", text).split())
    return text if same == text else same
