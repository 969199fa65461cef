"""The components of the Compare tab and their layout."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from whisperslim.engines import registry
from whisperslim.text.languages import choices
from whisperslim.ui.compare import live_text
from whisperslim.ui.compare.folder_panel import BatchFields, lay_out_panel
from whisperslim.ui.compare.languages import INFO
from whisperslim.ui.context import saved_file
from whisperslim.ui.context.choices import dense_words
from whisperslim.ui.context.context import DENSE_MODELS, AppContext
from whisperslim.ui.context.saved_file import SaveButton
from whisperslim.ui.context.sides import WINDOWS, dense_engines
from whisperslim.ui.parts.demo_clips import demo_clips, demo_training_clips
from whisperslim.ui.parts.markup import empty

LONGEST_REFERENCE = 5000  # characters
NOTHING = empty(
    "Nothing compared yet",
    "Record, upload or choose a clip, or begin with a sentence that neither model was trained on.",
    '<button type="button" class="ws-sample">Hear both on a sample sentence</button>',
)
_WORKING = (
    '<p class="ws-note ws-busy" role="status">Both models are listening to the recording… They are '
    "loaded first where they have not run yet, which takes longer.</p>"
)
_NO_MICROPHONE = (
    '<div class="ws-note ws-wait ws-mic-note">This browser gives pages no microphone here. Open '
    "the page as http://localhost or 127.0.0.1, or over https; uploading a file and the demo clips "
    "work anyway.</div>"
)
_RECORD = (
    '<button type="button" class="ws-record"><span>Record</span> '
    '<kbd aria-hidden="true">Space</kbd></button>'
)
_PROJECTOR = (
    '<button type="button" class="ws-project" aria-pressed="false"><span>Projector</span> '
    '<kbd aria-hidden="true">P</kbd></button>'
)
_MODEL_FIELD: dict[str, Any] = {"allow_custom_value": True, "min_width": 200, "scale": 4}
NO_THIRD = ""
_TRAINS = " · trains the demo"
_ENGINE_FIELD: dict[str, Any] = {"filterable": False, "min_width": 140, "scale": 3}


@dataclass(frozen=True)
class AskedModels:
    """The models of the form as sent by the page, unchecked: see `CompareTab`."""

    dense: object
    dense_engine: object
    dense_window: object
    slim: object
    slim_engine: object
    language: object
    own_script: object = True


@dataclass(frozen=True)
class AskedComparison:
    """The other values of the form when Compare is pressed, unchecked: see `CompareTab`."""

    audio: object
    reference: object
    third: object = NO_THIRD
    blind: object = False


@dataclass(frozen=True)
class ResultFields:
    """What shows one comparison, new or earlier, and its buttons.

    `key` is that of the comparison shown, `heard_as` what ran for it while it is new; `times` is
    what the page's script highlights words by; `votes` is the row of buttons after it, the last of
    them for a third model; `score` what all comparisons of these models come to.
    """

    key: gr.State
    heard_as: gr.State
    result: gr.HTML
    times: gr.HTML
    votes: gr.Row
    first: gr.Button
    same: gr.Button
    second: gr.Button
    third: gr.Button
    score: gr.HTML
    files: gr.Row
    page: SaveButton
    record: SaveButton
    delete: gr.Button
    earlier: gr.Dropdown
    tally: gr.HTML

    def outputs(self) -> list[Block]:
        """What one comparison fills, in any order."""
        votes = [self.votes, self.first, self.same, self.second, self.third, self.score]
        files = [self.files, self.page.button, self.record.button]
        shown = [self.key, self.heard_as, self.result, self.times]
        return [*shown, self.earlier, self.tally, *votes, *files]


@dataclass(frozen=True)
class CompareTab:
    """The components that handlers read and fill. The page's script presses `sample`."""

    audio: gr.Audio
    live: gr.Checkbox
    clip: gr.Dropdown
    reference: gr.Textbox
    language: gr.Dropdown
    dense: gr.Dropdown
    slim: gr.Dropdown
    dense_engine: gr.Dropdown
    dense_window: gr.Dropdown
    slim_engine: gr.Dropdown
    engine_note: gr.HTML
    own_script: gr.Checkbox
    third: gr.Dropdown
    blind: gr.Checkbox
    compare: gr.Button
    sample: gr.Button
    shown: ResultFields
    batch: BatchFields


def lay_out_compare(context: AppContext) -> CompareTab:
    """Make the tab's components in the Blocks context now open."""
    with gr.Row(equal_height=True, elem_id="sources"):
        with gr.Column(scale=1, min_width=300):
            gr.HTML(_NO_MICROPHONE)
            audio = gr.Audio(
                sources=["microphone", "upload"],
                type="filepath",
                label="Recording",
                elem_id="recording",
                editable=False,
                buttons=[],
            )
        with gr.Column(scale=1, min_width=300):
            clip = gr.Dropdown(
                _clip_choices(),
                value=None,
                label="Or a demo clip",
                elem_id="clip",
                elem_classes=["ws-hindi"],
                filterable=True,
                info="Synthetic Hindi that comes with the project; test clips come first.",
            )
        with gr.Column(scale=1, min_width=300):
            reference = gr.Textbox(
                label="What is said",
                lines=1,
                max_lines=6,
                elem_id="reference",
                elem_classes=["ws-hindi"],
                max_length=LONGEST_REFERENCE,
                info="Optional; with it, word errors and a verdict are shown.",
            )
    # After the recorder, so that few presses of Tab lead from here to the result.
    with gr.Row(elem_classes=["ws-stage-bar"]):
        gr.HTML(_RECORD, elem_classes=["ws-widest"])
        compare = gr.Button("Compare", min_width=130, scale=0, elem_id="compare")
        gr.HTML(_PROJECTOR)
        sample = gr.Button("", elem_id="sample", elem_classes=["ws-file"])
    live_text.lay_out(live_text.previews_of(context))
    shown = lay_out_results()
    with gr.Accordion("Models, engines and options", open=False, elem_id="options"):
        dense, dense_engine, dense_window = _dense_fields()
        slim, slim_engine, language = _slim_fields()
        engine_note = gr.HTML("", elem_id="engine-note")
        live, own_script, third, blind = _more_fields()
    batch = lay_out_panel()
    return CompareTab(
        audio, live, clip, reference, language, dense, slim, dense_engine, dense_window,
        slim_engine, engine_note, own_script, third, blind, compare, sample, shown, batch,
    )  # fmt: skip


