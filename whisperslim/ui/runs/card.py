"""One run as HTML: the card on top of the Runs tab, and the tables and log below it."""

from datetime import UTC, datetime

from whisperslim.events import Evaluated, StepDone
from whisperslim.jobs.process.child import died_of
from whisperslim.jobs.process.queue import Turn
from whisperslim.jobs.run.folder import RunDir, RunStatus
from whisperslim.jobs.run.resuming import resume_point
from whisperslim.jobs.run.view import RunView, StageView
from whisperslim.jobs.sizes.derivation import MARKER
from whisperslim.ui.context.context import TONES
from whisperslim.ui.parts.charts import short_source
from whisperslim.ui.parts.markup import Cell, bar, empty, note, number, pill, table, text, words
from whisperslim.ui.parts.quantities import duration, megabytes, percent

NOT_WAITING = Turn()
_STAGE_TONES = {
    "running": "busy",
    "done": "good",
    "skipped": "good",
    "failed": "bad",
    "stopped": "wait",
}
_STAGE_MARKS = {"running": "▸ ", "done": "✓ ", "skipped": "✓ ", "failed": "✕ ", "stopped": "‖ "}
_ENDINGS = {
    RunStatus.QUEUED: "Not started yet.",
    RunStatus.STOPPED: "Stopped.",
    RunStatus.DIED: "The worker process ended without an error message, as after a power failure.",
    RunStatus.DAMAGED: "This run cannot be resumed: ",
}


def run_label(run: RunDir, status: RunStatus, view: RunView | None = None, place: int = 0) -> str:
    """One line for a list of runs. `place` is the run's place in the queue, 0 when it does not
    wait.
    """
    share = done_share(view) if view and status == RunStatus.RUNNING else None
    state = f"{status} {percent(share, 0)}" if share is not None else _status_words(status)
    if place:
        state = f"waiting, place {place}"
    resized = " · resized" if (run.path / MARKER).is_file() else ""
    return f"{run.name}{resized} · {state}"


def done_share(view: RunView) -> float | None:
    """The share of the running stage that is done; None when the stage does not report it."""
    if view.progress is not None and view.progress.total:
        return view.progress.done / view.progress.total
    if view.step is not None and view.step.total and view.stage == view.step.stage:
        return view.step.step / view.step.total
    return None


def run_card(run: RunDir, status: RunStatus, view: RunView, turn: Turn = NOT_WAITING) -> str:
    """Name, status, stages, progress, time left and other facts."""
    said = _words(run, status, view, turn)
    body = _progress(run, status, view) + _stages(view) + said
    return f'<div class="ws-card">{_head(run, status, turn)}{body}</div>'


def small_card(run: RunDir, status: RunStatus, view: RunView, turn: Turn = NOT_WAITING) -> str:
    """The page's run, in brief, beside the form."""
    waits = _part(note(_waiting(turn), "wait")) if turn.place else ""
    body = _progress(run, status, view) + waits
    return f'<div class="ws-card">{_head(run, status, turn)}{body}</div>'


def resume_label(run: RunDir, view: RunView) -> str:
    """The label of the button that resumes or starts a run."""
    point = resume_point(run, [stage.name for stage in view.stages])
    return f"Resume {point.words}" if point.stage else "Start"


def no_run(why: str = "") -> str:
    """The placeholder without a run, or `why` the chosen one cannot be shown."""
    if why:
        return empty("This run cannot be opened", why)
    return empty("No run chosen", "Start one on the Compress tab; it then appears here.")


def scores_table(view: RunView) -> str:
    """The latest score of every model on every set."""
    latest = [scores[-1] for scores in view.evaluations.values()]
    if not latest:
        return ""
    headers = ("model", "set", "clips", "WER", "CER", "loss", "normalizer", "window")
    return table(headers, [_score(score) for score in latest], caption="Scores")


def log_html(log: str) -> str:
    """The end of the log."""
    return f'<pre class="ws-log" tabindex="0">{text(log) if log else "nothing written yet"}</pre>'


def notices_html(view: RunView) -> str:
    """The run's notices, oldest first."""
    if not view.notices:
        return ""
    lines = "".join(f"<li>{text(notice)}</li>" for notice in view.notices)
    return f'<h3 class="ws-section">Notices</h3><ul class="ws-notices">{lines}</ul>'


def _score(score: Evaluated) -> list[Cell]:
    return [
        words(f"{score.label} ({score.stage})", strong=True),
        words(short_source(score.data)),
        number(score.n),
        number(percent(score.wer), strong=True),
        number(percent(score.cer)),
        number("–" if score.loss is None else f"{score.loss:.3f}"),
        words(score.normalizer),
        words(score.window),
    ]


