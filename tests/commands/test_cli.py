"""Commands: what they print, where, and how they exit. Models are stood in for by small fakes."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from whisperslim import events
from whisperslim.cli import app, main
from whisperslim.commands import runs as run_commands
from whisperslim.errors import AudioError, RunError, TrainingError
from whisperslim.jobs.process.worker import Sink, Work, run_worker
from whisperslim.jobs.run.console import duration
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.folder import RunDir, list_runs
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.dataset import Item
from whisperslim.ui.guard.access import Access

COMMANDS = {
    "cache", "compare", "compress", "data", "evaluate", "export", "fetch", "inspect", "models",
    "presets", "profile", "push", "queue", "record", "replan", "report", "resume", "runs", "serve",
    "stop", "sweep", "transcribe", "trim", "ui",
}  # fmt: skip

Capture = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Runs one command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        captured = capsys.readouterr()
        return Done(int(exit_.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], None]:
    """Puts made-up work in the place of the shipped stages."""

    def use(work: Work) -> None:
        loaded = partial(run_worker, load=lambda: (("tune",), work))
        monkeypatch.setattr(run_commands, "run_worker", loaded)

    return use


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a module with these names in the place of a real one."""

    def put(name: str, **names: Any) -> None:
        fake = ModuleType(name)
        fake.__dict__.update(names)
        monkeypatch.setitem(sys.modules, name, fake)

    return put


def good_work(run: RunDir, emit: Sink) -> None:
    emit(events.StageStarted("tune"))
    emit(events.StepDone("tune", 1, 2, {"ce": 2.5}, 1e-5, 0.1, 0.5, 10))
    emit(events.Evaluated("e", "dense", "x#test", 0, 12, 1.0, 0.25, 0.1, "hi-1", "fit"))
    emit(events.Evaluated("e", "slim", "x#test", 0, 12, 1.0, 0.3, 0.1, "hi-1", "fit"))
    emit(events.StageFinished("tune", 3.0))


def wav(path: Path) -> Path:
    soundfile.write(path, np.zeros(16_000, dtype=np.float32), 16_000)
    return path


def test_every_command_has_a_help_with_a_sentence(cli: Callable[..., Done]) -> None:
    names = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert names == COMMANDS
    for name in sorted(names):
        done = cli(name, "--help")
        assert done.code == 0 and name in done.out
    assert all(name in cli("--help").out for name in COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("compress",),
        ("compress", "no-such-preset"),
        ("compress", "quick-demo", "--set", "train.stepz=1"),
        ("compress", "quick-demo", "--set", "train.steps=-1"),
        ("evaluate", "--model", "m", "--data", "d", "--window", "15s"),
        ("compare", "--dense", "a", "--slim", "b", "--reference", "t", "1.wav", "2.wav"),
        ("record",),
        ("presets", "--show", "nothing"),
        ("ui", "--port", "1"),
    ],
)
def test_wrong_requests_exit_with_2_and_a_message(
    cli: Callable[..., Done], arguments: tuple[str, ...]
) -> None:
    done = cli(*arguments)
    assert done.code == 2 and done.err and "Traceback" not in done.err
    assert not done.out


def test_compress_makes_a_run_and_works_on_it_here(
    cli: Callable[..., Done], stages: Callable[[Work], None], tmp_path: Path
) -> None:
    stages(good_work)
    done = cli("compress", "quick-demo", "--set", "train.steps=3", "--runs", "mine")
    assert done.code == 0, done.err
    (run,) = list_runs(tmp_path / "mine")
    assert run.recipe().train.steps == 3 and str(run.path) in done.err
    assert "tune 1/2  ce 2.5" in done.out
    assert "slim on x#test: WER 30.00%, CER 10.00%, loss 1.0000 (n=12, hi-1, fit)" in done.out


def test_a_stopped_run_says_how_to_go_on_and_resume_does(
    cli: Callable[..., Done], stages: Callable[[Work], None], tmp_path: Path
) -> None:
    stages(lambda run, emit: emit(events.Stopped("tune", 4)))
    done = cli("compress", "quick-demo")
    (run,) = list_runs(tmp_path / "runs")
    assert done.code == 0 and f"whisperslim resume {run.path}" in done.err
    stages(good_work)
    done = cli("resume", run.name)
    assert done.code == 0 and "finished" in done.out and "resume" not in done.err


