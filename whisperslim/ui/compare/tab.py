"""The Compare tab: one recording, two models or three, word by word."""

import os
from collections.abc import Sequence
from typing import Any

import gradio as gr

from whisperslim.errors import AudioError, UsageError, WhisperSlimError
from whisperslim.ui.compare import folder_panel as batch_panel
from whisperslim.ui.compare import results as compare_results
from whisperslim.ui.compare.fields import LONGEST_REFERENCE, NO_THIRD, CompareTab
from whisperslim.ui.compare.folder import BatchCompare, check_source, clips_of
from whisperslim.ui.compare.history import History
from whisperslim.ui.compare.record import Compared, compared_from
from whisperslim.ui.context.choices import dense_choices, slim_choices
from whisperslim.ui.context.context import AppContext, for_people
from whisperslim.ui.context.side_choice import TORCH, SideChoice
from whisperslim.ui.context.sides import dense_side, fairness, slim_options, slim_side
from whisperslim.ui.parts.demo_clips import demo_clip
from whisperslim.ui.parts.markup import text

# What the recorder tells the script of `live_text`; the page works without it.
_START = "(...given) => { window.whisperSlimLive?.start(...given); return []; }"
_STOP = "() => { window.whisperSlimLive?.stop(); return []; }"
_CLEAR = "() => { window.whisperSlimLive?.clear(); return []; }"
_DENSE_MADE = (
    "Dense model in CTranslate2, the engine of faster-whisper: made and checked when it is first "
    "used, which takes a minute or two; then it stays in the cache."
)


def connect(tab: CompareTab, context: AppContext, opened: Sequence[Any], visited: Any) -> None:
    """Wire the tab.

    `opened` are the events on which the lists of models are read again, `visited` the one that
    says that somebody looks at this tab.
    """

    history = History(context.runs)

    def offer(chosen: str | None, dense_engine: str) -> list[Any]:
        names = slim_choices(context)
        name = chosen or next(iter(names), None)
        dense = gr.update(choices=dense_choices(context))
        return [dense, gr.update(choices=names, value=name), *engines(name, dense_engine)]

    # The note comes with the engines: a change event of its own could be lost on the way.
    def engines(slim: str | None, dense_engine: str) -> list[Any]:
        (update,) = engine_updates(context, slim, None)
        note = engine_note(context, slim, update["value"], dense_engine)
        return [update, note, third_update(context, slim)]

    def explain(slim: str | None, key: str | None, dense_engine: str) -> str:
        return engine_note(context, slim, key, dense_engine)

    @for_people
    def take_clip(name: str | None) -> list[Any]:
        if not name:
            return [gr.skip(), gr.skip()]
        path, said = demo_clip(name)
        return [str(path), said]

    @for_people
    def compare(blind: bool, third: object, recording: object, *shown: Any) -> list[Any]:
        keep_here(recording)
        # Three texts cannot be A and B.
        found = compared(context, recording, *shown, third=None if blind is True else third)
        return compare_results.keep(history, found, str(recording), blind=blind is True)

    def list_earlier(key: str) -> list[Any]:
        return compare_results.listing(history, key)

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    chosen = [tab.slim, tab.dense_engine]
    offered = [tab.slim_engine, tab.engine_note, tab.third]
    gr.on(list(opened), offer, chosen, [tab.dense, tab.slim, *offered], **quiet)
    shown = tab.shown
    gr.on(list(opened), list_earlier, shown.key, [shown.earlier, shown.tally], **quiet)
    compare_results.connect(shown, history)
    batch = BatchCompare(context.listening.compare, history.folder)

    def begin(*given: Any) -> None:
        begin_folder(context, batch, *given)

    sides = [tab.dense, tab.dense_engine, tab.dense_window, tab.slim, tab.slim_engine, tab.language]
    folder = [tab.batch.source, tab.batch.most, *sides]
    batch_panel.connect(tab.batch, batch, opened, begin, folder)
    tab.slim.input(engines, chosen, offered, **quiet)
    explained = [tab.slim, tab.slim_engine, tab.dense_engine]
    again = {**quiet, "trigger_mode": "always_last"}
    gr.on(
        [tab.slim_engine.input, tab.dense_engine.input],
        explain,
        explained,
        tab.engine_note,
        **again,
    )
    prepared = [tab.live, tab.slim, tab.slim_engine, tab.language]
    visited(lambda *shown: get_ready(context, *shown), prepared, None, **quiet)
    both = [*prepared, tab.dense, tab.dense_engine, tab.dense_window, tab.blind]
    tab.audio.start_recording(None, both, None, js=_START)
    # What is said while the recorder rests is not in the recording either.
    for event in (tab.audio.stop_recording, tab.audio.pause_recording):
        event(None, None, None, js=_STOP)
    # Text of both models by name would tell A from B.
    cleared = [tab.audio.clear, tab.audio.upload, tab.clip.input, tab.blind.input]
    gr.on(cleared, None, None, None, js=_CLEAR)
    tab.clip.input(take_clip, tab.clip, [tab.audio, tab.reference], **quiet)
    # A new recording has no text yet; the one of the clip before would score it wrongly.
    gr.on(
        [tab.audio.start_recording, tab.audio.upload, tab.audio.clear],
        lambda: [None, ""],
        None,
        [tab.clip, tab.reference],
        queue=False,
        **quiet,
    )
    tab.compare.click(
        compare,
        [
            tab.blind,
            tab.third,
            tab.audio,
            tab.dense,
            tab.dense_engine,
            tab.dense_window,
            tab.slim,
            tab.slim_engine,
            tab.language,
            tab.reference,
        ],
        compare_results.outputs(shown),
        concurrency_id="compute",
        concurrency_limit=1,
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=[shown.result],
    )


