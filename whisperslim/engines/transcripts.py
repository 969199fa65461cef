"""A transcript as subtitles, as a table, and as JSON."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from whisperslim.engines.base import Transcript
from whisperslim.errors import UsageError
from whisperslim.exported.ctc import Word

VERSION = 1
"""Of the JSON that `document` makes. Fields may be added within one version."""
# Our choice, from what subtitling guides ask for: two lines of 42 characters, at most 7 s.
_CUE_CHARACTERS, _CUE_SECONDS = 84, 7.0
_PAUSE_SECONDS = 0.8  # between words: a new cue
_SHORTEST_SECONDS = 0.02


@dataclass(frozen=True)
class Cue:
    """What is shown at once, from `start` to `end` in seconds of the recording."""

    start: float
    end: float
    text: str


def check_form(name: str) -> None:
    """Raise `UsageError` for an unknown form."""
    if name not in FORMS:
        raise UsageError(f"{name!r} is not a format; choose one of: {', '.join(FORMS)}")


def cues(transcript: Transcript) -> list[Cue]:
    """The words in pieces of a subtitle's length, cut at pauses; in order.

    Where words are not timed, the parts that the recording was heard in.
    """
    if not transcript.words:
        return [Cue(*each) for each in transcript.segments if each[2]]
    edges = [start for start, _, _ in transcript.segments]
    found: list[list[Word]] = []
    for word in transcript.words:
        if not found or _starts_cue(found[-1], word, edges):
            found.append([])
        found[-1].append(word)
    return [_cue(words) for words in found]


def to_srt(transcript: Transcript) -> str:
    """SubRip."""
    shown = [
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_line(cue.text)}\n"
        for number, cue in enumerate(cues(transcript), start=1)
    ]
    return "\n".join(shown)


def to_vtt(transcript: Transcript) -> str:
    """WebVTT."""
    shown = [
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{_marked(_line(cue.text))}\n"
        for cue in cues(transcript)
    ]
    return "\n".join(["WEBVTT\n", *shown])


def to_tsv(transcript: Transcript) -> str:
    """Start and end in whole milliseconds, and text, with a line of names, as Whisper writes it."""
    rows = [
        f"{round(cue.start * 1000)}\t{round(cue.end * 1000)}\t{_line(cue.text)}"
        for cue in cues(transcript)
    ]
    return "\n".join(["start\tend\ttext", *rows])


def record(transcript: Transcript, language: str) -> dict[str, Any]:
    """One recording, as docs/transcripts.md says."""
    return {
        "language": language,
        "duration": transcript.audio_seconds,
        "text": transcript.text,
        "segments": [
            {"start": cue.start, "end": cue.end, "text": cue.text} for cue in cues(transcript)
        ],
        "words": [
            {"word": w.text, "start": w.start, "end": w.end, "confidence": w.confidence}
            for w in transcript.words
        ],
        "window": transcript.window,
        "seconds": transcript.seconds,
        "note": transcript.note,
    }


def document(model: str, recordings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several recordings that one model heard."""
    return {"version": VERSION, "model": model, "recordings": list(recordings)}


SUBTITLES: dict[str, Callable[[Transcript], str]] = {
    "srt": to_srt, "vtt": to_vtt, "tsv": to_tsv,
}  # fmt: skip
"""Forms of one recording, and what writes them."""
FORMS = ("text", "json", *SUBTITLES)


def _starts_cue(words: Sequence[Word], word: Word, edges: Sequence[float]) -> bool:
    length = sum(len(each.text) + 1 for each in words) + len(word.text)
    crosses = any(words[-1].start < edge <= word.start for edge in edges)
    return (
        crosses
        or word.start - words[-1].end > _PAUSE_SECONDS
        or word.end - words[0].start > _CUE_SECONDS
        or length > _CUE_CHARACTERS
    )


def _cue(words: Sequence[Word]) -> Cue:
    start = words[0].start
    end = max(words[-1].end, start + _SHORTEST_SECONDS)
    return Cue(start, end, " ".join(word.text for word in words))


def _line(text: str) -> str:
    """Without what would end a cue or a row: line ends and tabs."""
    return " ".join(text.split())


def _marked(text: str) -> str:
    """WebVTT has tags and entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, mark: str) -> str:
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{mark}{rest % 1000:03}"
