"""A folder's comparison as HTML: how far it is, the totals, a line a clip."""

from whisperslim.speech.normalise import for_language
from whisperslim.speech.significance import compare
from whisperslim.speech.wer import Score, score, word_differences
from whisperslim.ui.compare_batch import BatchRow, BatchState
from whisperslim.ui.markup import Cell, bar, note, number, table, text, words
from whisperslim.ui.quantities import duration, interval, percent
from whisperslim.ui.sides import fairness
from whisperslim.ui.word_marks import marked_words


def batch_html(state: BatchState) -> str:
    """Everything that is known by now."""
    heard = [row for row in state.rows if not row.problem]
    parts = [_progress(state), note(f"{state.source} · {fairness(*state.sides)}")]
    if state.broken_off:
        parts.append(note("Compare the folder goes on with the rest, if all is chosen as it was."))
    if state.problem:
        parts.append(note(state.problem, "bad"))
    if heard:
        parts.append(f'<div class="ws-card ws-figures">{_totals(heard, state.language)}</div>')
    if state.rows:
        rows = [_row(row, state.language) for row in state.rows]
        headers = ("clip", "dense", "slim, differences from dense marked", "errors d / s")
        parts.append(f'<div class="ws-card ws-figures ws-clips">{table(headers, rows)}</div>')
    return "".join(parts)


def _progress(state: BatchState) -> str:
    done = f"{len(state.rows)} of {state.total} clips"
    end = "" if len(state.rows) == state.total else ", stopped"
    said = f"{done}, at work" if state.running else f"{done}{end}"
    if state.running and state.stopping:
        said = f"{done}; stops after the one at work"
    title = f"{state.names[1]} against {state.names[0]}"
    return (
        f'<div class="ws-run-head"><h3 class="ws-wrap">{text(title)}</h3><span>{text(said)}</span>'
        f"</div>{bar(len(state.rows) / max(1, state.total), 'clips compared')}"
    )


def _totals(rows: list[BatchRow], language: str) -> str:
    cells = [
        [words("time", strong=True), number(_time(rows, "dense")), number(_time(rows, "slim"))]
    ]
    told = [row for row in rows if row.reference]
    lines = []
    try:
        dense, slim = (_score(told, which, language) for which in ("dense", "slim"))
    except ValueError:
        lines.append("No clip has a text, so no error rate: what differs is shown below.")
    else:
        rates = [number(percent(each.wer), strong=True) for each in (dense, slim)]
        cells.insert(0, [words(f"WER, {dense.normaliser}", strong=True), *rates])
        verdict = compare(dense, slim)
        low, high = verdict.interval.low, verdict.interval.high
        lines.append(
            f"Slim minus dense: {100 * verdict.difference:+.1f} points, 95 % interval "
            f"{interval(low, high)}: {verdict.verdict}."
        )
    same = sum(row.dense.split() == row.slim.split() for row in rows)
    lines.append(f"Both wrote the same text for {same} of {len(rows)} clips.")
    seconds = duration(sum(row.audio_seconds for row in rows))
    caption = f"{len(rows)} clips, {seconds} of sound"
    notes = "".join(f'<p class="ws-small">{text(line)}</p>' for line in lines)
    return table(("", "dense", "slim"), cells, caption=caption) + notes


def _score(rows: list[BatchRow], which: str, language: str) -> Score:
    normaliser = for_language(language)
    spoken = [row for row in rows if normaliser(row.reference or "").split()]
    if not spoken:
        raise ValueError("no reference has a word")
    return score([row.reference or "" for row in spoken], [getattr(row, which) for row in spoken],
                 normaliser)  # fmt: skip


def _time(rows: list[BatchRow], which: str) -> str:
    return duration(sum(getattr(row, f"{which}_seconds") for row in rows))


def _row(row: BatchRow, language: str) -> list[Cell]:
    if row.problem:
        return [words(row.key), Cell(note(row.problem, "bad")), words(""), number("–")]
    steps = word_differences(row.dense, row.slim, for_language(language))
    marked = f'<div class="ws-marked" lang="{text(language)}">{marked_words(steps)}</div>'
    written = f'<div lang="{text(language)}">{text(row.dense)}</div>'
    return [words(row.key), Cell(written), Cell(marked), number(_errors(row, language))]


def _errors(row: BatchRow, language: str) -> str:
    if not row.reference:
        return "–"
    normaliser = for_language(language)
    counts = [
        sum(step.kind != "equal" for step in word_differences(row.reference, said, normaliser))
        for said in (row.dense, row.slim)
    ]
    return f"{counts[0]} / {counts[1]}"