def test_a_failed_run_exits_with_1(
    cli: Callable[..., Done], stages: Callable[[Work], None]
) -> None:
    def work(run: RunDir, emit: Sink) -> None:
        raise TrainingError("the loss is [not] finite")

    stages(work)
    done = cli("compress", "quick-demo")
    assert done.code == 1 and "the loss is [not] finite" in done.out


def test_a_fault_of_the_program_is_not_swallowed(
    stages: Callable[[Work], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(run: RunDir, emit: Sink) -> None:
        raise ZeroDivisionError

    monkeypatch.chdir(tmp_path)
    stages(work)
    with pytest.raises(ZeroDivisionError):
        main(["compress", "quick-demo"])


def test_runs_are_listed_as_text_and_as_json(
    cli: Callable[..., Done], stages: Callable[[Work], None], tmp_path: Path
) -> None:
    assert json.loads(cli("runs", "--json").out) == []
    stages(good_work)
    cli("compress", "quick-demo")
    broken = tmp_path / "runs" / "20000101-000000-old"
    broken.mkdir()
    EventLog(broken / "events.jsonl").append(events.Finished(1.0, ""))
    newest, damaged = json.loads(cli("runs", "--json").out)
    assert (newest["status"], newest["wer_dense"], newest["wer_slim"]) == ("finished", 0.25, 0.3)
    assert (damaged["name"], damaged["status"]) == (broken.name, "damaged")
    text = cli("runs").out
    assert newest["name"] in text and "30.00%" in text and "damaged" in text


def test_stop_needs_a_run_that_runs(cli: Callable[..., Done], tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "20260101-000000-a"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text("name: a\n", encoding="utf-8")
    done = cli("stop", folder.name)
    assert done.code == 1 and "queued" in done.err
    assert cli("stop", "nothing").code == RunError.exit_code
    with RunDir(folder).lock():
        assert cli("stop", folder.name).code == 0
        assert RunDir(folder).stop_requested()


def test_presets_and_their_keys(cli: Callable[..., Done]) -> None:
    assert "quick-demo" in cli("presets").out
    keys = cli("presets", "--keys").out
    assert "train.learning_rate" in keys and "0 to 1000000 steps" in keys
    assert "method.k_w" not in cli("presets", "--keys", "--method", "none").out
    assert "assets/demo_hi#train" in cli("presets", "--show", "quick-demo").out
    assert cli("presets", "--keys", "--method", "magic").code == 2


def test_data_reports_on_a_set(cli: Callable[..., Done], tmp_path: Path) -> None:
    wav(tmp_path / "a.wav")
    rows = "path\ttext\na.wav\tनमस्ते\nb.wav\tदुनिया\n"
    (tmp_path / "manifest.tsv").write_text(rows, encoding="utf-8")
    report = json.loads(cli("data", str(tmp_path), "--json").out)
    assert report["clips"] == 2 and report["counts"]["missing"] == 1
    assert "missing: 1 clips" in cli("data", str(tmp_path)).out
    assert cli("data", "nowhere").code == 1


def test_the_sound_cache_is_shown_and_cleared(
    cli: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path))
    monkeypatch.setenv("WHISPERSLIM_CACHE_GB", "1.5")
    AudioCache(tmp_path / "audio").load(Item("a", str(wav(tmp_path / "a.wav")), ""))
    facts = json.loads(cli("cache", "--json").out)
    assert (facts["folder"], facts["files"]) == (str(tmp_path / "audio"), 2)
    # 16000 samples of two bytes, .npy's 128, the checksum's 4, and one line of facts.
    assert 32_132 < facts["bytes"] < 33_000 and facts["limit_bytes"] == 1_500_000_000
    shown = cli("cache").out
    assert str(tmp_path / "audio") in shown and "1.50 GB" in shown
    done = cli("cache", "--clear", "--json")
    assert "deleted: 2 files" in done.err and json.loads(done.out)["bytes"] == 0
    monkeypatch.setenv("WHISPERSLIM_CACHE_GB", "much")
    assert cli("cache").code == 2


@dataclass(frozen=True)
class FakeTranscript:
    text: str
    seconds: float = 0.5


@pytest.fixture
def engine(module: Callable[..., None]) -> None:
    class Transcriber:
        def __init__(self, speech: str, window: Any) -> None:
            self.speech, self.window = speech, window

        at_once = 1

        def transcribe(self, audio: np.ndarray, language: str) -> FakeTranscript:
            return FakeTranscript(f"{self.speech} {len(audio)} {language} {self.window.kind}")

    def compare(dense: Any, slim: Any, audio: Any, *, language: str, reference: Any) -> Any:
        side = [
            SimpleNamespace(transcript=s.transcribe(audio, language), bytes_on_disk=size)
            for s, size in ((dense, 290_000_000), (slim, 1_500_000_000))
        ]
        rates = {"dense": {"hi-1": (0.25, 0.1)}, "slim": {"hi-1": (0.5, 0.2)}}
        scores = rates if reference else None
        record = {"dense": asdict(side[0].transcript), "scores": scores}
        return SimpleNamespace(dense=side[0], slim=side[1], scores=scores, to_record=lambda: record)

    def open_transcriber(name: str, window: Any, *, announce: Any) -> Transcriber:
        return Transcriber(name, window)

    def heard_in_groups(
        engine: Any, files: Any, sound: Any, language: str, at_once: int
    ) -> Iterator[tuple[Path, Any]]:
        for file in files:
            try:
                yield file, engine.transcribe(sound(file), language)
            except AudioError as error:
                yield file, error

    module("whisperslim.engines.opening", open_transcriber=open_transcriber)
    module("whisperslim.engines.comparison", compare=compare)
    module("whisperslim.engines.together", heard_in_groups=heard_in_groups)


def test_transcribe_goes_on_after_a_file_that_cannot_be_read(
    cli: Callable[..., Done], engine: None, tmp_path: Path
) -> None:
    good, bad = wav(tmp_path / "a.wav"), tmp_path / "b.wav"
    bad.write_bytes(b"no sound")
    done = cli("transcribe", "--model", "m", str(bad), str(good), "--window", "30s")
    assert done.code == 1 and "b.wav" in done.err
    assert done.out == f"{good}: m 16000 hi 30s\n"
    (record,) = json.loads(cli("transcribe", "--model", "m", str(good), "--json").out)
    assert record == {"file": str(good), "text": "m 16000 hi fit", "seconds": 0.5}


def test_fetch_prints_where_the_model_is(
    cli: Callable[..., Done], module: Callable[..., None]
) -> None:
    def resolve(name: str, *, announce: Any, progress: Any) -> Any:
        announce("fetching")
        progress("weights", 5, 10)
        progress("[tokens]", 1, 0)
        return SimpleNamespace(path=Path("/models") / name)

    module("whisperslim.core.fetch.sources", resolve=resolve)
    done = cli("fetch", "a/b")
    assert (done.code, done.out.strip()) == (0, "/models/a/b")
    assert "fetching" in done.err


def test_ui_is_given_the_folder_and_the_run(
    cli: Callable[..., Done], module: Callable[..., None], tmp_path: Path
) -> None:
    seen = []

    def launch(runs_folder: Path, *, port: int, open_run: str | None, access: Access) -> None:
        assert access.address == Access().address == "127.0.0.1", "for this computer alone"
        seen.append((runs_folder, port, open_run))

    module("whisperslim.ui.app.build", launch=launch)
    folder = tmp_path / "mine" / "20260101-000000-a"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text("name: a\n", encoding="utf-8")
    assert cli("ui").code == 0
    assert cli("ui", "--port", "8001", "--runs", "mine", "--open", folder.name).code == 0
    assert seen == [(Path("runs"), 7860, None), (Path("mine"), 8001, folder.name)]


def test_record_lists_devices_and_passes_the_request_on(
    cli: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from whisperslim.speech.recording import microphone

    found = microphone.InputDevice(3, "Mic", 1, 48_000, True)
    monkeypatch.setattr(microphone, "list_devices", lambda: [found])
    assert cli("record", "--list").out == "3  Mic  48000 Hz  (default)\n"

    def record(seconds: float, path: Path, **rest: Any) -> None:
        rest["on_level"](0.25)
        assert (seconds, path, rest["device"]) == (2.5, Path("me.wav"), 3)

    monkeypatch.setattr(microphone, "record", record)
    done = cli("record", "me.wav", "--seconds", "2.5", "--device", "3")
    assert done.code == 0 and "#" * 20 in done.err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.24, "4.2 s"), (65, "1 min 05 s"), (3599.6, "1 h 0 min"), (7800, "2 h 10 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
