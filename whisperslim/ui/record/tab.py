"""The Record tab: sentences are read aloud one by one into a corpus for the Compress tab."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block

from whisperslim.speech.recording.prompts import (
    LONGEST_TAKE_SECONDS,
    MOST_CHARACTERS,
    MOST_PROMPTS,
)
from whisperslim.speech.recording.session import LANGUAGE, RecordingSession
from whisperslim.text.languages import choices
from whisperslim.ui.context.context import for_people, warn
from whisperslim.ui.parts.markup import METER, empty, note
from whisperslim.ui.parts.theme import ASSETS
from whisperslim.ui.parts.updates import Updates, Values, unchanged
from whisperslim.ui.record import microphone
from whisperslim.ui.record.desk import (
    RecordingDesk,
    heard_again,
    no_file,
    progress_html,
    prompt_html,
    saved_html,
    sources,
    state_html,
    step,
    whole,
)
from whisperslim.ui.record.microphone import ComputerMicrophone, MicrophoneFields

STYLE_SHEET = ASSETS / "record.css"
FILLED = ("data.train", "data.test", "data.hold_out_by", "language")
"""The recipe's fields that "Use it" fills."""

_NOTHING = empty(
    "No recordings of your own yet",
    "Give your corpus a name and press Begin. Sentences are shown one by one; read each aloud. The "
    "model is then trained and tested on your recordings.",
)
_NO_MICROPHONE = note(
    "This browser does not give this page a microphone. Open the page as http://localhost or "
    "127.0.0.1, or over https; or upload a recording of each sentence.",
    "wait ws-mic-note",
)
_FILLED_IN = "Training and test recordings are filled in."
_NO_TEST_YET = (
    "Training recordings are filled in. There are none for testing yet: every fifth sentence is "
    "for testing."
)
_METER_ON = "() => { window.whisperSlimReading?.start('#reading-level .ws-level'); return []; }"
_METER_OFF = "() => { window.whisperSlimReading?.stop(); return []; }"
_SUPPLIED, _OWN = "The supplied Hindi sentences", "My own text file"


@dataclass(frozen=True)
class RecordTab:
    """The components. `sentence` is the number of the one shown, from 0."""

    corpus: gr.Dropdown
    progress: gr.HTML
    use: gr.Button
    fold: gr.Accordion
    name: gr.Textbox
    speaker: gr.Textbox
    which: gr.Radio
    language: gr.Dropdown
    file: gr.File
    begin: gr.Button
    nothing: gr.HTML
    desk: gr.Column
    prompt: gr.HTML
    audio: gr.Audio
    own_microphone: MicrophoneFields | None
    state: gr.HTML
    previous: gr.Button
    following: gr.Button
    missing: gr.Button
    again: gr.Button
    drop: gr.Button
    sentence: gr.State

    def shown(self) -> list[Block]:
        """What showing one corpus fills."""
        return [self.fold, self.nothing, self.desk, *self.sentence_shown(), *self.summed()]

    def sentence_shown(self) -> list[Block]:
        """What showing one sentence fills."""
        return [self.prompt, self.audio, self.state, self.sentence]

    def summed(self) -> list[Block]:
        """What a new or deleted recording changes besides its sentence."""
        return [self.corpus, self.progress, self.use]

    def moves(self) -> list[Block]:
        """What is disabled while recording: it would change the current sentence."""
        return [self.corpus, self.previous, self.following, self.missing, self.again, self.drop]


def lay_out_record(*, desktop: bool = False) -> RecordTab:
    """Make the tab's components in the open Blocks context.

    With `desktop`, the computer's own microphone is offered beside the page's.
    """
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            corpus = gr.Dropdown(
                [],
                value=None,
                label="Corpus",
                elem_id="corpus",
                info="Continue where you stopped.",
                visible=False,
            )
            progress = gr.HTML("", elem_id="corpus-progress")
            use = gr.Button("Use it in Compress", elem_id="corpus-use", visible=False)
            with gr.Accordion("New corpus", open=True, elem_id="corpus-new") as fold:
                made = _new_fields()
        with gr.Column(scale=3, min_width=320):
            nothing = gr.HTML(_NOTHING)
            with gr.Column(visible=False) as column:
                parts = _desk_fields(desktop)
    sentence = gr.State(0)
    return RecordTab(
        corpus=corpus, progress=progress, use=use, fold=fold, nothing=nothing, desk=column,
        sentence=sentence, **made, **parts,
    )  # fmt: skip


