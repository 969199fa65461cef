"""A comparison of two models, or three, on one recording, as HTML."""

import base64
from collections.abc import Callable
from dataclasses import replace

from whisperslim.speech.normalise import for_language
from whisperslim.speech.wer import WordDifference, word_differences
from whisperslim.ui.compared import SAME, Compared, HeardSide
from whisperslim.ui.comparison_bars import bars
from whisperslim.ui.markup import Cell, note, number, table, text, words
from whisperslim.ui.quantities import duration, megabytes, millions, percent
from whisperslim.ui.word_marks import marked_words, marks_legend

# A difference smaller than this is noise of the clock.
_SAME = 0.02
_NOTES_JOINED_BY = "; "  # by `engines.windowed`, whose module brings torch
_VOTE_FIRST = (
    "A and B are hidden. Listen, read, vote below: then you see which model is which, and the "
    "figures."
)


def comparison_html(compared: Compared, sound: bytes = b"") -> str:
    """Recording, transcripts with their differences, and the figures of all under them.

    Of hidden sides, nothing is in it that tells which is which. `sound` is a FLAC file.
    """
    if compared.hidden:
        return _hidden(compared, sound)
    cards = "".join(_side(compared, side) for side in compared.sides)
    return (
        f"{_head(compared, sound)}{_sides(cards, len(compared.sides))}{marks_legend()}"
        f"{note(compared.fairness)}{bars(compared.sides)}"
        f'<div class="ws-card ws-figures">{_figures(compared)}</div>'
    )


def _hidden(compared: Compared, sound: bytes) -> str:
    first, second = (compared.side(role) for role in compared.blind)
    against = ("the reference", compared.reference) if compared.reference else ("A", first.text)
    shared = _shared_note(first, second)
    cards = ""
    for letter, side in (("A", first), ("B", second)):
        baseline = None if letter == "A" and not compared.reference else against
        shown = replace(side, note=shared)
        cards += _card(letter, "", "", shown, baseline, compared.language)
    return f"{_player(sound)}{note(_VOTE_FIRST, 'busy')}{_sides(cards, 2)}{marks_legend()}"


def _shared_note(first: HeardSide, second: HeardSide) -> str:
    """What both notes say. What only one says, such as a bound reached, may tell which it is."""
    ours, theirs = (side.note.split(_NOTES_JOINED_BY) for side in (first, second))
    return _NOTES_JOINED_BY.join(said for said in ours if said in theirs)


def _head(compared: Compared, sound: bytes) -> str:
    """The recording, who heard it right and what was voted."""
    lines = [_verdict(compared)] if compared.reference else []
    if compared.vote is not None:
        kind = "Blind vote" if compared.blind else "Vote"
        same = compared.vote == SAME
        lines.append(f"{kind}: {'both the same' if same else compared.vote + ' heard it better'}.")
    if compared.blind:
        first, second = compared.blind
        lines.append(f"A was {first}, B was {second}.")
    return _player(sound) + (note("\n".join(lines), "good") if lines else "")


def _verdict(compared: Compared) -> str:
    counts = {side.role: _errors(compared, side.text) for side in compared.sides}
    fewest = min(wrong for wrong, _ in counts.values())
    best = [role for role, (wrong, _) in counts.items() if wrong == fewest]
    told = ", ".join(
        f"{role} {wrong} word {'error' if wrong == 1 else 'errors'}"
        for role, (wrong, _) in counts.items()
    )
    spoken = next(iter(counts.values()))[1]
    who = "All alike" if len(best) == len(counts) else " and ".join(best)
    return f"Who heard it right? {who}: {told}, of {spoken} words spoken."


def _errors(compared: Compared, written: str) -> tuple[int, int]:
    """Word errors against the reference, and its words."""
    steps = _steps(compared.reference or "", written, compared.language)
    wrong = sum(step.kind != "equal" for step in steps)
    return wrong, sum(step.kind != "insert" for step in steps)


