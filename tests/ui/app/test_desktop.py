"""The window of its own: what is said where it cannot be, and the computer's own microphone."""

import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from whisperslim.cli import app
from whisperslim.errors import AudioError, UsageError, WhisperSlimError
from whisperslim.ui.app import desktop
from whisperslim.ui.guard.access import Access
from whisperslim.ui.record.microphone import ComputerMicrophone, lay_out, offered

BUILT_IN = SimpleNamespace(index=0, name="built in", channels=1, rate=48_000, is_default=False)
HEADSET = SimpleNamespace(index=3, name="headset", channels=1, rate=48_000, is_default=True)


def silence(seconds: float, path: Path, device: int | None, stop: threading.Event) -> Path:
    """As the real one: until it is asked to stop."""
    assert stop.wait(20)
    soundfile.write(path, np.full(800, device or 0, dtype=np.int16), 8000)
    return path


def microphone(**given: Any) -> ComputerMicrophone:
    return ComputerMicrophone(30.0, **{"devices": lambda: [BUILT_IN, HEADSET], "record": silence,
                                       **given})  # fmt: skip


def test_a_recording_comes_back_as_samples() -> None:
    mine = microphone()
    mine.start(3)
    rate, samples = mine.stop()
    assert rate == 8000 and samples.tolist() == [3] * 800
    mine.start(None)
    assert mine.stop()[1].tolist() == [0] * 800


def test_one_recording_at_a_time() -> None:
    mine = microphone()
    with pytest.raises(AudioError, match="nothing is being recorded"):
        mine.stop()
    mine.start(0)
    with pytest.raises(AudioError, match="recording already"):
        mine.start(0)
    mine.stop()


@pytest.mark.parametrize("device", ["0", 1.5, True, [0]])
def test_strange_devices_are_refused(device: object) -> None:
    with pytest.raises(UsageError):
        microphone().start(device)


def test_a_failing_device_is_reported_when_stopped() -> None:
    def fails(seconds: float, path: Path, device: int | None, stop: threading.Event) -> Path:
        raise AudioError("it was unplugged")

    mine = microphone(record=fails)
    mine.start(0)
    with pytest.raises(AudioError, match="unplugged"):
        mine.stop()


def test_the_usual_device_comes_first() -> None:
    assert microphone().choices() == [("headset (usual)", 3), ("built in", 0)]


def test_no_device_is_said_in_words() -> None:
    def none() -> list[Any]:
        raise AudioError("recording needs the PortAudio library")

    with gr.Blocks():
        fields = lay_out("reading")
    for given, said in ((none, "PortAudio"), (lambda: [], "no microphone")):
        shown = offered(fields, microphone(devices=given))
        assert not shown[fields.device]["visible"] and not shown[fields.begin]["visible"]
        assert said in shown[fields.state]


def test_without_pywebview_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webview", None)
    with pytest.raises(UsageError, match=r"pip install 'whisperslim\[desktop\]'"):
        desktop.load_webview()


def test_without_a_screen_it_says_so() -> None:
    with pytest.raises(UsageError, match="no screen"):
        desktop.check_screen("linux", {})
    for platform, variables in (("linux", {"DISPLAY": ":0"}), ("linux", {"WAYLAND_DISPLAY": "w"}),
                                ("darwin", {}), ("win32", {})):  # fmt: skip
        desktop.check_screen(platform, variables)


def test_a_page_for_others_never_listens_to_the_room() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        desktop.check_alone(Access(address="0.0.0.0"))


class WindowError(Exception):
    """Stands for pywebview's own error."""


def fake_webview(start: Any, windows: list[tuple[Any, ...]]) -> ModuleType:
    module = ModuleType("webview")
    vars(module).update(
        settings={},
        errors=SimpleNamespace(WebViewException=WindowError),
        create_window=lambda *given, **more: windows.append(given),
        start=start,
    )
    return module


@pytest.mark.parametrize("works", [True, False])
def test_the_page_is_closed_with_its_window(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, works: bool
) -> None:
    windows: list[tuple[Any, ...]] = []
    closed: list[bool] = []

    def start() -> None:
        if not works:
            raise WindowError("You must have either QT or GTK")

    served = SimpleNamespace(local_url="http://127.0.0.1:1/", close=lambda: closed.append(True))
    monkeypatch.setattr(desktop, "load_webview", lambda: fake_webview(start, windows))
    monkeypatch.setattr(desktop, "check_screen", lambda platform, variables: None)
    monkeypatch.setattr(desktop, "launch", lambda *given, **more: served)
    if works:
        desktop.open_window(tmp_path, port=7860)
    else:
        with pytest.raises(UsageError, match="no window can be opened"):
            desktop.open_window(tmp_path, port=7860)
    assert windows == [("WhisperSlim", "http://127.0.0.1:1/")] and closed == [True]


def test_the_command_ends_with_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "webview", None)
    done = CliRunner().invoke(app, ["ui", "--desktop", "--runs", str(tmp_path)])
    assert isinstance(done.exception, WhisperSlimError) or "pywebview" in done.output


def test_only_the_desktop_page_has_the_computers_microphone(tmp_path: Path) -> None:
    from whisperslim.ui.app.build import build

    for given in (False, True):
        blocks = build(tmp_path, desktop=given)
        ids = {getattr(block, "elem_id", None) for block in blocks.blocks.values()}
        assert ("reading-begin" in ids) == given and ("compare-begin" in ids) == given
        assert {fn.api_visibility for fn in blocks.fns.values()} == {"private"}
        assert isinstance(blocks, gr.Blocks)
