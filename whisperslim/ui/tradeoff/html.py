"""A run at another size as HTML: expected size, predicted error, and a curve's progress."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from whisperslim.jobs.process.background import Background
from whisperslim.jobs.sizes.curve import Sweep
from whisperslim.ui.context.run_watch import plain
from whisperslim.ui.parts.charts import short_sets
from whisperslim.ui.parts.markup import Cell, bar, empty, note, number, pill, table, text, words
from whisperslim.ui.parts.quantities import (
    duration,
    interval,
    latency,
    megabytes,
    millions,
    operations,
    percent,
)

if TYPE_CHECKING:  # plain values, but their modules load torch
    from whisperslim.jobs.sizes.predict import Prediction
    from whisperslim.jobs.sizes.replan import Replan

_LAST_LINES = 6

NO_RUN = empty(
    "No run to resize yet",
    "Compress a model first. A run appears here once it has decided what to cut, at the end of its "
    "stage plan; any other size can then be planned from its scores. A run of method none, as of "
    "the preset dense-tuned, prunes nothing and has no other size.",
)
NO_CURVE = empty(
    "No curve measured yet",
    "Name some targets above and press Sweep: each becomes a model that is cut, recovered and "
    "measured. The points appear here one by one.",
)
NONE_CHOSEN = empty("No run chosen", "Choose one or several runs above to draw their curves.")
NOT_PREDICTED = (
    '<p class="ws-small">Predict WER cuts the tuned model to this size and scores it on a few dev '
    "clips, in the background.</p>"
)


def size_tiles(plan: "Replan") -> str:
    """Expected size, one tile a quantity, each against the dense model."""
    tiles = [
        _tile("parameters", millions(plan.parameters), millions(plan.dense_parameters)),
        _tile("on disk", megabytes(plan.bytes), megabytes(plan.dense_bytes)),
        _tile("FLOPs", operations(plan.flops), operations(plan.dense_flops)),
        _tile("removed", millions(plan.removed), "", _removed_words(plan)),
        _tile("zeroed", millions(plan.zeroed), "", "left in place"),
    ]
    return (
        f'<div class="ws-tiles">{"".join(tiles)}</div><p class="ws-small">Arithmetic on the saved '
        f"scores, in {latency(plan.seconds)}; nothing is cut yet. FLOPs of {text(plan.workload)}."
        "</p>"
    )


def prediction_html(found: "Prediction | None", command: Background, asked: Sequence[str]) -> str:
    """What is known about the error at the slider. `asked` is the command that would measure it."""
    if found is not None:
        return _predicted(found)
    if command.running and list(command.arguments) == list(asked):
        return note("Predicting in the background. It continues if you leave this page.", "busy")
    if command.running:
        return note(
            f"A prediction for removed {command.value_of('--target')} is running; only one runs at "
            "a time.",
            "wait",
        )
    if list(command.arguments) == list(asked):
        return note(f"The prediction ended without a result:\n{last_words(command)}", "bad")
    return NOT_PREDICTED


def sweep_html(found: Sweep | None, command: Background) -> str:
    """The progress of a run's sweep, or how it ended. Empty when there never was one."""
    if not command.arguments:
        return ""
    wanted = [float(part) for part in command.value_of("--targets").split(",") if part]
    measured = _measured(found, command)
    done = sum(target in measured for target in wanted)
    said = f"{done} of {len(wanted)} targets measured"
    failed = any(line.startswith("error:") for line in plain(command.said).splitlines())
    if command.running:
        return (
            f'<div class="ws-card">{bar(done / max(1, len(wanted)), "progress of the sweep")}'
            f'<p class="ws-small">{pill("running", "busy")} {said}. The current model is on the '
            "Runs tab. The sweep continues if you leave this page.</p></div>"
        )
    if done == len(wanted) and not failed:
        return note(f"Done: {said}.", "good")
    return note(
        f"Ended: {said}. Press Sweep to continue.\n{last_words(command)}",
        "bad" if failed else "wait",
    )


def _measured(found: Sweep | None, command: Background) -> set[float]:
    """Targets on the curve that the command measures.

    Until its first point is stored, the stored curve is that of an earlier command.
    """
    recovery = command.value_of("--recover")
    if found is None or (recovery and int(recovery) != found.recover_steps):
        return set()
    return {point.target for point in found.points}


def points_tables(sweeps: Sequence[Sweep]) -> str:
    """The points of the picture as figures, one table per run with its conditions."""
    sizes = ("target", "removed", "zeroed", "parameters", "on disk", "FLOPs", "latency")
    headers = (*sizes, "WER", "95 % interval", "CER", "clips", "model")
    return "".join(_caption(sweep) + table(headers, _rows(sweep)) for sweep in sweeps)


def _caption(sweep: Sweep) -> str:
    # Outside the table, which scrolls sideways on a narrow page, so that it is always visible.
    return (
        f'<p class="ws-small ws-wrap"><b>{text(sweep.run)}</b> ({text(sweep.method)}): '
        f"{text(short_sets(sweep.data))}, normalizer {text(sweep.normalizer)}, window "
        f"{text(sweep.window)}, {sweep.recover_steps} steps of recovery</p>"
    )


def last_words(command: Background) -> str:
    """The end of a command's output."""
    return "\n".join(plain(command.said).splitlines()[-_LAST_LINES:]) or "it printed nothing"


def _predicted(found: "Prediction") -> str:
    return (
        '<div class="ws-card"><div class="ws-facts ws-flat"><span class="ws-big">'
        f"{percent(found.wer)}</span><span>predicted WER, <b>before any recovery training</b>"
        f"</span></div>"
        f'<p class="ws-small">95 % interval {interval(found.low, found.high)}; CER '
        f"{percent(found.cer)}; {found.n} clips of {text(short_sets(found.data))}; normalizer "
        f"{text(found.normalizer)}; window {text(found.window)}; {text(found.decoding)}; took "
        f"{duration(found.seconds)}.</p></div>"
    )


def _tile(name: str, value: str, dense: str, below: str = "") -> str:
    under = f"dense {dense}" if dense else below
    return f"<div><span>{name}</span><b>{text(value)}</b><span>{text(under)}</span></div>"


def _removed_words(plan: "Replan") -> str:
    """Of what the share is, and what of it the vocabulary was."""
    units = f"{percent(plan.plan.removed)} of prunable weights"
    if not plan.vocabulary:
        return units
    cut = millions(plan.removed - plan.vocabulary)
    return f"{cut}: {units}; {millions(plan.vocabulary)}: vocabulary"


def _rows(sweep: Sweep) -> list[list[Cell]]:
    return [
        [
            number(percent(point.target), strong=True),
            number(percent(point.removed)),
            number(percent(point.zeroed)),
            number(millions(point.parameters)),
            number(megabytes(point.bytes)),
            number(operations(point.flops)),
            number(latency(point.latency_seconds)),
            number(percent(point.wer), strong=True),
            number(interval(point.wer_low, point.wer_high)),
            number(percent(point.cer)),
            number(point.n),
            words(point.run),
        ]
        for point in sweep.points
    ]
