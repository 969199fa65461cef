"""The Compare tab: one recording, two models, word by word."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from whisperslim.errors import AudioError, UsageError, WhisperSlimError
from whisperslim.ui import live_text
from whisperslim.ui.choices import dense_choices, slim_choices
from whisperslim.ui.context import DENSE_MODELS, AppContext, for_people
from whisperslim.ui.demo_clips import demo_clip, demo_clips
from whisperslim.ui.markup import empty, text
from whisperslim.ui.sides import DENSE_ENGINES, TORCH, WINDOWS, dense_side, slim_options, slim_side

_LONGEST_REFERENCE = 5000  # characters
_NOTHING = empty("Nothing compared yet", "Record, upload or choose a clip, then press Compare.")
_NO_MICROPHONE = (
    '<div class="ws-note ws-wait ws-mic-note">This browser gives pages no microphone here. Open '
    "the page as http://localhost or 127.0.0.1, or over https; uploading a file and the demo clips "
    "work anyway.</div>"
)
# What the recorder tells the script of `live_text`; the page works without it.
_START = "(...given) => { window.whisperSlimLive?.start(...given); return []; }"
_STOP = "() => { window.whisperSlimLive?.stop(); return []; }"
_CLEAR = "() => { window.whisperSlimLive?.clear(); return []; }"
_DENSE_MADE = (
    "Dense model in CTranslate2, the engine of faster-whisper: made and checked when it is first "
    "used, which takes a minute or two; then it stays in the cache."
)
_MODEL_FIELD: dict[str, Any] = {"allow_custom_value": True, "min_width": 200, "scale": 4}
_ENGINE_FIELD: dict[str, Any] = {"filterable": False, "min_width": 140, "scale": 3}


@dataclass(frozen=True)
class CompareTab:
    """The components that handlers read and fill."""

    audio: gr.Audio
    live: gr.Checkbox
    clip: gr.Dropdown
    reference: gr.Textbox
    language: gr.Textbox
    dense: gr.Dropdown
    slim: gr.Dropdown
    dense_engine: gr.Dropdown
    dense_window: gr.Dropdown
    slim_engine: gr.Dropdown
    engine_note: gr.HTML
    compare: gr.Button
    result: gr.HTML


def lay_out_tab(context: AppContext) -> CompareTab:
    """Make the tab's components in the Blocks context now open."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            gr.HTML(_NO_MICROPHONE)
            audio = gr.Audio(
                sources=["microphone", "upload"],
                type="filepath",
                label="Recording",
                elem_id="recording",
                editable=False,
                buttons=[],
            )
            live_text.lay_out(live_text.previews_of(context))
            live = gr.Checkbox(
                True,
                label="Show text while I speak",
                info="By the slim model. The comparison is of the complete recording.",
                elem_id="live",
            )
            clip = gr.Dropdown(
                _clip_choices(),
                value=None,
                label="Or a demo clip",
                elem_id="clip",
                elem_classes=["ws-hindi"],
                filterable=True,
                info="Synthetic Hindi that comes with the project.",
            )
            reference = gr.Textbox(
                label="What is said",
                lines=2,
                max_lines=6,
                elem_id="reference",
                elem_classes=["ws-hindi"],
                max_length=_LONGEST_REFERENCE,
                info="Optional; with it, word error rates are shown.",
            )
        with gr.Column(scale=3, min_width=320):
            dense, dense_engine, dense_window = _dense_fields()
            slim, slim_engine, language = _slim_fields()
            engine_note = gr.HTML("", elem_id="engine-note")
            compare = gr.Button("Compare", variant="primary", elem_id="compare")
            result = gr.HTML(_NOTHING, elem_id="comparison")
    return CompareTab(
        audio, live, clip, reference, language, dense, slim,
        dense_engine, dense_window, slim_engine, engine_note, compare, result,
    )  # fmt: skip


def _dense_fields() -> tuple[gr.Dropdown, gr.Dropdown, gr.Dropdown]:
    with gr.Row():
        model = gr.Dropdown(
            list(DENSE_MODELS),
            value=DENSE_MODELS[0],
            label="Dense model",
            info="Or a model folder's full path.",
            elem_id="dense",
            **_MODEL_FIELD,
        )
        engine = gr.Dropdown(
            [(words, key) for key, (_, _, words) in DENSE_ENGINES.items()],
            value=TORCH,
            label="Runs in",
            info="What people use.",
            elem_id="dense-engine",
            **_ENGINE_FIELD,
        )
        window = gr.Dropdown(
            [(words, key) for key, words in WINDOWS.items()],
            value="30s",
            label="Window",
            info="Length it listens to.",
            elem_id="dense-window",
            **_ENGINE_FIELD,
        )
    return model, engine, window