def _side(compared: Compared, side: HeardSide) -> str:
    against = None
    if compared.reference:
        against = ("the reference", compared.reference)
    elif side.role != "dense":
        against = ("the dense transcript", compared.side("dense").text)
    ran = f"{side.runs_in}, {side.hears_in}"
    return _card(side.role, side.model, ran, side, against, compared.language)


def _card(
    title: str,
    name: str,
    ran: str,
    side: HeardSide,
    against: tuple[str, str] | None,
    language: str,
) -> str:
    said = text(side.text) if side.text.strip() else "<em>nothing recognised</em>"
    parts = [f'<div class="ws-run-head"><h3>{text(title)}</h3><span>{text(name)}</span></div>']
    if ran:
        parts.append(f'<p class="ws-small">{text(ran)}</p>')
    parts.append(f'<p class="ws-transcript" lang="{text(language)}">{said}</p>')
    if against is not None:
        marked = marked_words(_steps(against[1], side.text, language))
        parts.append(
            f'<p class="ws-small">Against {text(against[0])}, after normaliser '
            f"{text(for_language(language).name)}</p>"
            f'<p class="ws-marked" lang="{text(language)}">{marked}</p>'
        )
    if side.note:
        parts.append(note(side.note, "wait"))
    return f'<section class="ws-card">{"".join(parts)}</section>'


def _steps(expected: str, written: str, language: str) -> tuple[WordDifference, ...]:
    return word_differences(expected, written, for_language(language))


def _sides(cards: str, count: int) -> str:
    return f'<div class="ws-sides ws-sides-{count}">{cards}</div>'


def _player(sound: bytes) -> str:
    """The recording inside the page itself: no file need be opened to requests."""
    if not sound:
        return ""
    data = base64.b64encode(sound).decode()
    return (
        '<audio class="ws-player" controls preload="metadata" aria-label="The recording" '
        f'src="data:audio/flac;base64,{data}"></audio>'
    )


def _figures(compared: Compared) -> str:
    rows = [*_score_rows(compared.sides), *_cost_rows(compared.sides)]
    many = "both models" if len(compared.sides) == 2 else "all models"
    fed = "the same features" if compared.shared_features else "features of their own"
    seconds = duration(compared.audio_seconds)
    caption = f"One recording of {seconds}, {many} on {fed}, one after the other"
    roles = [side.role for side in compared.sides]
    headers = ("", *roles, *(f"{role} : dense" for role in roles[1:]))
    notes = f'<p class="ws-small">Peak memory: {text(compared.memory_note)}.</p>'
    return table(headers, rows, caption=caption) + notes


def _score_rows(sides: tuple[HeardSide, ...]) -> list[list[Cell]]:
    rows = []
    # The last normaliser is the language's own: it comes first here.
    for name in reversed(list(sides[0].scores)):
        for index, rate in enumerate(("WER", "CER")):
            values = [side.scores[name][index] if name in side.scores else None for side in sides]
            cells = [number(percent(value), strong=index == 0) for value in values]
            blanks = [number("") for _ in sides[1:]]
            rows.append([words(f"{rate}, {name}", strong=True), *cells, *blanks])
    return rows


def _cost_rows(sides: tuple[HeardSide, ...]) -> list[list[Cell]]:
    measured: list[tuple[str, Callable[[HeardSide], float], Callable[[float], str]]] = [
        ("time", lambda side: side.seconds, duration),
        ("real-time factor", lambda side: side.rtf, lambda value: f"{value:.3f}"),
        ("size on disk", lambda side: side.bytes_on_disk, megabytes),
        ("parameters", lambda side: side.parameters, millions),
        ("peak memory", lambda side: side.peak_memory_bytes, megabytes),
        ("tokens written", lambda side: side.tokens, str),
    ]
    return [
        [
            words(name, strong=True),
            *(number(show(get(side))) for side in sides),
            *(number(_ratio(get(sides[0]), get(side))) for side in sides[1:]),
        ]
        for name, get, show in measured
    ]


def _ratio(dense: float, other: float) -> str:
    if not dense:
        return "–"
    ratio = other / dense
    return "same" if abs(ratio - 1) < _SAME else f"{ratio:.2f} ×"