def _new_fields() -> dict[str, Any]:
    name = gr.Textbox(
        label="Name",
        placeholder="my-voice",
        max_lines=1,
        max_length=40,
        elem_id="corpus-name",
        info="Letters a to z, digits, - and _.",
    )
    speaker = gr.Textbox(
        label="Speaker",
        placeholder="optional",
        max_lines=1,
        max_length=60,
        elem_id="corpus-speaker",
        info="Who reads; written to the manifest.",
    )
    which = gr.Radio([_SUPPLIED, _OWN], value=_SUPPLIED, label="Sentences", elem_id="corpus-which")
    file = gr.File(
        label=f"Text file: UTF-8, one sentence per line, up to {MOST_PROMPTS} of {MOST_CHARACTERS} "
        "characters",
        file_types=[".txt"],
        file_count="single",
        type="filepath",
        visible=False,
        height=130,
        elem_id="corpus-file",
    )
    language = gr.Dropdown(
        choices(),
        value=LANGUAGE,
        label="Language",
        info="Of your sentences.",
        visible=False,
        elem_id="corpus-language",
    )
    begin = gr.Button("Begin", variant="primary", elem_id="corpus-begin")
    return {
        "name": name, "speaker": speaker, "which": which, "file": file, "language": language,
        "begin": begin,
    }  # fmt: skip


def _desk_fields(desktop: bool) -> dict[str, Any]:
    prompt = gr.HTML("", elem_id="prompt")
    gr.HTML(_NO_MICROPHONE)
    audio = gr.Audio(
        sources=["microphone", "upload"],
        type="filepath",
        label=f"Your reading, up to {LONGEST_TAKE_SECONDS} seconds",
        elem_id="reading",
        editable=False,
        buttons=[],
    )
    gr.HTML(METER, elem_id="reading-level")
    own = microphone.lay_out("reading") if desktop else None
    state = gr.HTML("", elem_id="take-state")
    with gr.Row(elem_classes=["ws-desk"]):
        previous = gr.Button("Previous", min_width=90, elem_id="sentence-previous")
        following = gr.Button("Next", variant="primary", min_width=90, elem_id="sentence-next")
        missing = gr.Button("Next unrecorded", min_width=150, elem_id="sentence-missing")
    with gr.Row(elem_classes=["ws-desk"]):
        again = gr.Button("Read it again", size="sm", min_width=120, elem_id="take-again")
        drop = gr.Button("Delete recording", size="sm", min_width=120, elem_id="take-drop")
    return {
        "prompt": prompt, "audio": audio, "own_microphone": own, "state": state,
        "previous": previous, "following": following, "missing": missing, "again": again,
        "drop": drop,
    }  # fmt: skip