def _slim_fields() -> tuple[gr.Dropdown, gr.Dropdown, gr.Textbox]:
    with gr.Row():
        model = gr.Dropdown(
            [],
            value=None,
            label="Slim model",
            info="A finished run, or a full path.",
            elem_id="slim",
            **_MODEL_FIELD,
        )
        engine = gr.Dropdown(
            [],
            value=None,
            label="Runs in",
            info="Its exports, fastest first.",
            elem_id="slim-engine",
            **_ENGINE_FIELD,
        )
        language = gr.Textbox(
            "hi",
            label="Language",
            info="Whisper's code.",
            max_lines=1,
            min_width=140,
            scale=2,
            elem_id="language",
        )
    return model, engine, language


def connect(tab: CompareTab, context: AppContext, opened: Sequence[Any]) -> None:
    """Wire the tab. `opened` are the events on which the lists of models are read again."""

    def offer(chosen: str | None) -> list[Any]:
        names = slim_choices(context)
        name = chosen or next(iter(names), None)
        dense = gr.update(choices=dense_choices(context))
        return [dense, gr.update(choices=names, value=name), *engine_updates(context, name, None)]

    def engines(slim: str | None) -> list[Any]:
        return engine_updates(context, slim, None)

    def explain(slim: str | None, key: str | None, dense_engine: str) -> str:
        return engine_note(context, slim, key, dense_engine)

    @for_people
    def take_clip(name: str | None) -> list[Any]:
        if not name:
            return [gr.skip(), gr.skip()]
        path, said = demo_clip(name)
        return [str(path), said]

    @for_people
    def compare(*shown: Any) -> str:
        return compared(context, *shown)

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    gr.on(list(opened), offer, tab.slim, [tab.dense, tab.slim, tab.slim_engine], **quiet)
    tab.slim.input(engines, tab.slim, [tab.slim_engine], **quiet)
    explained = [tab.slim, tab.slim_engine, tab.dense_engine]
    gr.on(
        [tab.slim_engine.change, tab.dense_engine.change, tab.slim.change],
        explain,
        explained,
        tab.engine_note,
        **quiet,
    )
    spoken = [tab.live, tab.slim, tab.slim_engine, tab.language]
    tab.audio.start_recording(None, spoken, None, js=_START)
    # What is said while the recorder rests is not in the recording either.
    for event in (tab.audio.stop_recording, tab.audio.pause_recording):
        event(None, None, None, js=_STOP)
    gr.on([tab.audio.clear, tab.audio.upload, tab.clip.input], None, None, None, js=_CLEAR)
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
            tab.audio,
            tab.dense,
            tab.dense_engine,
            tab.dense_window,
            tab.slim,
            tab.slim_engine,
            tab.language,
            tab.reference,
        ],
        tab.result,
        concurrency_id="compute",
        concurrency_limit=1,
        api_visibility="private",
    )


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
) -> str:
    """Both models on one recording, as HTML.

    Raises `AudioError`, `SourceError`, `CheckpointError`, `ExportError` or `UsageError`.
    """
    if not isinstance(audio, str) or not audio:
        raise AudioError("there is no recording; record one, upload a file or choose a demo clip")
    if not isinstance(said, str) or len(said) > _LONGEST_REFERENCE:
        raise UsageError(f"the reference is longer than {_LONGEST_REFERENCE} characters")
    pair = (
        dense_side(context, dense, dense_engine, dense_window),
        slim_side(context, slim, slim_engine),
    )
    spoken = _language(language)
    reference = said.strip() or None
    result = context.listening.compare(*pair, audio, spoken, reference)
    # Only now: the alignment of words brings the normaliser's libraries with it.
    from whisperslim.ui.comparison_html import comparison_html

    return comparison_html(result, (str(dense), str(slim)), spoken, reference, pair)


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
    lines += [f"Slim model in {option.label}: {option.parity}" for option in found]
    return "".join(f'<p class="ws-small">{text(line)}</p>' for line in lines)


def _language(language: object) -> str:
    code = str(language).strip().lower()
    if not code.isascii() or not code.isalpha() or len(code) > 3:
        raise UsageError(f"{language!r} is no language code; Hindi is hi")
    return code


def _clip_choices() -> list[tuple[str, str]]:
    return [
        (f"{Path(path).stem.removeprefix('demo_')} · {said}", path)
        for path, said in demo_clips().items()
    ]
