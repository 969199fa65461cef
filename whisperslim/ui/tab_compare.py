"""The Compare tab: one recording, two models, word by word."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from whisperslim.errors import AudioError, UsageError
from whisperslim.ui.choices import chosen_model, slim_choices
from whisperslim.ui.context import DENSE_MODELS, AppContext, for_people
from whisperslim.ui.demo_clips import demo_clip, demo_clips
from whisperslim.ui.markup import empty

_LONGEST_REFERENCE = 5000  # characters
_NOTHING = empty("Nothing compared yet", "Record, upload or choose a clip, then press Compare.")
_NO_MICROPHONE = (
    '<div class="ws-note ws-wait ws-mic-note">This browser gives pages no microphone here. Open '
    "the page as http://localhost or 127.0.0.1, or over https; uploading a file and the demo clips "
    "work anyway.</div>"
)


@dataclass(frozen=True)
class CompareTab:
    """The components that handlers read and fill."""

    audio: gr.Audio
    clip: gr.Dropdown
    reference: gr.Textbox
    language: gr.Textbox
    dense: gr.Dropdown
    slim: gr.Dropdown
    compare: gr.Button
    result: gr.HTML


def lay_out_tab() -> CompareTab:
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
            with gr.Row():
                model: dict[str, Any] = {"allow_custom_value": True, "min_width": 200, "scale": 3}
                dense = gr.Dropdown(
                    list(DENSE_MODELS),
                    value=DENSE_MODELS[0],
                    label="Dense model",
                    info="Or a model folder's full path.",
                    elem_id="dense",
                    **model,
                )
                slim = gr.Dropdown(
                    [],
                    value=None,
                    label="Slim model",
                    info="A finished run, or a full path.",
                    elem_id="slim",
                    **model,
                )
                language = gr.Textbox(
                    "hi",
                    label="Language",
                    info="Whisper's code.",
                    max_lines=1,
                    min_width=120,
                    scale=1,
                    elem_id="language",
                )
            compare = gr.Button("Compare", variant="primary", elem_id="compare")
            result = gr.HTML(_NOTHING, elem_id="comparison")
    return CompareTab(audio, clip, reference, language, dense, slim, compare, result)


def connect(tab: CompareTab, context: AppContext, opened: Sequence[Any]) -> None:
    """Wire the tab. `opened` are the events on which the list of slim models is read again."""

    def offer(chosen: str | None) -> Any:
        names = slim_choices(context)
        return gr.update(choices=names, value=chosen or next(iter(names), None))

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
    gr.on(list(opened), offer, tab.slim, tab.slim, **quiet)
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
        [tab.audio, tab.dense, tab.slim, tab.language, tab.reference],
        tab.result,
        concurrency_id="compute",
        concurrency_limit=1,
        api_visibility="private",
    )


def compared(
    context: AppContext, audio: object, dense: object, slim: object, language: object, said: object
) -> str:
    """Both models on one recording, as HTML.

    Raises `AudioError`, `SourceError`, `CheckpointError` or `UsageError`.
    """
    if not isinstance(audio, str) or not audio:
        raise AudioError("there is no recording; record one, upload a file or choose a demo clip")
    if not isinstance(said, str) or len(said) > _LONGEST_REFERENCE:
        raise UsageError(f"the reference is longer than {_LONGEST_REFERENCE} characters")
    paths = [chosen_model(context, name) for name in (dense, slim)]
    spoken = _language(language)
    reference = said.strip() or None
    result = context.compare(paths[0], paths[1], audio, spoken, reference)
    # Only now: the alignment of words brings the normaliser's libraries with it.
    from whisperslim.ui.comparison_html import comparison_html

    return comparison_html(result, (str(dense), str(slim)), spoken, reference)


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