def _head(run: RunDir, status: RunStatus, turn: Turn) -> str:
    state = pill(f"waiting, place {turn.place}", "wait") if turn.place else _state(status)
    return f'<div class="ws-run-head"><h3>{text(run.name)}</h3>{state}</div>'


def _state(status: RunStatus) -> str:
    return pill(_status_words(status), TONES[status])


def _status_words(status: RunStatus) -> str:
    """A status without the queue: a run may have left it, or never been in it."""
    return "not started" if status == RunStatus.QUEUED else str(status)


def _waiting(turn: Turn) -> str:
    until = f"{turn.behind} has ended" if turn.behind else "the device is free"
    return f"Place {turn.place} in the queue. It starts by itself when {until}, app open or not."


def _progress(run: RunDir, status: RunStatus, view: RunView) -> str:
    share = done_share(view)
    if status == RunStatus.FINISHED:
        share = 1.0
    facts = _facts(run, status, view)
    strip = "" if share is None else bar(share, "progress of the stage")
    return strip + (f'<div class="ws-facts">{facts}</div>' if facts else "")


def _facts(run: RunDir, status: RunStatus, view: RunView) -> str:
    facts: list[tuple[str, str]] = []
    if status == RunStatus.RUNNING:
        facts = _busy_facts(view)
        if there := run.working_elsewhere():
            facts.append(("on", there))
    if view.plan is not None:
        facts.append(("removed", percent(view.plan.removed)))
        facts.append(("zeroed", percent(view.plan.zeroed)))
    if view.seconds is not None and status == RunStatus.FINISHED:
        facts.append(("took", duration(view.seconds)))
    if view.updated_at is not None:
        at = datetime.fromtimestamp(view.updated_at, UTC).astimezone()
        said = "last event" if status == RunStatus.DIED else "updated"
        facts.append((said, f"{at:%Y-%m-%d %H:%M:%S}"))
    return "".join(f"<span>{text(name)} <b>{text(value)}</b></span>" for name, value in facts)


def _busy_facts(view: RunView) -> list[tuple[str, str]]:
    facts = [("stage", view.stage)] if view.stage else [("Starting…", "")]
    if view.progress is not None:
        facts.append((view.progress.what, f"{view.progress.done} of {view.progress.total}"))
    elif view.step is not None and view.step.stage == view.stage:
        facts += _step_facts(view.step)
    if view.eta_seconds is not None:
        facts.append(("left in this stage", duration(view.eta_seconds)))
    return facts


def _step_facts(step: StepDone) -> list[tuple[str, str]]:
    return [
        ("step", f"{step.step} of {step.total}"),
        ("per step", duration(step.seconds_per_step)),
        ("learning rate", f"{step.learning_rate:.2g}"),
        ("gradient norm", f"{step.grad_norm:.2f}"),
        ("peak memory", megabytes(step.peak_memory_bytes)),
    ]


def _stages(view: RunView) -> str:
    items = "".join(f"<li>{_stage(stage)}</li>" for stage in view.stages)
    return f'<ol class="ws-stages">{items}</ol>' if items else ""


def _stage(stage: StageView) -> str:
    took = f" {duration(stage.seconds)}" if stage.seconds and stage.status == "done" else ""
    return pill(
        _STAGE_MARKS.get(stage.status, "") + stage.name + took,
        _STAGE_TONES.get(stage.status, "plain"),
    )


def _words(run: RunDir, status: RunStatus, view: RunView, turn: Turn) -> str:
    if turn.place:
        return _part(note(_waiting(turn), "wait"))
    if status == RunStatus.RUNNING and run.stop_requested():
        return _part(note(_stopping(run, view), "wait"))
    parts = [note(view.error, "bad")] if view.error and status == RunStatus.FAILED else []
    if status in _ENDINGS:
        ended = _died(run) if status == RunStatus.DIED else _ENDINGS[status]
        parts.append(note(f"{ended}{_how_to_go_on(run, status, view)}", TONES[status]))
    return "".join(map(_part, parts))


def _died(run: RunDir) -> str:
    why = died_of(run)
    return f"The worker process was ended: {why}." if why else _ENDINGS[RunStatus.DIED]


def _stopping(run: RunDir, view: RunView) -> str:
    if there := run.working_elsewhere():
        return f"Stopping after this step, with a checkpoint, on {there}."
    point = resume_point(run, [stage.name for stage in view.stages])
    return (
        "Stopping after this step, with a checkpoint. Stop now stops immediately; Resume "
        f"would then continue {point.words}."
    )


def _how_to_go_on(run: RunDir, status: RunStatus, view: RunView) -> str:
    if status == RunStatus.DAMAGED:
        return run.damage()
    point = resume_point(run, [stage.name for stage in view.stages])
    return f" Resume continues {point.words}." if point.stage else " Press Start to begin."


def _part(html: str) -> str:
    return f'<div class="ws-part">{html}</div>'
