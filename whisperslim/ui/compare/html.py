"""A comparison of two models, or three, on one recording: as HTML, and as files to pass on.

The files are a page that needs nothing else, and JSON.
"""

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from whisperslim.errors import UsageError
from whisperslim.jobs.run.disk import write_text_checked
from whisperslim.jobs.scoring.origin import TRAINED
from whisperslim.speech.scoring.loops import find_loop
from whisperslim.speech.scoring.normalizer import by_name, for_language
from whisperslim.speech.scoring.transliteration import to_devanagari
from whisperslim.speech.scoring.verdict import (
    TRANSLITERATED_BY,
    TRANSLITERATION_NOTE,
    ClipJudgement,
    Verdict,
    faster,
    judge_clip,
    judge_sides,
    script_name,
    writing_note,
)
from whisperslim.speech.scoring.wer import word_differences
from whisperslim.speech.scoring.writing import NO_SCRIPT, text_script
from whisperslim.ui.compare.record import SAME, Compared, HeardSide, title_of
from whisperslim.ui.compare.written import written_beside, written_html
from whisperslim.ui.context.choices import dense_words
from whisperslim.ui.parts.markup import Cell, note, number, pill, table, text, words
from whisperslim.ui.parts.quantities import duration, megabytes, millions, percent
from whisperslim.ui.parts.theme import COMPARE_SHEET, STYLE_SHEET, font_faces


def pass_note(compared: Compared) -> str:
    """What its times are, where they are not this recording's own; else empty."""
    others = compared.together - 1
    if not others:
        return ""
    many = "another recording" if others == 1 else f"{others} other recordings"
    return (
        f"Several people compared at once, so each model heard this recording together with {many}:"
        " the times are this recording's share of that, by its length. The texts are what each "
        "model writes of it alone."
    )


def bars(sides: Sequence[HeardSide], beside_race: str = "", about_times: str = "") -> str:
    """One bar a side for the time it took and one for its size; the longest fills the width.

    Bars of time grow as long as the side took: a race in real time. `beside_race` is HTML,
    `about_times` a sentence.
    """
    every = "Both" if len(sides) == 2 else "All"
    shared = f"{every} in {_way(sides[0])}." if _alike(sides) else ""
    return (
        '<div class="ws-card ws-figures ws-bars">'
        + _measure(
            "Time to the whole text",
            sides,
            lambda side: side.seconds,
            duration,
            beside_race,
            race=True,
        )
        + (f'<p class="ws-small">{text(about_times)}</p>' if about_times else "")
        + _measure("Size on disk", sides, lambda side: side.bytes_on_disk, megabytes)
        + (f'<p class="ws-small ws-flat">{text(shared)}</p>' if shared else "")
        + "</div>"
    )


def _way(side: HeardSide) -> str:
    return f"{side.runs_in}, {side.hears_in}"


def _alike(sides: Sequence[HeardSide]) -> bool:
    """Whether all run in the same way, so that it need be said once only."""
    return len({_way(side) for side in sides}) == 1


def _measure(
    title: str,
    sides: Sequence[HeardSide],
    get: Callable[[HeardSide], float],
    show: Callable[[float], str],
    beside: str = "",
    *,
    race: bool = False,
) -> str:
    most = max(get(side) for side in sides)
    alike = _alike(sides)
    rows = "".join(
        f"<span><b>{text(title_of(side))}</b>{'' if alike else text(f' {_way(side)}')}</span>"
        f'<div class="ws-bar" aria-hidden="true">'
        f'<i class="ws-bar-{text(side.role)}" style="width:{_width(get(side), most)}%'
        f'{f";--takes:{get(side):.2f}s" if race else ""}"></i></div>'
        f"<b>{text(show(get(side)))}</b>"
        for side in sides
    )
    named, kind = f"<h3>{text(title)}</h3>{beside}", ' class="ws-race"' if race else ""
    head = f'<div class="ws-bars-head">{named}</div>'
    return f'<section{kind}>{head}<div class="ws-bar-rows">{rows}</div></section>'


