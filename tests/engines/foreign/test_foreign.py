"""Exports from elsewhere: the same text, and what breaks them breaks nothing of ours."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

from tests.engines.foreign.bad_exports import (
    TONE,
    WINDOW,
    changed,
    forever,
    no_heads,
    written,
)
from tests.support.tiny import write_tone
from whisperslim.cli import app
from whisperslim.engines.comparison import compare
from whisperslim.engines.export.record import read_export
from whisperslim.engines.foreign import transcriber
from whisperslim.engines.foreign.transcriber import ForeignTranscriber, Limits
from whisperslim.engines.opening import open_transcriber
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.errors import ExportError, UsageError


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one tiny model written for each engine, here."""
    pytest.importorskip("onnx")
    pytest.importorskip("ctranslate2")
    folder = tmp_path_factory.mktemp("foreign")
    written(folder, "onnx", "ctranslate2")
    return folder


def foreign(folder: Path, limits: Limits | None = None) -> ForeignTranscriber:
    return ForeignTranscriber.open(folder, read_export(folder), WINDOW, 1, limits)


@pytest.fixture(scope="module")
def running(exports: Path) -> Iterator[ForeignTranscriber]:
    yield foreign(exports / "onnx")


@pytest.mark.parametrize("engine", ["onnx", "ctranslate2"])
def test_it_writes_the_same_text_and_says_the_same_of_itself(exports: Path, engine: str) -> None:
    own = open_transcriber(str(exports / engine), WINDOW, 1)
    assert not isinstance(own, ForeignTranscriber)
    running = foreign(exports / engine)
    wanted, found = own.transcribe(TONE), running.transcribe(TONE)
    assert found.text == wanted.text != "" and found.tokens == wanted.tokens
    assert (found.first_token_seconds is None) == (wanted.first_token_seconds is None)
    mel = own.features_for(TONE).inputs[0]
    assert mel is not None
    assert running.hear(mel, 1.0, "hi").ids == own.hear(mel, 1.0, "hi").ids
    held, own_held = running.in_own_script(), own.in_own_script()
    assert held.hear(mel, 1.0, "hi").ids == own_held.hear(mel, 1.0, "hi").ids
    assert held.describe_decoding() == own_held.describe_decoding() != own.describe_decoding()
    assert np.array_equal(running.encoder_states(mel), own.encoder_states(mel))  # type: ignore[arg-type]
    assert (running.name, running.input_spec) == (own.name, own.input_spec)
    assert running.size() == replace(own.size(), bytes_in_ram=0)
    with pytest.raises(UsageError, match="xx"):
        running.transcribe(TONE, "xx")


def test_its_memory_is_that_of_both_processes(exports: Path, running: ForeignTranscriber) -> None:
    own = open_transcriber(str(exports / "onnx"), WINDOW)
    found = compare(own, running, TONE, language="hi")
    there = psutil.Process(running.process).memory_info().rss
    assert found.slim.peak_memory_bytes > found.dense.peak_memory_bytes + there / 2


def test_a_process_killed_in_the_middle_of_a_clip_is_followed_by_another(
    running: ForeignTranscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, first = running.transcribe(TONE).text, running.process
    (mel,) = running.features_for(TONE).inputs
    assert first is not None and mel is not None
    begun, really = threading.Event(), transcriber.send

    def send(*given: Any) -> None:
        begun.set()
        really(*given)

    monkeypatch.setattr(transcriber, "send", send)
    os.kill(first, signal.SIGSTOP)  # it is given the clip, and does not get on
    with ThreadPoolExecutor(1) as lane:
        waiting = lane.submit(running.hear, mel, 1.0, "hi")
        assert begun.wait(60)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(ExportError, match="ended its process by SIGKILL"):
            waiting.result()
    assert running.transcribe(TONE).text == before
    assert running.process not in (None, first)


def test_no_heads_end_the_command_with_a_sentence(exports: Path, tmp_path: Path) -> None:
    folder = changed(exports / "ctranslate2", tmp_path / "bad", "model.bin", no_heads)
    write_tone(tmp_path / "a.wav", 0.7, 300)
    done = CliRunner().invoke(
        app, ["transcribe", "--model", str(folder), str(tmp_path / "a.wav")]
    )  # fmt: skip
    assert isinstance(done.exception, ExportError) or done.exit_code == 1
    said = f"{done.output} {done.exception}"
    assert "SIGFPE" in said, said


def test_a_graph_without_an_end_is_given_up(exports: Path, tmp_path: Path) -> None:
    folder = changed(exports / "onnx", tmp_path / "bad", "encoder.onnx", forever)
    engine = foreign(folder, Limits(hear_seconds=2.0, per_second=0.0))
    with pytest.raises(ExportError, match="took over 2 s"):
        engine.transcribe(TONE)
    assert engine.process is None


def test_memory_has_a_limit(exports: Path) -> None:
    with pytest.raises(ExportError, match=r"failed|ended its process"):
        foreign(exports / "onnx", Limits(memory_bytes=1 << 20, per_byte=0))


def test_what_it_cannot_open_it_says(exports: Path, tmp_path: Path) -> None:
    folder = changed(exports / "onnx", tmp_path / "bad", "encoder.onnx", lambda _: b"no graph")
    with pytest.raises(ExportError, match=r"ONNX Runtime .* cannot open"):
        open_transcriber(str(folder), WINDOW)


def test_where_an_export_was_written_decides_where_it_runs(
    exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Path] = []

    def opened(folder: Path, *_: object) -> WindowedTranscriber:
        ran.append(folder)
        raise ExportError("foreign")

    monkeypatch.setattr(ForeignTranscriber, "open", opened)
    here = copytree(exports / "onnx", tmp_path / "moved")
    said: list[str] = []
    assert open_transcriber(str(here), WINDOW, announce=said.append).name and not ran
    monkeypatch.setenv("WHISPERSLIM_STATE", str(tmp_path / "of-another"))
    with pytest.raises(ExportError, match="foreign"):
        open_transcriber(str(here), WINDOW, announce=said.append)
    assert ran == [here] and "was not written here" in said[0]
