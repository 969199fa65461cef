"""No process of an export outlives who asked for it, in whatever way that one ends."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.engines.foreign.bad_exports import TONE, WINDOW, changed, forever, written
from whisperslim.engines.export.record import read_export
from whisperslim.engines.foreign import transcriber
from whisperslim.engines.foreign.messages import send
from whisperslim.engines.foreign.transcriber import ForeignTranscriber
from whisperslim.errors import ExportError

_OPENS = """
import sys
from pathlib import Path
import numpy as np
from whisperslim.engines.export.record import read_export
from whisperslim.engines.foreign.transcriber import ForeignTranscriber
from whisperslim.speech.audio.window import WindowPolicy
folder = Path(sys.argv[1])
engine = ForeignTranscriber.open(folder, read_export(folder), WindowPolicy(), 1)
print(engine.process, flush=True)
"""
_HEARS = "engine.transcribe(0.3 * np.sin(np.arange(16_000, dtype=np.float32) / 8))"
# While it searches, no other thread of its interpreter runs.
_HOLDS_THE_LOCK = """
import re
from whisperslim.engines.foreign import child
child._GRACE = 0.0
child._open = lambda request: re.match(r"(a+)+$", "a" * 64 + "b")
child.main()
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnx")
    return written(tmp_path_factory.mktemp("ends"), "onnx")


@pytest.fixture(scope="module")
def hanging(own: Path) -> Path:
    return changed(own, own.parent / "hanging", "encoder.onnx", forever)


def within_a_minute(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.05)
    return true()


def seconds_at_work(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def opened_elsewhere(
    folder: Path, *lines: str
) -> Iterator[tuple["subprocess.Popen[str]", psutil.Process]]:
    """A process of ours that has `folder` open and does `lines`, and the one it has it open in."""
    code = "\n".join((_OPENS, *lines))
    command = [sys.executable, "-c", code, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as ours:
        try:
            assert ours.stdout
            yield ours, psutil.Process(int(ours.stdout.readline()))
        finally:
            ours.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_the_middle_of_a_clip_with_who_asked(hanging: Path, how: int) -> None:
    with opened_elsewhere(hanging, _HEARS) as (
        ours,
        child,
    ):
        before = seconds_at_work(child)
        assert within_a_minute(lambda: seconds_at_work(child) > before + 0.3)  # it goes round
        ours.send_signal(how)
        assert within_a_minute(lambda: not child.is_running())


def test_it_ends_when_all_is_done(own: Path) -> None:
    with opened_elsewhere(own, "sys.stdin.read()") as (ours, child):
        assert child.is_running()
        assert ours.stdin
        ours.stdin.close()
        assert ours.wait(60) == 0
        assert within_a_minute(lambda: not child.is_running())


def test_it_ends_when_its_model_is_dropped(own: Path) -> None:
    engine = ForeignTranscriber.open(own, read_export(own), WINDOW, 1)
    child = psutil.Process(engine.process)
    del engine
    assert within_a_minute(lambda: not child.is_running())


def test_what_was_broken_off_is_no_answer_to_the_next(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ForeignTranscriber.open(own, read_export(own), WINDOW, 1)
    wanted = engine.transcribe(TONE).text

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(transcriber, "receive", interrupted)  # it was asked, and its answer comes
        engine.check_language("hi")
    assert engine.transcribe(TONE).text == wanted


def test_a_clip_that_hangs_is_given_up_at_once(hanging: Path) -> None:
    engine = ForeignTranscriber.open(hanging, read_export(hanging), WINDOW, 1)
    child = psutil.Process(engine.process)
    with ThreadPoolExecutor(1) as lane:
        before = seconds_at_work(child)
        heard = lane.submit(engine.transcribe, TONE)
        assert within_a_minute(lambda: seconds_at_work(child) > before + 0.3)
        transcriber.give_up(hanging.parent / "another")
        assert child.is_running()
        transcriber.give_up(hanging)
        with pytest.raises(ExportError, match="was stopped while running"):
            heard.result(60)
    assert not child.is_running()
    engine.check_language("hi")  # the next one is begun for whoever asks next
    assert engine.process not in (None, child.pid)


def test_giving_up_what_is_at_nothing_ends_nothing(own: Path) -> None:
    engine = ForeignTranscriber.open(own, read_export(own), WINDOW, 1)
    child = engine.process
    transcriber.give_up(own)
    engine.check_language("hi")
    assert engine.process == child


def test_it_has_nothing_of_the_environment_but_what_it_needs(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WHISPERSLIM_AUTH", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "correct horse battery")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    engine = ForeignTranscriber.open(own, read_export(own), WINDOW, 1)
    given = psutil.Process(engine.process).environ()
    assert given["OMP_NUM_THREADS"] == "1"
    assert "correct horse battery" not in given.values()


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="this system has no such signal")
def test_the_system_ends_one_that_cannot_see_whether_it_is_alone() -> None:
    command = [sys.executable, "-c", _HOLDS_THE_LOCK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        send(child.stdin, {"within": 1.0})  # type: ignore[arg-type]
        try:
            assert child.wait(60) == -signal.SIGALRM
        finally:
            child.kill()
