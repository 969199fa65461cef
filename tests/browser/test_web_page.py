"""The page that `export --engine web` writes, from a plain file server, in a real Chromium."""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, expect

from tests.support.tiny import tiny_model_folder
from whisperslim.core.loading import load_model
from whisperslim.engines.export.export import export
from whisperslim.engines.export.record import read_export
from whisperslim.engines.web.runtime_files import runtime_files
from whisperslim.errors import ExportError
from whisperslim.runtime import load
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.audio.log_mel import log_mel
from whisperslim.speech.audio.window import WindowPolicy

DEMO = Path(__file__).parents[2] / "assets" / "demo_hi" / "audio"
CLIPS = ("demo_048.ogg", "demo_052.ogg", "demo_056.ogg")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *parts: object) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        runtime_files()
    except ExportError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    place = tmp_path_factory.mktemp("web")
    speech = load_model(str(tiny_model_folder(place / "model")))
    clips = [decode(DEMO / name) for name in CLIPS]
    export(speech, "web", "int8", place / "page", clips, "hi", WindowPolicy())
    export(replace(speech, name="twin"), "web", "none", place / "page" / "dense", clips, "hi",
           WindowPolicy())  # fmt: skip
    return place / "page"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ThreadingHTTPServer]:
    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield served
    served.shutdown()
    served.server_close()


@pytest.fixture(scope="module")
def page(browser: Browser, server: ThreadingHTTPServer) -> Iterator[Page]:
    context = browser.new_context(permissions=["microphone"])
    opened = context.new_page()
    opened.goto(f"http://127.0.0.1:{server.server_port}/")
    ready(opened)
    yield opened
    context.close()


def ready(page: Page) -> None:
    expect(page.locator("#status")).to_contain_text("Ready", timeout=120_000)


def heard(page: Page) -> list[str]:
    expect(page.locator("#status")).to_have_text("Done.", timeout=120_000)
    return [" ".join(text.split()) for text in page.locator(".text").all_inner_texts()]


def send(page: Page, recording: Path) -> None:
    page.evaluate("document.getElementById('status').textContent = ''")
    page.set_input_files("#file", recording)


def test_it_writes_what_the_runtime_writes(page: Page, folder: Path, tmp_path: Path) -> None:
    # The browser resamples in its own way: give it what needs no resampling.
    sound = tmp_path / "clip.wav"
    soundfile.write(sound, decode(DEMO / CLIPS[0]), SAMPLE_RATE)
    send(page, sound)
    expected = load(folder / "dense").transcribe(sound).text
    in_bytes, in_floats = heard(page)
    assert in_floats == " ".join(expected.split()) != ""
    # Random weights in 8 bits hang on the last digit, which is another one in a browser.
    assert in_bytes


def test_features_are_those_of_the_runtime(page: Page) -> None:
    audio = decode(DEMO / CLIPS[0])[:30_000]
    found = page.evaluate(
        "async ([samples, frames, bands]) => {"
        "const { logMel } = await import('./mel.js');"
        "return Array.from(logMel(Float32Array.from(samples), frames, bands)); }",
        [audio.tolist(), 250, 80],
    )
    expected = log_mel(audio, 250, 80)
    np.testing.assert_allclose(np.reshape(found, (80, 250)), expected, atol=1e-4)


def test_windows_are_those_of_the_runtime(page: Page) -> None:
    lengths = [0.0, 0.3, 0.61, 3.7, 5.6, 27.9, 29.8]
    window = {"step_seconds": 0.5, "margin_seconds": 0.4, "max_frames": 3000}
    found = page.evaluate(
        "async ([lengths, window]) => {"
        "const { framesFor } = await import('./mel.js');"
        "return lengths.map((seconds) => framesFor(seconds, window)); }",
        [lengths, window],
    )
    assert found == [WindowPolicy().frames_for(seconds, 3000) for seconds in lengths]


def test_the_microphone_is_heard(page: Page) -> None:
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Recording")
    page.wait_for_function("document.getElementById('level').value > 0")
    page.wait_for_timeout(500)
    page.keyboard.press("Space")  # the button has the focus
    assert all(heard(page))


def test_silence_is_not_transcribed(page: Page, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(SAMPLE_RATE * 2), SAMPLE_RATE)
    send(page, tmp_path / "silence.wav")
    assert heard(page) == ["", ""]
    expect(page.locator(".facts").first).to_contain_text("no speech")


def test_what_is_no_recording_is_named(page: Page, tmp_path: Path) -> None:
    (tmp_path / "letter.wav").write_text("some words")
    send(page, tmp_path / "letter.wav")
    expect(page.locator("#status")).to_contain_text("letter.wav is not a recording")


def test_a_recording_that_is_too_long_is_refused(page: Page, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(SAMPLE_RATE * 40), SAMPLE_RATE)
    send(page, tmp_path / "long.wav")
    expect(page.locator("#status")).to_contain_text("has 40 s; this page takes up to")


def test_it_is_an_export_like_any_other(folder: Path) -> None:
    record = read_export(folder)
    assert (record.engine, record.quantize) == ("web", "int8")
    assert "onnxruntime-web" in record.runtime


def test_once_loaded_it_opens_without_a_server(
    page: Page, server: ThreadingHTTPServer, folder: Path
) -> None:
    page.wait_for_function("navigator.serviceWorker.controller !== null")
    page.reload()  # files of the second model are kept as they are asked for
    ready(page)
    server.shutdown()
    server.server_close()
    page.reload()
    ready(page)
    expect(page.locator(".model")).to_have_count(2)