def _more_fields() -> tuple[gr.Checkbox, gr.Checkbox, gr.Dropdown, gr.Checkbox]:
    with gr.Row(equal_height=True):
        with gr.Column(scale=1, min_width=240):
            live = gr.Checkbox(
                True,
                label="Show text while I speak",
                info="From both models, as fast as this machine allows. The comparison uses the "
                "complete recording.",
                elem_id="live",
            )
        with gr.Column(scale=1, min_width=240):
            own_script = gr.Checkbox(
                True,
                label="In the language's own script",
                info="Neither model may write Hindi in Urdu or Latin letters, so that the texts "
                "can be compared.",
                elem_id="own-script",
            )
    with gr.Row(equal_height=True):
        with gr.Column(scale=1, min_width=240):
            third = gr.Dropdown(
                [("none", NO_THIRD)],
                value=NO_THIRD,
                label="Third model",
                info="The slim model in another engine, such as int8.",
                elem_id="third",
                filterable=False,
            )
        with gr.Column(scale=1, min_width=240):
            blind = gr.Checkbox(
                False,
                label="Blind: hide which is which",
                info="Two texts, A and B, in random order. Vote first; names are shown afterwards.",
                elem_id="blind",
            )
    return live, own_script, third, blind


def lay_out_results() -> ResultFields:
    """Make them in the Blocks context now open."""
    key, heard_as = gr.State(""), gr.State(None)
    gr.HTML(_WORKING, elem_id="comparing")  # the style sheet shows it while the result is awaited
    result = gr.HTML(NOTHING, elem_id="comparison")
    times = gr.HTML("", elem_id="word-times")
    with gr.Row(visible=False, elem_id="votes", elem_classes=["ws-acts"]) as votes:
        first, same, second, third = (
            gr.Button("", min_width=110, elem_id=f"vote-{i}") for i in "1234"
        )
    score = gr.HTML("", elem_id="score")
    with gr.Row(visible=False, elem_id="comparison-files", elem_classes=["ws-acts"]) as files:
        page = saved_file.lay_out("Save as HTML page", "save-page", min_width=150)
        record = saved_file.lay_out("Save as JSON", "save-json", min_width=150)
        delete = gr.Button("Delete", variant="stop", min_width=110, elem_id="delete-comparison")
    with gr.Accordion("Earlier comparisons", open=False, elem_id="history"):
        earlier = gr.Dropdown(
            [],
            value=None,
            label="Show",
            info="Kept with their recordings in the folder `comparisons` beside the runs.",
            elem_id="earlier",
            elem_classes=["ws-hindi"],
            filterable=True,
        )
        tally = gr.HTML("", elem_id="tally")
    return ResultFields(
        key, heard_as, result, times, votes, first, same, second, third, score,
        files, page, record, delete, earlier, tally,
    )  # fmt: skip


def _dense_fields() -> tuple[gr.Dropdown, gr.Dropdown, gr.Dropdown]:
    with gr.Row():
        model = gr.Dropdown(
            [(dense_words(name), name) for name in DENSE_MODELS],
            value=DENSE_MODELS[0],
            label="Dense model",
            info="Set to what the slim model was made from; or type a model folder's full path.",
            elem_id="dense",
            **_MODEL_FIELD,
        )
        engine = gr.Dropdown(
            [(each.words, key) for key, each in dense_engines().items()],
            value=registry.OWN,
            label="Runs in",
            info="Engine.",
            elem_id="dense-engine",
            **_ENGINE_FIELD,
        )
        window = gr.Dropdown(
            [(words, key) for key, words in WINDOWS.items()],
            value="30s",
            label="Window",
            info="How much sound the model is given at once.",
            elem_id="dense-window",
            **_ENGINE_FIELD,
        )
    return model, engine, window


def _slim_fields() -> tuple[gr.Dropdown, gr.Dropdown, gr.Dropdown]:
    with gr.Row():
        model = gr.Dropdown(
            [],
            value=None,
            label="Slim model",
            info="A finished run, or a model folder's full path.",
            elem_id="slim",
            **_MODEL_FIELD,
        )
        engine = gr.Dropdown(
            [],
            value=None,
            label="Runs in",
            info="Engine, fastest first.",
            elem_id="slim-engine",
            **_ENGINE_FIELD,
        )
        language = gr.Dropdown(
            choices(),
            value="hi",
            label="Language",
            info=INFO,
            allow_custom_value=True,
            min_width=140,
            scale=2,
            elem_id="language",
        )
    return model, engine, language


def _clip_choices() -> list[tuple[str, str]]:
    trains = demo_training_clips()
    return [
        (f"{Path(path).stem.removeprefix('demo_')} · {said}{_TRAINS * (path in trains)}", path)
        for path, said in demo_clips().items()
    ]