def connect_record(
    tab: RecordTab,
    desk: RecordingDesk,
    blocks: gr.Blocks,
    filled: Mapping[str, Block],
    tabs: gr.Tabs,
    look_after: Callable[[Any], None],
) -> None:
    """Wire the tab. "Use it" changes `filled`, the controls of `FILLED` by name, and the `tabs`.

    `look_after` checks them after that.
    """
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    place = [tab.corpus, tab.sentence]

    @for_people
    def arrive() -> Updates:
        return shown(tab, desk, None)

    @for_people
    def show(name: str | None) -> Updates:
        return shown(tab, desk, name)

    @for_people
    def begin(values: Values) -> Updates:
        own, file = values[tab.which] == _OWN, values[tab.file]
        if own and file is None:
            raise no_file()
        text = file if own else None
        made = desk.create(values[tab.name], values[tab.speaker], text, values[tab.language])
        return {**shown(tab, desk, made.name), tab.name: ""}

    def go(by: int) -> Callable[[object, object], Updates]:
        @for_people
        def move(name: object, sentence: object) -> Updates:
            session = desk.open(name)
            return sentence_shown(tab, session, step(session, sentence, by))

        return move

    @for_people
    def find(name: object, sentence: object) -> Updates:
        session = desk.open(name)
        found = session.next_open(whole(sentence))
        if found is None:
            gr.Info("Every sentence is recorded.", title="Done")
            return unchanged()
        return sentence_shown(tab, session, found)

    @for_people
    def save(name: object, sentence: object, recording: object) -> Updates:
        take, heard = desk.save(name, sentence, recording)
        said = saved_html(whole(sentence), take, heard)
        return {tab.state: said, **summary(tab, desk, desk.open(name))}

    @for_people
    def drop(name: object, sentence: object) -> Updates:
        desk.drop(name, sentence)
        session = desk.open(name)
        return {**sentence_shown(tab, session, whole(sentence)), **summary(tab, desk, session)}

    @for_people
    def use(name: object) -> Updates:
        session = desk.open(name)
        train, test = sources(session)
        gr.Info(_FILLED_IN if test else _NO_TEST_YET, title="Compress")
        return {
            filled["data.train"]: train,
            filled["data.test"]: test,
            # One speaker reads everything, so the dev set cannot be held out by speaker.
            filled["data.hold_out_by"]: "text",
            filled["language"]: session.language,
            tabs: gr.update(selected="compress"),
        }

    def listen(name: object, sentence: object, recording: object) -> None:
        if said := desk.sounds_like(name, sentence, recording):
            warn(said)

    one: dict[str, Any] = {"concurrency_id": "desk", "concurrency_limit": 1, **quiet}
    blocks.load(arrive, None, tab.shown(), **quiet)
    tab.corpus.input(show, tab.corpus, tab.shown(), **quiet)
    own_parts: list[Block] = [tab.file, tab.language]

    def offer_own(which: str) -> Updates:
        return dict.fromkeys(own_parts, gr.update(visible=which == _OWN))

    tab.which.input(offer_own, tab.which, own_parts, **quiet)
    asked: set[Block] = {tab.name, tab.speaker, tab.which, tab.file, tab.language}
    tab.begin.click(begin, asked, [*tab.shown(), tab.name], **one)
    tab.previous.click(go(-1), place, tab.sentence_shown(), **one)
    tab.following.click(go(1), place, tab.sentence_shown(), **one)
    tab.missing.click(find, place, tab.sentence_shown(), **one)
    tab.again.click(lambda: None, None, tab.audio, queue=False, **quiet)
    tab.drop.click(drop, place, [*tab.sentence_shown(), *tab.summed()], **one)
    starts, ends = [tab.audio.start_recording], [tab.audio.stop_recording]
    given = [tab.audio.stop_recording, tab.audio.upload]
    if tab.own_microphone is not None:
        own = ComputerMicrophone(LONGEST_TAKE_SECONDS)
        began, ended = microphone.connect(tab.own_microphone, own, blocks, tab.audio)
        starts, ends, given = [*starts, began.success], [*ends, ended.then], [*given, ended.success]
    for event in given:
        # It is saved whatever a model makes of it, and nobody has to wait for that.
        event(save, [*place, tab.audio], [tab.state, *tab.summed()], **one).success(
            listen, [*place, tab.audio], None, concurrency_id="compute", **quiet
        )

    def rest() -> Updates:
        return dict.fromkeys(tab.moves(), gr.update(interactive=False))

    def go_on() -> Updates:
        return dict.fromkeys(tab.moves(), gr.update(interactive=True))

    tab.audio.start_recording(None, None, None, js=_METER_ON)
    for event in (tab.audio.stop_recording, tab.audio.pause_recording, tab.audio.clear):
        event(None, None, None, js=_METER_OFF)
    for events, handler in ((starts, rest), (ends, go_on)):
        for event in events:
            event(handler, None, tab.moves(), queue=False, **quiet)
    look_after(tab.use.click(use, tab.corpus, [*filled.values(), tabs], **quiet))


def shown(tab: RecordTab, desk: RecordingDesk, name: str | None) -> Updates:
    """A corpus, at the first sentence that is not recorded.

    Without a name, the last used one that can be opened, below the problems of the others.
    Raises `UsageError` or `DataError` when the corpus named is none.
    """
    session, problems = (desk.open(name), []) if name else desk.first()
    wrong = note("\n".join(problems), "bad") if problems else ""
    is_there = session is not None
    column: Updates = {
        tab.fold: gr.update(open=not is_there),
        tab.nothing: gr.update(visible=not is_there),
        tab.desk: gr.update(visible=is_there),
    }
    if session is None:
        known = desk.choices()
        listed = gr.update(choices=known, value=None, visible=bool(known))
        empty_desk: Updates = {tab.prompt: "", tab.audio: None, tab.state: "", tab.sentence: 0}
        return {
            **column,
            **empty_desk,
            tab.corpus: listed,
            tab.progress: wrong,
            tab.use: gr.update(visible=False),
        }
    return {
        **column,
        **sentence_shown(tab, session, session.next_open() or 0),
        **summary(tab, desk, session, wrong),
    }


def sentence_shown(tab: RecordTab, session: RecordingSession, sentence: int) -> Updates:
    """Prompt, player, state and number of one sentence."""
    return {
        tab.prompt: prompt_html(session, sentence),
        tab.audio: heard_again(session, sentence),
        tab.state: state_html(session, sentence),
        tab.sentence: sentence,
    }


def summary(
    tab: RecordTab, desk: RecordingDesk, session: RecordingSession, wrong: str = ""
) -> Updates:
    """The list of corpora, the progress of this one, and whether it can be used.

    `wrong` is shown above, as HTML: the corpora that cannot be opened.
    """
    return {
        tab.corpus: gr.update(choices=desk.choices(), value=session.name, visible=True),
        tab.progress: wrong + progress_html(session),
        tab.use: gr.update(visible=bool(session.takes())),
    }
