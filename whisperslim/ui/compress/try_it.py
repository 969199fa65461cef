"""The first steps of a new user: "Try it", watch, and compare the result."""

from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.blocks import Block

from whisperslim.jobs.recipe.trial import NAME, TrialNeeds, trial_needs
from whisperslim.jobs.run.folder import RunDir, RunStatus
from whisperslim.jobs.run.view import RunView
from whisperslim.ui.context.choices import slim_choices
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.parts.demo_clips import demo_clip, demo_clips
from whisperslim.ui.parts.markup import bar, note, text
from whisperslim.ui.parts.quantities import duration, megabytes
from whisperslim.ui.parts.updates import Updates
from whisperslim.ui.runs.card import done_share

POLL_SECONDS = 2.0
_WORK = {
    "data": "reads the demo recordings",
    "vocabulary": "removes the tokens of other languages",
    "prepare": "tunes the model",
    "tune": "trains, to find out what can be removed",
    "plan": "decides what to remove",
    "shrink": "cuts it out, and checks that nothing else changes",
    "recover": "trains the rest",
    "export": "writes the small model",
    "evaluate": "scores the large and the small model",
}
_ALIVE = (RunStatus.RUNNING, RunStatus.QUEUED)


@dataclass(frozen=True)
class TryCard:
    """The components. `following` is the name of the run that is followed, or empty."""

    part: gr.Column
    offer: gr.HTML
    button: gr.Button
    progress: gr.HTML
    following: gr.State
    timer: gr.Timer

    def outputs(self) -> list[Block]:
        """What `see` fills."""
        return [self.part, self.offer, self.button, self.progress, self.following, self.timer]


@dataclass(frozen=True)
class ReadyComparison:
    """What Compare shows once the trial run has its model: only its button remains to be pressed.

    `slim` is one of `slims`, the models to choose from; `said` is the text of the `recording`.
    """

    slims: list[str]
    slim: str
    clip: str
    recording: Path
    said: str


def lay_out_card() -> TryCard:
    """Make the card in the open Blocks context; hidden until it is needed."""
    with gr.Column(visible=False, elem_classes=["ws-try"], elem_id="try") as part:
        with gr.Row(equal_height=True):
            with gr.Column(scale=4, min_width=280):
                offer = gr.HTML("", elem_id="try-offer")
            with gr.Column(scale=1, min_width=150):
                button = gr.Button("Try it", variant="primary", elem_id="try-it")
        progress = gr.HTML("", elem_id="try-progress")
    return TryCard(
        part, offer, button, progress, gr.State(""), gr.Timer(POLL_SECONDS, active=False)
    )


def see(card: TryCard, context: AppContext, name: str) -> Updates:
    """The card for the followed run, or for none."""
    run, status = _followed(context, name)
    if run is None or status is None:
        return _offer(card, context)
    alive = status in _ALIVE
    progress = progress_html(run, status, context.watch.view(run))
    label = "Working…" if alive else "Try again"
    return {
        card.part: gr.update(visible=True),
        card.offer: _HEAD,
        card.button: gr.update(interactive=not alive, value=label),
        card.progress: progress,
        card.following: run.name if alive else "",
        card.timer: gr.Timer(active=alive),
    }


def arrived(context: AppContext) -> str:
    """For a fresh page: the trial run that is running, if there is one."""
    trials = [run for run, _ in context.watch.listed() if is_trial(run.name)]
    return next((run.name for run in trials if context.watch.status(run) in _ALIVE), "")


def begin(context: AppContext) -> RunDir:
    """Make the trial run and start it. Raises `RecipeError` or `RunError`."""
    run = RunDir.create(context.runs, context.trial())
    context.start(run)
    return run


def is_done(context: AppContext, name: str) -> bool:
    """Whether the followed run has finished with a model."""
    return bool(name) and name in slim_choices(context)


def comparison_of(context: AppContext, name: str) -> ReadyComparison:
    """The model of the run on the first demo clip."""
    clip = next(iter(demo_clips()))
    recording, said = demo_clip(clip)
    return ReadyComparison(slim_choices(context), name, clip, recording, said)


def is_trial(name: str) -> bool:
    """Whether a run was made by "Try it"."""
    # The name may end in a number, for a second run within the same second.
    return name[len("20260101-000000-") :].startswith(NAME)


def offer_html(needs: TrialNeeds) -> str:
    """What "Try it" does and needs, before it is pressed."""
    model = "none, the model is already on this computer"
    if needs.download_bytes:
        model = f"{megabytes(needs.download_bytes)}, once"
    facts = (
        ("time", f"about {round(needs.seconds / 60)} minutes on two idle processor cores"),
        ("disk", f"up to {megabytes(needs.disk_bytes)} while it runs"),
        ("download", model),
    )
    items = "".join(f"<span>{name} <b>{text(fact)}</b></span>" for name, fact in facts)
    return f'{_HEAD}<div class="ws-facts">{items}</div>{_room(needs)}'


def progress_html(run: RunDir, status: RunStatus, view: RunView) -> str:
    """Which step the trial run is at, as text."""
    if status == RunStatus.QUEUED:
        return note("Waiting until the run before it has ended.", "wait")
    if status == RunStatus.FINISHED:
        return note("Done. Compare shows both models on a clip that trained neither.", "good")
    if status != RunStatus.RUNNING:
        return note(_ended(run, status, view), "bad" if status == RunStatus.FAILED else "wait")
    done = sum(stage.status in ("done", "skipped") for stage in view.stages)
    share = (done + (done_share(view) or 0.0)) / max(1, len(view.stages))
    step = f"Step {min(done + 1, len(view.stages) or 1)} of {len(view.stages) or len(_WORK)}"
    work = _WORK.get(view.stage, "getting ready")
    left = f", {duration(view.eta_seconds)} left in it" if view.eta_seconds else ""
    return (
        f'{bar(share, "progress of the trial run")}<p class="ws-small" role="status">'
        f"{step}: {text(work)}{text(left)}. Compare opens when it is done; the run continues if "
        "you close the page.</p>"
    )


_HEAD = (
    '<h2 class="ws-try-title">New here? Make Whisper smaller, then hear the two side by side</h2>'
    "<p>One click takes Whisper-base and the Hindi demo recordings that come with the project, "
    "removes 30 % of what can be removed, and compares both models. Sixty synthetic clips show "
    "that everything works; for quality, use real recordings.</p>"
)


def _offer(card: TryCard, context: AppContext) -> Updates:
    nothing: Updates = {card.progress: "", card.following: "", card.timer: gr.Timer(active=False)}
    if slim_choices(context):  # not a new user: the form comes first
        return {**nothing, card.part: gr.update(visible=False), card.offer: ""}
    needs = trial_needs(context.runs, context.trial())
    return {
        **nothing,
        card.part: gr.update(visible=True),
        card.offer: offer_html(needs),
        card.button: gr.update(value="Try it", interactive=needs.fits),
    }


def _followed(context: AppContext, name: str) -> tuple[RunDir | None, RunStatus | None]:
    found = next((run for run, _ in context.watch.listed() if run.name == name), None)
    return (found, context.watch.status(found)) if found and is_trial(name) else (None, None)


def _room(needs: TrialNeeds) -> str:
    if needs.fits:
        return ""
    words = f"The disk of the runs has {megabytes(needs.free_bytes)} free: make room first."
    return f'<div class="ws-part">{note(words, "bad")}</div>'


def _ended(run: RunDir, status: RunStatus, view: RunView) -> str:
    why = f": {view.error}" if view.error else ""
    return f"{run.name} {status}{why}\nThe Runs tab has its log, and Resume continues it."
