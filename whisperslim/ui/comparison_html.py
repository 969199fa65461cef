"""A comparison of two models on one recording, as HTML."""

from collections.abc import Callable, Mapping
from typing import Any

from whisperslim.speech.normalise import for_language
from whisperslim.speech.wer import word_differences
from whisperslim.ui.markup import Cell, note, number, table, text, words
from whisperslim.ui.quantities import duration, megabytes, millions, percent
from whisperslim.ui.sides import SideChoice, fairness
from whisperslim.ui.word_marks import marked_words, marks_legend

# A difference smaller than this is noise of the clock.
_SAME = 0.02


def comparison_html(
    comparison: Any,
    names: tuple[str, str],
    language: str,
    reference: str | None,
    run_as: tuple[SideChoice, SideChoice],
) -> str:
    """Transcripts side by side with their differences, and the figures of both under them.

    `names` are those of the dense and the slim model as they were chosen, `run_as` what each ran
    in.
    """
    sides = "".join(
        _side(label, name, run, side, _against(comparison, label, reference), language)
        for label, name, run, side in zip(
            ("dense", "slim"), names, run_as, (comparison.dense, comparison.slim), strict=True
        )
    )
    return (
        f'<div class="ws-sides">{sides}</div>{marks_legend()}{note(fairness(*run_as))}'
        f'<div class="ws-card ws-figures">{_figures(comparison)}</div>'
    )


def _against(comparison: Any, label: str, reference: str | None) -> tuple[str, str] | None:
    """What a side's words are held against: (what it is called, the text)."""
    if reference:
        return "the reference", reference
    return ("the dense transcript", comparison.dense.transcript.text) if label == "slim" else None


def _side(
    label: str,
    name: str,
    run: SideChoice,
    side: Any,
    against: tuple[str, str] | None,
    language: str,
) -> str:
    transcript = side.transcript
    said = text(transcript.text) if transcript.text.strip() else "<em>nothing recognised</em>"
    parts = [
        f'<div class="ws-run-head"><h3>{text(label)}</h3><span>{text(name)}</span></div>',
        f'<p class="ws-small">{text(run.runs_in)}, {text(run.hears_in)}</p>',
        f'<p class="ws-transcript" lang="{text(language)}">{said}</p>',
    ]
    if against is not None:
        normaliser = for_language(language)
        steps = word_differences(against[1], transcript.text, normaliser)
        parts.append(
            f'<p class="ws-small">Against {against[0]}, after normaliser {text(normaliser.name)}'
            f'</p><p class="ws-marked" lang="{text(language)}">{marked_words(steps)}</p>'
        )
    if transcript.note:
        parts.append(note(transcript.note, "wait"))
    return f'<section class="ws-card">{"".join(parts)}</section>'


def _figures(comparison: Any) -> str:
    rows = [*_score_rows(comparison.scores), *_cost_rows(comparison)]
    seconds = duration(comparison.dense.transcript.audio_seconds)
    fed = "the same features" if comparison.shared_features else "features of their own"
    caption = f"One recording of {seconds}, both models on {fed}, one after the other"
    notes = f'<p class="ws-small">Peak memory: {text(comparison.memory_note)}.</p>'
    return table(("", "dense", "slim", "slim : dense"), rows, caption=caption) + notes


def _score_rows(scores: Mapping[str, Any] | None) -> list[list[Cell]]:
    if not scores:
        return []
    rows = []
    # The last normaliser is the language's own: it comes first here.
    for name in reversed(list(scores["dense"])):
        for index, rate in enumerate(("WER", "CER")):
            pair = [scores[label][name][index] for label in ("dense", "slim")]
            cells = [number(percent(value), strong=index == 0) for value in pair]
            rows.append([words(f"{rate}, {name}", strong=True), *cells, number("")])
    return rows


def _cost_rows(comparison: Any) -> list[list[Cell]]:
    dense, slim = comparison.dense, comparison.slim
    measured: list[tuple[str, Callable[[Any], float | None], Callable[[Any], str]]] = [
        ("time", lambda side: side.transcript.seconds, duration),
        ("real-time factor", lambda side: side.transcript.rtf, lambda value: f"{value:.3f}"),
        ("size on disk", lambda side: side.bytes_on_disk, megabytes),
        ("parameters", lambda side: side.parameters, millions),
        ("peak memory", lambda side: side.peak_memory_bytes, megabytes),
        ("tokens written", lambda side: side.transcript.tokens, str),
    ]
    return [
        [
            words(name, strong=True),
            number(show(get(dense))),
            number(show(get(slim))),
            number(_ratio(get(dense), get(slim))),
        ]
        for name, get, show in measured
    ]


def _ratio(dense: float | None, slim: float | None) -> str:
    if not dense or slim is None:
        return "–"
    ratio = slim / dense
    return "same" if abs(ratio - 1) < _SAME else f"{ratio:.2f} ×"