def keep_here(recording: object) -> None:
    """Keep the page's recording from being cleared away for as long again as a new one.

    Raises `AudioError` when it is gone already: the page was left open for long.
    """
    if not isinstance(recording, str) or not recording:
        return  # `compared` says that there is none
    try:
        os.utime(recording)
    except (OSError, ValueError) as error:
        raise AudioError("the recording is no longer here; record or choose it again") from error


def compared(
    context: AppContext,
    audio: object,
    dense: object,
    dense_engine: object,
    dense_window: object,
    slim: object,
    slim_engine: object,
    language: object,
    said: object,
    *,
    third: object = None,
) -> Compared:
    """What both models hear in one recording; `third` is one more engine of the slim one.

    Raises `AudioError`, `SourceError`, `CheckpointError`, `ExportError` or `UsageError`.
    """
    if not isinstance(audio, str) or not audio:
        raise AudioError("there is no recording; record one, upload a file or choose a demo clip")
    if not isinstance(said, str) or len(said) > LONGEST_REFERENCE:
        raise UsageError(f"the reference is longer than {LONGEST_REFERENCE} characters")
    first = dense_side(context, dense, dense_engine, dense_window)
    second = slim_side(context, slim, slim_engine)
    more = _third_side(context, slim, third, second)
    spoken = spoken_language(language)
    reference = said.strip() or None
    result = context.listening.compare(first, second, audio, spoken, reference, *more)
    names = (str(dense), str(slim), str(slim))
    sides = (first, second, *more)
    return compared_from(result, names, sides, spoken, reference, fairness(first, second))


def _third_side(
    context: AppContext, slim: object, key: object, taken: SideChoice
) -> list[SideChoice]:
    if key in (None, NO_THIRD):
        return []
    side = slim_side(context, slim, key)
    if side == taken:
        raise UsageError("the third model is the slim one in the same engine; choose another")
    return [side]


def begin_folder(
    context: AppContext,
    batch: BatchCompare,
    source: object,
    most: object,
    dense: object,
    dense_engine: object,
    dense_window: object,
    slim: object,
    slim_engine: object,
    language: object,
) -> None:
    """Start to compare a whole folder. Raises as `compared` does, and `DataError`."""
    sides = (
        dense_side(context, dense, dense_engine, dense_window),
        slim_side(context, slim, slim_engine),
    )
    spoken = spoken_language(language)
    place = check_source(source)
    clips = clips_of(place, most, context.admit)
    batch.start((str(dense), str(slim)), sides, place, clips, spoken)


def third_update(context: AppContext, slim: object) -> Any:
    """The list of engines for a third side; none is chosen."""
    try:
        options = slim_options(context, slim)
    except WhisperSlimError:  # nothing chosen yet, or half typed: Compare says what is wrong
        options = []
    choices = [("none", NO_THIRD), *((option.label, option.key) for option in options)]
    return gr.update(choices=choices, value=NO_THIRD)


def get_ready(
    context: AppContext, live: object, slim: object, slim_engine: object, language: object
) -> None:
    """Begin to load the slim model, so that the first recording has text soon."""
    if live is not True:
        return
    try:
        context.listening.get_ready(
            slim_side(context, slim, slim_engine), spoken_language(language)
        )
    except WhisperSlimError:  # nothing chosen yet; recording and Compare say what is wrong
        return


def engine_updates(context: AppContext, slim: object, key: object) -> list[Any]:
    """The list of engines for a slim model just chosen: the fastest it has, unless `key` is one."""
    try:
        options = slim_options(context, slim)
    except WhisperSlimError:  # nothing chosen yet, or half typed: Compare says what is wrong
        return [gr.update(choices=[], value=None)]
    keys = [option.key for option in options]
    choices = [(option.label, option.key) for option in options]
    return [gr.update(choices=choices, value=key if key in keys else keys[0])]


def engine_note(context: AppContext, slim: object, key: object, dense_engine: object) -> str:
    """What is worth knowing of the engines chosen, as HTML."""
    lines = [_DENSE_MADE] if dense_engine != TORCH else []
    try:
        found = [option for option in slim_options(context, slim) if option.key == key]
    except WhisperSlimError:
        found = []
    lines += [f"Slim model in {option.label}: {option.parity}." for option in found]
    return "".join(f'<p class="ws-small">{text(line)}</p>' for line in lines)


def spoken_language(language: object) -> str:
    """The code typed. Raises `UsageError` for what can be none."""
    code = str(language).strip().lower()
    if not code.isascii() or not code.isalpha() or len(code) > 3:
        raise UsageError(f"{language!r} is no language code; Hindi is hi")
    return code
