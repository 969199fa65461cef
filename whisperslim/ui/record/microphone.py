"""Recording on the computer that runs the app, for windows whose page has no microphone.

Only the desktop window has it. A page served to others must not: anyone who opens it could listen
to the computer's room.
"""

import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotDone
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
import soundfile
from gradio.blocks import Block
from gradio.events import Dependency

from whisperslim.errors import AudioError, UsageError, WhisperSlimError
from whisperslim.ui.context.context import for_people
from whisperslim.ui.context.models import load_libraries
from whisperslim.ui.parts.markup import note
from whisperslim.ui.parts.updates import Updates

if TYPE_CHECKING:
    from whisperslim.speech.recording.microphone import InputDevice

_END_SECONDS = 20.0  # a recording ends by itself much sooner; a driver may hang
_LISTENING = note("Recording. Press Stop when done.", "busy")


def devices() -> "list[InputDevice]":
    """As `microphone.list_devices`, which imports torch."""
    load_libraries()
    from whisperslim.speech.recording.microphone import list_devices

    return list_devices()


def record(seconds: float, path: Path, device: int | None, stop: threading.Event) -> Path:
    """As `microphone.record`."""
    load_libraries()
    from whisperslim.speech.recording import microphone

    return microphone.record(seconds, path, device=device, stop=stop)


@dataclass
class ComputerMicrophone:
    """One recording at a time, in its own thread: an event of the page must not wait for it.

    `seconds` is the longest recording, at which it ends by itself.
    """

    seconds: float
    devices: Callable[[], "list[InputDevice]"] = devices
    record: Callable[[float, Path, int | None, threading.Event], Path] = record
    _lane: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, "microphone"))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _work: "tuple[Future[tuple[int, np.ndarray]], threading.Event] | None" = None

    def choices(self) -> list[tuple[str, int]]:
        """(name, index) of every input, the default one first. Raises `MicrophoneError`."""
        found = sorted(self.devices(), key=lambda each: not each.is_default)
        return [(f"{each.name}{' (usual)' * each.is_default}", each.index) for each in found]

    def start(self, device: object) -> None:
        """Start to record. Raises `UsageError` for a device that is not a number, `AudioError`
        while recording.
        """
        if device is not None and (isinstance(device, bool) or not isinstance(device, int)):
            raise UsageError("a microphone is chosen by its number")
        with self._lock:
            if self._work is not None and not self._work[0].done():
                raise AudioError("it is recording already; press Stop first")
            stop = threading.Event()
            self._work = self._lane.submit(self._recorded, device, stop), stop

    def stop(self) -> tuple[int, np.ndarray]:
        """End the recording: its rate in Hz and its int16 samples.

        Raises `MicrophoneError` when the device failed, `AudioError` when nothing is recorded.
        """
        with self._lock:
            work, self._work = self._work, None
        if work is None:
            raise AudioError("nothing is being recorded; press Record first")
        work[1].set()
        try:
            return work[0].result(_END_SECONDS)
        except NotDone as error:
            raise AudioError("the microphone does not answer; choose another one") from error

    def _recorded(self, device: int | None, stop: threading.Event) -> tuple[int, np.ndarray]:
        with tempfile.TemporaryDirectory(prefix="whisperslim-microphone-") as folder:
            path = self.record(self.seconds, Path(folder) / "recording.wav", device, stop)
            samples, rate = soundfile.read(path, dtype="int16")
        return int(rate), samples


@dataclass(frozen=True)
class MicrophoneFields:
    """The components beside a recorder of the page."""

    device: gr.Dropdown
    begin: gr.Button
    end: gr.Button
    state: gr.HTML


def lay_out(where: str) -> MicrophoneFields:
    """Make the components in the open Blocks context; `where` begins their element ids."""
    with gr.Row(equal_height=True):
        device = gr.Dropdown(
            [],
            value=None,
            label="This computer's microphone",
            info="If the recorder of the page stays silent.",
            min_width=220,
            scale=3,
            elem_id=f"{where}-device",
        )
        begin = gr.Button("Record here", min_width=120, elem_id=f"{where}-begin")
        end = gr.Button("Stop", variant="stop", visible=False, min_width=120,
                        elem_id=f"{where}-end")  # fmt: skip
    state = gr.HTML("", elem_id=f"{where}-state")
    return MicrophoneFields(device, begin, end, state)


def connect(
    fields: MicrophoneFields, microphone: ComputerMicrophone, blocks: gr.Blocks, audio: gr.Audio
) -> tuple[Dependency, Dependency]:
    """Wire it to the page's recorder. Returns the events of a start and of a finished recording."""
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    shown: list[Block] = [fields.begin, fields.end, fields.state]

    def offer() -> Updates:
        return offered(fields, microphone)

    @for_people
    def begin(device: object) -> Updates:
        microphone.start(device)
        return _buttons(fields, recording=True)

    @for_people
    def end() -> tuple[int, np.ndarray]:
        return microphone.stop()

    def ends() -> Updates:
        return _buttons(fields, recording=False)

    blocks.load(offer, None, [fields.device, fields.begin, fields.state], **quiet)
    started = fields.begin.click(begin, fields.device, shown, **quiet)
    ended = fields.end.click(ends, None, shown, **quiet)
    return started, ended.then(end, None, audio, **quiet)


def _buttons(fields: MicrophoneFields, *, recording: bool) -> Updates:
    return {
        fields.begin: gr.update(visible=not recording),
        fields.end: gr.update(visible=recording),
        fields.state: _LISTENING if recording else "",
    }


def offered(fields: MicrophoneFields, microphone: ComputerMicrophone) -> Updates:
    """The list of devices, the button and the notes, as far as there are any."""
    problem = "This computer has no microphone: plug one in and open the app again."
    try:
        choices = microphone.choices()
    except WhisperSlimError as error:
        choices, problem = [], f"This computer's microphone cannot be used: {error}"
    if not choices:
        hidden = gr.update(visible=False)
        return {fields.device: hidden, fields.begin: hidden, fields.state: note(problem, "wait")}
    return {
        fields.device: gr.update(choices=choices, value=choices[0][1], visible=True),
        fields.begin: gr.update(visible=True),
        fields.state: "",
    }