def _width(value: float, most: float) -> str:
    share = value / most if most > 0 else 0.0
    return f"{100 * min(1.0, max(0.0, share)):.1f}"


class Difference(Protocol):
    """One step of a word alignment, as `speech.scoring.wer.WordDifference`."""

    @property
    def kind(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def hypothesis(self) -> str: ...


def marked_words(differences: Iterable[Difference]) -> str:
    """The hypothesis with what is inserted, deleted and replaced marked.

    Marks differ in shape as well as color. Words are marked whole: splitting one would separate a
    vowel sign from its letter.
    """
    return " ".join(_marked(difference) for difference in differences)


def marks_legend() -> str:
    """What the marks mean."""
    return (
        '<div class="ws-marked ws-marks-legend"><ins>inserted</ins> <del>left out</del> '
        "<mark><s>expected</s> → written</mark></div>"
    )


def _marked(step: Difference) -> str:
    expected, written = text(step.reference), text(step.hypothesis)
    if step.kind == "equal":
        return f"<span>{written}</span>"
    if step.kind == "insert":
        return f'<ins title="inserted">{written}</ins>'
    if step.kind == "delete":
        return f'<del title="left out">{expected}</del>'
    return f'<mark title="replaced"><s>{expected}</s> → {written}</mark>'


_NOTES_JOINED_BY = "; "  # by `engines.windowed`, which imports torch
_VOTE_FIRST = (
    "A and B are hidden. Listen, read and vote below: then the models and the figures are shown."
)
_NOT_KNOWN = "No verdict, since the spoken text is not given."


def comparison_html(compared: Compared, sound: bytes = b"", *, alone: bool = False) -> str:
    """Recording, verdict, what was said, what each side wrote, large figures; the rest in a drawer.

    Of hidden sides, nothing in it shows which is which. `sound` is a FLAC file. With `alone` it is
    for a page without scripts, on which the drawer is open.
    """
    verdict = note(_VOTE_FIRST, "busy") if compared.hidden else _head(compared)
    parts = [player_html(sound), verdict, _said(compared), _cards(compared), _legend(compared)]
    if not compared.hidden:
        again = "" if alone else _AGAIN
        parts += [
            _gains(compared),
            note(compared.fairness),
            bars(compared.sides, again, pass_note(compared)),
        ]
    parts.append(_drawer(compared, alone))
    return f'<div class="ws-stage" data-key="{text(compared.key)}">{"".join(parts)}</div>'


_AGAIN = '<button type="button" class="ws-again">Race again</button>'


def times_html(compared: Compared) -> str:
    """When words were said, for the script that highlights them, and of which side nobody knows.

    Empty while sides are hidden: who has times may show which is which.
    """
    if compared.hidden:
        return ""
    times = {side.role: side.times for side in compared.sides if side.times}
    said = "".join(
        f'<p class="ws-small">{text(title_of(side))}: no word is highlighted while the recording '
        f"plays; {text(side.untimed)}.</p>"
        for side in compared.sides
        if side.untimed
    )
    data = text(json.dumps(times))
    return f'<div class="ws-times" data-key="{text(compared.key)}" data-times="{data}"></div>{said}'


def verdict_of(compared: Compared) -> Verdict:
    """Who transcribed it right, by the rules of `speech.scoring.verdict`."""
    texts = {title_of(side): side.text for side in compared.sides}
    return judge_sides(texts, compared.reference, compared.language)


def model_words(side: HeardSide) -> str:
    """The model, and whether it was tuned or made by a run."""
    return dense_words(side.model) if side.role == "dense" else side.model


@dataclass(frozen=True)
class _Shown:
    """A side as it is shown; `other_text` is what it is set beside where nobody knows the truth."""

    side: HeardSide
    title: str
    other_text: str
    facts: str = ""
    trained: str = ""


def _shown(compared: Compared) -> list[_Shown]:
    if compared.hidden:
        first, second = (compared.side(role) for role in compared.blind)
        shared = _shared_note(first, second)
        return [
            _Shown(replace(first, note=shared), "A", second.text),
            _Shown(replace(second, note=shared), "B", first.text),
        ]
    dense = compared.side("dense")
    found = []
    for side in compared.sides:
        other = compared.side("slim") if side.role == "dense" else dense
        ran = side.runs_in if _alike(compared.sides) else _way(side)
        facts = (model_words(side), ran, duration(side.seconds), megabytes(side.bytes_on_disk))
        trained = TRAINED if side.role in compared.trained else ""
        found.append(_Shown(side, title_of(side), other.text, " · ".join(facts), trained))
    return found


def _cards(compared: Compared) -> str:
    cards = "".join(_card(compared, shown) for shown in _shown(compared))
    return f'<div class="ws-sides ws-heard">{cards}</div>'


def _shared_note(first: HeardSide, second: HeardSide) -> str:
    """What both notes have in common. A note of one side only, such as a limit reached, may reveal
    which it is.
    """
    ours, theirs = (side.note.split(_NOTES_JOINED_BY) for side in (first, second))
    return _NOTES_JOINED_BY.join(said for said in ours if said in theirs)


def _head(compared: Compared) -> str:
    """The verdict and the vote."""
    verdict = verdict_of(compared)
    sentence, tone = verdict.sentence or _NOT_KNOWN, "wait"
    if verdict.winner or verdict.equal:
        tone = "good"
    lines = []
    if compared.vote is not None:
        kind = "Blind vote" if compared.blind else "Vote"
        same, many = compared.vote == SAME, len(compared.sides)
        better = "" if same else f"{title_of(compared.side(compared.vote))} heard it better"
        lines.append(f"{kind}: {better or 'all the same' * (many > 2) or 'both the same'}.")
    if compared.blind:
        first, second = compared.blind
        lines.append(f"A was {first}, B was {second}.")
    votes = note("\n".join(lines), "good") if lines else ""
    return f'<div class="ws-verdict ws-{tone}" role="status">{text(sentence)}</div>{votes}'


def _gains(compared: Compared) -> str:
    """What the slim side saves, in large figures, and a third one beside it."""
    dense, *others = compared.sides
    shown = ""
    for side in others:
        named = "" if len(others) == 1 else f", {title_of(side)}"
        for big, why in _tiles(dense, side):
            shown += f"<div><b>{text(big)}</b><span>{text(why + named)}</span></div>"
    return f'<div class="ws-tiles ws-gains" aria-label="Against dense">{shown}</div>'


def _tiles(dense: HeardSide, side: HeardSide) -> list[tuple[str, str]]:
    engines = f", {dense.runs_in} → {side.runs_in}" if dense.runs_in != side.runs_in else ""
    return [
        (
            faster(dense.seconds, side.seconds),
            f"{duration(dense.seconds)} → {duration(side.seconds)}{engines}",
        ),
        (
            _less(dense.bytes_on_disk, side.bytes_on_disk, "smaller", "larger"),
            f"{megabytes(dense.bytes_on_disk)} → {megabytes(side.bytes_on_disk)} on disk",
        ),
        (
            f"{_less(dense.peak_memory_bytes, side.peak_memory_bytes, 'less', 'more')} memory",
            f"{megabytes(dense.peak_memory_bytes)} → {megabytes(side.peak_memory_bytes)} at most",
        ),
    ]


def _less(dense: float, other: float, less: str, more: str) -> str:
    """The change from dense in percent, in words; "same" below one percent."""
    if not dense:
        return "–"
    change = other / dense - 1
    if abs(change) < 0.01:
        return "same"
    return f"{percent(abs(change), 0)} {less if change < 0 else more}"


def _said(compared: Compared) -> str:
    if not compared.reference:
        return ""
    said = _paragraph("ws-said-text", compared.reference, compared.language)
    return f'<section class="ws-said"><h3>What was said</h3>{said}</section>'


def _paragraph(kind: str, written: str, language: str, marked: str = "") -> str:
    """`marked` is HTML to show for `written`."""
    # Urdu runs from right to left, whatever the language of the recording.
    said = (marked or text(written)) if written.strip() else "<em>nothing recognized</em>"
    return f'<p class="{kind}" dir="auto" lang="{text(language)}">{said}</p>'


def _card(compared: Compared, shown: _Shown) -> str:
    """One transcript as it was written, with the words that differ marked."""
    side, judged = shown.side, _judged(compared, shown.side)
    notes = [side.note]
    if shown.trained:
        notes.append(f"{shown.trained}: this says nothing about speech it was not trained on")
    parts = [
        f'<div class="ws-run-head"><h3>{text(shown.title)}</h3>'
        f"<span>{text(shown.facts)}</span></div>",
        _transcript(compared, shown, judged),
        _pills(compared, side, judged),
        *(note(said, "wait") for said in notes if said),
    ]
    role = "" if compared.hidden else side.role
    return f'<section class="ws-card" data-role="{text(role)}">{"".join(parts)}</section>'


def _transcript(compared: Compared, shown: _Shown, judged: ClipJudgement | None) -> str:
    heard, normalizer = shown.side.text, for_language(compared.language)
    if judged is None:
        written = written_beside(heard, shown.other_text, normalizer)
    elif judged.transliterated is None:
        written = written_beside(heard, compared.reference or "", normalizer)
    else:
        folded = by_name(TRANSLITERATED_BY)
        written = written_beside(heard, compared.reference or "", folded, to_devanagari)
    marked = written_html(written, left_out=judged is not None)
    return _paragraph("ws-transcript", heard, compared.language, marked)


def _legend(compared: Compared) -> str:
    """What the marks in the transcripts mean."""
    differs = '<mark class="ws-differs">differs</mark>'
    if _judged(compared, compared.sides[0]) is None:
        return f'<p class="ws-marked ws-marks-legend">{differs} from the other text</p>'
    return (
        f'<p class="ws-marked ws-marks-legend">{differs} <del>left out</del> '
        "compared with what was said</p>"
    )


def _drawer(compared: Compared, is_open: bool) -> str:
    """What only those who want to know it exactly look at."""
    parts = [f'<div class="ws-card">{_alignments(compared)}{marks_legend()}</div>']
    if not compared.hidden:
        parts.append(f'<div class="ws-card ws-figures">{_figures(compared)}</div>')
    named = "Word by word" if compared.hidden else "Word by word, and all figures"
    return (
        f'<details class="ws-drawer"{" open" if is_open else ""}><summary>{named}</summary>'
        f"{''.join(parts)}</details>"
    )


def _alignments(compared: Compared) -> str:
    parts = []
    for place, shown in enumerate(_shown(compared)):
        judged = _judged(compared, shown.side)
        if judged is not None:
            aligned = _against_reference(compared, shown.side, judged)
        elif place == 0:  # the others are set against it
            continue
        else:
            normalizer = for_language(compared.language)
            first = _shown(compared)[0]
            steps = word_differences(first.side.text, shown.side.text, normalizer)
            after = f"Against {first.title}, after normalizer {normalizer.name}"
            aligned = _aligned(after, steps, compared.language)
        parts.append(f'<div class="ws-aligned"><h3>{text(shown.title)}</h3>{aligned}</div>')
    return "".join(parts)


def _judged(compared: Compared, side: HeardSide) -> ClipJudgement | None:
    """None where there is no reference."""
    language = compared.language
    if not compared.reference or not for_language(language)(compared.reference).split():
        return None
    return judge_clip(compared.reference, side.text, language)


def _pills(compared: Compared, side: HeardSide, judged: ClipJudgement | None) -> str:
    """Script of the text, and whether it repeats itself."""
    script = text_script(side.text)
    found = []
    if script != NO_SCRIPT:
        other = (
            judged.in_other_script if judged else bool(writing_note(side.text, compared.language))
        )
        found.append(pill(script_name(script), "wait" if other else "plain"))
    loop = judged.loop if judged else find_loop(side.text)
    if loop is not None:
        found.append(pill(loop.describe(), "bad"))
    return f'<p class="ws-pills">{" ".join(found)}</p>' if found else ""


def _against_reference(compared: Compared, side: HeardSide, judged: ClipJudgement) -> str:
    """Word errors as written and, for another script, also after transliteration."""
    language, wrong = compared.language, f"{judged.errors} of {judged.words} words wrong"
    if judged.transliterated is None:
        steps = word_differences(compared.reference or "", side.text, for_language(language))
        after = f"{wrong} after normalizer {for_language(language).name}"
        return _aligned(after, steps, language)
    steps = word_differences(
        compared.reference or "", to_devanagari(side.text), by_name(TRANSLITERATED_BY)
    )
    count = f"{wrong} as written; {judged.transliterated} of {judged.words} {TRANSLITERATION_NOTE}"
    return _aligned(count, steps, language)


def _aligned(words_above: str, steps: Iterable[Difference], language: str) -> str:
    return (
        f'<p class="ws-small">{text(words_above)}</p>'
        f'<p class="ws-marked" dir="auto" lang="{text(language)}">{marked_words(steps)}</p>'
    )


def player_html(sound: bytes) -> str:
    """A recording, as FLAC, inside the page itself: no file has to be served. Empty for none."""
    if not sound:
        return ""
    data = base64.b64encode(sound).decode()
    return (
        '<audio class="ws-player" controls preload="metadata" aria-label="The recording" '
        f'src="data:audio/flac;base64,{data}"></audio>'
    )


def _figures(compared: Compared) -> str:
    rows = [*_error_rows(compared), *_score_rows(compared.sides), *_cost_rows(compared.sides)]
    many = "both models" if len(compared.sides) == 2 else "all models"
    fed = "the same features" if compared.shared_features else "features of their own"
    seconds = duration(compared.audio_seconds)
    others = compared.together - 1
    beside = f"; heard together with {others} more" if others else ""
    caption = f"One recording of {seconds}, {many} on {fed}, one after the other{beside}"
    roles = [title_of(side) for side in compared.sides]
    headers = ("", *roles, *(f"{role} against dense" for role in roles[1:]))
    notes = [f"Peak memory: {compared.memory_note}."]
    if any(judged and judged.transliterated is not None for judged in _all_judged(compared)):
        notes.insert(0, f"The second count is {TRANSLITERATION_NOTE}.")
    said = "".join(f'<p class="ws-small">{text(line)}</p>' for line in notes)
    return table(headers, rows, caption=caption) + said


def _all_judged(compared: Compared) -> list[ClipJudgement | None]:
    return [_judged(compared, side) for side in compared.sides]


def _error_rows(compared: Compared) -> list[list[Cell]]:
    """Word errors as written and after transliteration, side by side."""
    judged = [each for each in _all_judged(compared) if each is not None]
    blanks = [number("") for _ in compared.sides[1:]]
    if not judged:
        return []
    counts = [number(f"{each.errors} of {each.words}", strong=True) for each in judged]
    rows = [[words("word errors, as written", strong=True), *counts, *blanks]]
    if any(each.transliterated is not None for each in judged):
        after = [
            "–" if each.transliterated is None else f"{each.transliterated} of {each.words}"
            for each in judged
        ]
        name = "word errors, after transliteration, at most"
        rows.append([words(name, strong=True), *map(number, after), *blanks])
    return rows


def _score_rows(sides: tuple[HeardSide, ...]) -> list[list[Cell]]:
    rows = []
    # The last normalizer is the language's own: it comes first here.
    for name in reversed(list(sides[0].scores)):
        for index, rate in enumerate(("WER", "CER")):
            values = [side.scores[name][index] if name in side.scores else None for side in sides]
            cells = [number(percent(value), strong=index == 0) for value in values]
            blanks = [number("") for _ in sides[1:]]
            rows.append([words(f"{rate}, {name}", strong=True), *cells, *blanks])
    return rows


def _cost_rows(sides: tuple[HeardSide, ...]) -> list[list[Cell]]:
    dense, *others = sides
    fewer = partial(_less, less="fewer", more="more")
    smaller = partial(_less, less="smaller", more="larger")
    less = partial(_less, less="less", more="more")
    measured: list[
        tuple[str, Callable[[HeardSide], float], Callable[[float], str], Callable[..., str] | None]
    ] = [
        ("time", lambda side: side.seconds, duration, faster),
        ("real-time factor", lambda side: side.rtf, lambda value: f"{value:.3f}", None),
        ("size on disk", lambda side: side.bytes_on_disk, megabytes, smaller),
        ("parameters", lambda side: side.parameters, millions, fewer),
        ("peak memory", lambda side: side.peak_memory_bytes, megabytes, less),
        ("tokens written", lambda side: side.tokens, str, None),
    ]
    blanks = [words("") for _ in others]
    rows = [
        [words(name, strong=True), *(words(getattr(side, key)) for side in sides), *blanks]
        for name, key in (("engine", "runs_in"), ("window", "hears_in"))
    ]
    for name, get, show, against in measured:
        changes = ["" if against is None else against(get(dense), get(side)) for side in others]
        cells = [number(show(get(side))) for side in sides]
        rows.append([words(name, strong=True), *cells, *map(number, changes)])
    return rows


# Variables of Gradio's theme that the app's style sheets use.
_BASE = """
:root { --body-text-color: #1e293b; --body-text-color-subdued: #475569;
  --block-background-fill: #fff; --radius-lg: 8px; --radius-md: 6px; }
body { font: 400 16px/1.5 "Noto Sans Devanagari", system-ui, sans-serif; margin: 0 auto;
  max-width: 1080px; padding: 1rem; color: var(--body-text-color); background: #f8fafc; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; }
@media print { body { background: #fff; padding: 0; } audio { display: none; }
  .ws-card { break-inside: avoid; } }
"""


def comparison_page(compared: Compared, sound: bytes) -> str:
    """A whole HTML page with fonts, styles and the recording inside; it fetches nothing.

    Raises `UsageError` while the sides are hidden: the page would show which is which.
    """
    _check_shown(compared)
    styles = "\n".join(sheet.read_text("utf-8") for sheet in (STYLE_SHEET, COMPARE_SHEET))
    made = compared.made.replace("T", " ").replace("+00:00", " UTC")
    slim, dense = (model_words(compared.side(role)) for role in ("slim", "dense"))
    lead = f"{made}; {slim} against {dense}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; font-src data:; media-src data:\">"
        f"<title>WhisperSlim comparison</title><style>{font_faces()}{styles}{_BASE}</style></head>"
        f'<body><h1>WhisperSlim comparison</h1><p class="ws-lead">{text(lead)}</p>'
        f"{comparison_html(compared, sound, alone=True)}</body></html>"
    )


def write_page(compared: Compared, sound: bytes, folder: Path) -> Path:
    """The page as a file in `folder`.

    Raises `UsageError` while the sides are hidden, `RunError` when the disk refuses it.
    """
    return _written(folder / f"comparison-{compared.key}.html", comparison_page(compared, sound))


def write_record(compared: Compared, folder: Path) -> Path:
    """The comparison as JSON in `folder`. Raises as `write_page` does."""
    _check_shown(compared)
    verdict = verdict_of(compared)
    judged = {"verdict": verdict.sentence, "winner": verdict.winner, "notes": list(verdict.notes)}
    record = json.dumps({**compared.to_record(), **judged}, ensure_ascii=False, indent=1)
    return _written(folder / f"comparison-{compared.key}.json", record + "\n")


def _check_shown(compared: Compared) -> None:
    if compared.hidden:
        raise UsageError("vote first; the file would reveal which side is which")


def _written(path: Path, content: str) -> Path:
    write_text_checked(path, content)
    return path
