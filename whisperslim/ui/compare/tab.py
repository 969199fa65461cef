"""The Compare tab: one recording, two models or three, word by word."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from whisperslim.engines import registry
from whisperslim.errors import AudioError, UsageError, WhisperSlimError
from whisperslim.text.languages import language_code
from whisperslim.ui.compare import folder_panel, results
from whisperslim.ui.compare.fields import (
    LONGEST_REFERENCE,
    NO_THIRD,
    AskedComparison,
    AskedModels,
    CompareTab,
    ResultFields,
)
from whisperslim.ui.compare.folder import (
    BatchCompare,
    BatchState,
    check_source,
    clip_of,
    clips_of,
)
from whisperslim.ui.compare.history import History, flac_of
from whisperslim.ui.compare.languages import offer_update, typed_update
from whisperslim.ui.compare.record import ROLES, Compared, HeardSide, compared_from
from whisperslim.ui.context.choices import dense_choices, dense_of, slim_names, slim_or_first
from whisperslim.ui.context.context import DENSE_MODELS, AppContext, for_people
from whisperslim.ui.context.models import MAX_SECONDS
from whisperslim.ui.context.side_choice import SideChoice
from whisperslim.ui.context.sides import (
    dense_engines,
    dense_side,
    fairness,
    origin_words,
    slim_options,
    slim_side,
)
from whisperslim.ui.parts.demo_clips import demo_clip, demo_clips
from whisperslim.ui.parts.markup import text
from whisperslim.ui.parts.updates import Update, Updates, Values, inputs_of, read, unchanged

# Calls from the recorder to the script of `live_text`; the page works without them.
_LIVE = ("live", "blind", *(each.name for each in dataclass_fields(AskedModels)))
_START = f"""(...given) => {{
  const asked = Object.fromEntries({json.dumps(_LIVE)}.map((name, at) => [name, given[at]]));
  window.whisperSlimStage?.recording(true);
  window.whisperSlimLive?.start(asked);
  return [];
}}"""
_STOP = """() => {
  window.whisperSlimStage?.recording(false);
  window.whisperSlimLive?.stop();
  return [];
}"""
# Comparisons that wait for the models at once: those of the same models are heard in one pass, and
# the recordings of the others are read meanwhile. Each takes a thread; more wait without one.
_MOST_COMPARING = 24
_LONGEST_AGAIN = 10.0  # seconds of one side; our choice: the next comparison waits for it
_CLEAR = """() => {
  window.whisperSlimStage?.recording(false);
  window.whisperSlimLive?.clear();
  return [];
}"""


def connect_compare(tab: CompareTab, context: AppContext, opened: Sequence[Any]) -> None:
    """Wire the tab. `opened` are the events that say that somebody looks at it now."""

    history = History(context.runs)
    shown = tab.shown

    def offer(chosen: str | None, dense_engine: str) -> Updates:
        names = slim_names(context)
        name = chosen or next(iter(names), None)
        # Choices stay when the tab is opened again.
        origin = {} if chosen else origin_update(context, name)
        return {
            tab.dense: gr.update(choices=dense_choices(context), **origin),
            tab.slim: gr.update(choices=names, value=name),
            **engines(name, dense_engine),
        }

    def engines(slim: str | None, dense_engine: str) -> Updates:
        return engine_updates(tab, context, slim, dense_engine)

    def choose_slim(slim: str | None, dense_engine: str) -> Updates:
        return {tab.dense: gr.update(**origin_update(context, slim)), **engines(slim, dense_engine)}

    def explain(slim: str | None, key: str | None, dense_engine: str) -> Updates:
        return explained_engine(tab, context, slim, key, dense_engine)

    @for_people
    def take_clip(name: str | None) -> Updates:
        if not name:
            return unchanged()
        path, said = demo_clip(name)
        return {tab.audio: str(path), tab.reference: said}

    @for_people
    def take_sample() -> Updates:
        name = next(iter(demo_clips()))  # a test clip: these come first
        path, said = demo_clip(name)
        return {tab.clip: name, tab.audio: str(path), tab.reference: said}

    @for_people
    def compare(values: Values) -> Updates:
        models = offered_models(context, read(AskedModels, tab, values))
        asked = read(AskedComparison, tab, values)
        blind = asked.blind is True
        keep_here(asked.audio)
        if blind:  # three texts cannot be A and B
            asked = replace(asked, third=NO_THIRD)
        found = compared(context, models, asked)
        kept = results.keep(shown, history, found, str(asked.audio), blind=blind)
        return {**kept, shown.heard_as: HeardAs(sides_asked(context, models, asked), asked.audio)}

    def list_earlier(key: str) -> Updates:
        return results.listing(shown, history, key)

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    chosen = [tab.slim, tab.dense_engine]
    offered = [tab.slim_engine, tab.engine_note, tab.third]
    models = inputs_of(AskedModels, tab)

    def visit(values: Values) -> None:
        get_ready(context, values[tab.live], read(AskedModels, tab, values))

    # The model that is made ready is the one that has been offered.
    gr.on(list(opened), offer, chosen, [tab.dense, tab.slim, *offered], **quiet).then(
        visit, {tab.live, *models}, None, **quiet
    )
    gr.on(list(opened), list_earlier, shown.key, [shown.earlier, shown.tally], **quiet)
    results.connect(shown, history)
    listening = context.listening
    batch = BatchCompare(
        # The times of a folder's clips are summed: each is to be its own.
        partial(listening.compare, alone=True),
        history.folder,
        lambda *given: listening.give_up(*given),
        lambda sides: listening.holding(sides),
    )

    def begin(values: Values) -> None:
        source, most = values[tab.batch.source], values[tab.batch.most]
        chosen_now = offered_models(context, read(AskedModels, tab, values))
        begin_folder(context, batch, source, most, chosen_now)

    folder = {tab.batch.source, tab.batch.most, *models}

    def sound_of(state: BatchState | None, key: object) -> bytes:
        return flac_of(clip_of(state, key, context.admit).path, MAX_SECONDS)

    folder_panel.connect(tab.batch, batch, opened, begin, folder, sound_of)
    tab.slim.input(choose_slim, chosen, [tab.dense, *offered], **quiet)
    explained = [tab.slim, tab.slim_engine, tab.dense_engine]
    again = {**quiet, "trigger_mode": "always_last"}
    gr.on(
        [tab.slim_engine.input, tab.dense_engine.input],
        explain,
        explained,
        [tab.engine_note, tab.third],
        **again,
    )

    def offer_languages(dense: object, slim: object, language: object) -> Update:
        return offer_update(context, dense, slim, language)

    def take_language(dense: object, slim: object, language: object) -> Update:
        return typed_update(context, dense, slim, language)

    spoken = [tab.dense, tab.slim, tab.language]
    # After the lists as well: a change on a page that nobody looks at may not be reported.
    models_chosen = [*opened, tab.dense.change, tab.slim.change]
    gr.on(models_chosen, offer_languages, spoken, tab.language, **again)
    tab.language.input(take_language, spoken, tab.language, **again)

    live = [getattr(tab, name) for name in _LIVE]
    tab.audio.start_recording(None, live, None, js=_START)
    # While the recorder is paused, nothing is recorded either.
    for event in (tab.audio.stop_recording, tab.audio.pause_recording):
        event(None, None, None, js=_STOP)
    # Text of both models by name would reveal which is A.
    cleared = [tab.audio.clear, tab.audio.upload, tab.clip.input, tab.blind.input]
    gr.on(cleared, None, None, None, js=_CLEAR)
    tab.clip.input(take_clip, tab.clip, [tab.audio, tab.reference], **quiet)

    # A new recording has no reference yet; that of the clip before would score it wrongly, and its
    # result would be taken for the new one's.
    def forget() -> Updates:
        return {tab.clip: None, tab.reference: "", **results.updates(shown, history, None)}

    gr.on(
        [tab.audio.start_recording, tab.audio.upload, tab.audio.clear],
        forget,
        None,
        [tab.clip, tab.reference, *shown.outputs()],
        queue=False,
        **quiet,
    )
    comparing: dict[str, Any] = {
        "fn": compare,
        "inputs": inputs_of(AskedComparison, tab) | models,
        "outputs": shown.outputs(),
        "concurrency_id": "compare",
        "concurrency_limit": _MOST_COMPARING,
        "api_visibility": "private",
        "show_progress": "minimal",
        "show_progress_on": [shown.result],
    }
    sampled = tab.sample.click(
        take_sample, None, [tab.clip, tab.audio, tab.reference], js=_CLEAR, **quiet
    )
    # After a recording the pair is compared at once, without pressing a button.
    by_hand = gr.on([tab.compare.click, tab.audio.stop_recording], **comparing)
    for event in (by_hand, sampled.success(**comparing)):
        event.then(
            partial(time_words, shown, context, history),
            [shown.key, shown.heard_as],
            [shown.times, shown.heard_as],
            concurrency_id="time",
            concurrency_limit=1,
            **quiet,
        )


def origin_update(context: AppContext, slim: object) -> dict[str, Any]:
    """Set the dense side to what a slim model just chosen was made from, if known."""
    source = dense_of(context, slim)
    return {"value": source} if source else {}


def offered_models(context: AppContext, models: AskedModels) -> AskedModels:
    """The models of the form; before its lists have come, those that they are about to offer."""
    if models.slim is not None:
        return models
    slim = slim_or_first(context, None)
    return replace(models, slim=slim, dense=dense_of(context, slim) or models.dense)


def keep_here(recording: object) -> None:
    """Keep the page's recording from being cleared away, for as long as a new one.

    Raises `AudioError` when it is gone already, as when the page was open for long.
    """
    if not isinstance(recording, str) or not recording:
        return  # `compared` reports that there is none
    try:
        os.utime(recording)
    except (OSError, ValueError) as error:
        raise AudioError("the recording is no longer here; record or choose it again") from error


def compared(context: AppContext, models: AskedModels, asked: AskedComparison) -> Compared:
    """One recording, transcribed by both models, and perhaps by the slim one in a third engine.

    Raises `AudioError`, `SourceError`, `CheckpointError`, `ExportError` or `UsageError`.
    """
    audio, said = asked.audio, asked.reference
    if not isinstance(audio, str) or not audio:
        raise AudioError("there is no recording; record one, upload a file or choose a demo clip")
    if not isinstance(said, str) or len(said) > LONGEST_REFERENCE:
        raise UsageError(f"the reference is longer than {LONGEST_REFERENCE} characters")
    sides = sides_asked(context, models, asked)
    dense, slim, *more = sides
    spoken = spoken_language(models.language)
    reference = said.strip() or None
    result = context.listening.compare(dense, slim, audio, spoken, reference, *more)
    names = (str(models.dense), str(models.slim), str(models.slim))
    alike = f"{fairness(dense, slim)} {origin_words(context, models.dense, models.slim)}"
    trained = _trained_on(audio, dict(zip(ROLES, sides, strict=False)))
    return compared_from(result, names, sides, spoken, reference, alike, trained)


def first_models(context: AppContext, slim: str) -> AskedModels:
    """A run's model in its fastest engine beside what it was made from, like for like.

    The dense side takes the same engine and window where it can run in that, else PyTorch.
    """
    dense = dense_of(context, slim) or DENSE_MODELS[0]
    side = slim_side(context, slim, None)
    alike = [
        key
        for key, each in dense_engines().items()
        if (each.engine, each.quantize) == (side.engine, side.quantize)
    ]
    return AskedModels(dense, alike[0] if alike else registry.OWN, side.window, slim, None, "hi")


def sides_asked(
    context: AppContext, models: AskedModels, asked: AskedComparison
) -> tuple[SideChoice, ...]:
    """Two sides, or three. Raises as `sides_of` does."""
    dense, slim = sides_of(context, models)
    return (dense, slim, *_third_side(context, models.slim, asked.third, slim))


@dataclass(frozen=True)
class HeardAs:
    """What ran for a comparison, by which the same can be heard again."""

    sides: tuple[SideChoice, ...]
    recording: object


def time_words(
    shown: ResultFields, context: AppContext, history: History, key: str, heard_as: HeardAs | None
) -> Updates:
    """When words of a comparison just made were said, for its playback.

    That is another hearing, after the texts are shown: in the one that is timed it would count.
    """
    if not key or heard_as is None:
        return unchanged()
    try:
        found = history.find(key)
        sides = {
            side.role: _timed(context, side, choice, str(heard_as.recording), found.language)
            for side, choice in zip(found.sides, heard_as.sides, strict=True)
        }
        timed = history.add_times(key, sides)
    except WhisperSlimError:  # deleted, or cleared away, before anybody could play it
        return unchanged()
    from whisperslim.ui.compare.html import times_html

    return {shown.times: times_html(timed), shown.heard_as: None}


def _timed(
    context: AppContext, side: HeardSide, choice: SideChoice, recording: str, language: str
) -> HeardSide:
    if side.seconds > _LONGEST_AGAIN:
        slow = f"hearing it again would take {side.seconds:.0f} s more on this machine"
        return replace(side, untimed=slow)
    from whisperslim.ui.compare.written import spans_of

    try:
        heard = context.listening.timed(choice, recording, language)
    except UsageError as error:
        return replace(side, untimed=str(error))
    times = spans_of(side.text, heard.words)
    lost = "" if times or not side.text.strip() else "heard again, it wrote another text"
    return replace(side, times=times, untimed=lost)


def sides_of(context: AppContext, models: AskedModels) -> tuple[SideChoice, SideChoice]:
    """Dense and slim as the form has them. Raises `SourceError`, `ExportError` or `UsageError`."""
    dense = dense_side(context, models.dense, models.dense_engine, models.dense_window)
    slim = slim_side(context, models.slim, models.slim_engine)
    script = "own" if models.own_script is True else "any"
    return replace(dense, script=script), replace(slim, script=script)


def _trained_on(recording: str, sides: Mapping[str, SideChoice]) -> tuple[str, ...]:
    """Roles of the models that were trained on this recording."""
    # Imported late: reading manifests loads the data libraries.
    from whisperslim.jobs.scoring.origin import training_clips

    clips = {path: training_clips(path) for path in {side.path for side in sides.values()}}
    return tuple(role for role, side in sides.items() if clips[side.path].holds(Path(recording)))


def _third_side(
    context: AppContext, slim: object, key: object, taken: SideChoice
) -> list[SideChoice]:
    if key in (None, NO_THIRD):
        return []
    side = replace(slim_side(context, slim, key), script=taken.script)
    if side == taken:
        raise UsageError("the third model is the slim one in the same engine; choose another")
    return [side]


def begin_folder(
    context: AppContext, batch: BatchCompare, source: object, most: object, models: AskedModels
) -> None:
    """Start to compare a whole folder. Raises as `compared` does, and `DataError`."""
    sides = sides_of(context, models)
    spoken = spoken_language(models.language)
    place = check_source(source)
    clips = clips_of(place, most, context.admit)
    batch.start((str(models.dense), str(models.slim)), sides, place, clips, spoken)


def get_ready(context: AppContext, live: object, models: AskedModels) -> None:
    """Start to load the slim model, so that the first recording has text soon."""
    if live is not True:
        return
    try:
        slim = sides_of(context, models)[1]
        context.listening.get_ready(slim, spoken_language(models.language))
    except WhisperSlimError:  # nothing chosen yet; recording and Compare report what is wrong
        return


def engine_updates(
    tab: CompareTab, context: AppContext, slim: object, dense_engine: object
) -> Updates:
    """The engines of a slim model just chosen: the fastest is selected, and no third one.

    The note is updated with them, since a separate change event could get lost.
    """
    try:
        choices = [(option.label, option.key) for option in slim_options(context, slim)]
    except WhisperSlimError:  # nothing chosen yet, or half typed: Compare reports what is wrong
        choices = []
    fastest = choices[0][1] if choices else None
    return {
        tab.slim_engine: gr.update(choices=choices, value=fastest),
        **explained_engine(tab, context, slim, fastest, dense_engine),
    }


def explained_engine(
    tab: CompareTab, context: AppContext, slim: object, key: object, dense_engine: object
) -> Updates:
    """Notes on the chosen engines; the slim model's other engines can be the third."""
    try:
        others = [(each.label, each.key) for each in slim_options(context, slim) if each.key != key]
    except WhisperSlimError:  # as above
        others = []
    third = gr.update(choices=[("none", NO_THIRD), *others], value=NO_THIRD, visible=bool(others))
    return {tab.engine_note: engine_note(context, slim, key, dense_engine), tab.third: third}


def engine_note(context: AppContext, slim: object, key: object, dense_engine: object) -> str:
    """Notes on the chosen engines, as HTML."""
    lines = dense_note(dense_engine)
    try:
        found = [option for option in slim_options(context, slim) if option.key == key]
    except WhisperSlimError:
        found = []
    lines += [f"Slim model in {option.label}: {option.parity}." for option in found]
    return "".join(f'<p class="ws-small">{text(line)}</p>' for line in lines)


def dense_note(key: object) -> list[str]:
    """A note on the dense side's engine: one that must be exported first takes time."""
    chosen = dense_engines().get(key) if isinstance(key, str) else None
    if chosen is None or not registry.get(chosen.engine).exporter:
        return []
    return [
        f"Dense model in {chosen.words}: exported and checked on first use, which takes a minute "
        "or two; then it stays in the cache."
    ]


def spoken_language(language: object) -> str:
    """The code of the language chosen. Raises `UsageError` for what can be none."""
    if not language:
        raise UsageError("no language is chosen; choose one that both models know")
    return language_code(language)
