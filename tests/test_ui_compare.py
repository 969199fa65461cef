"""The Compare tab's handlers: what runs in which engine, and in which words that is told."""

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest

from tests.fake_runs import finish, make_run, write_events
from whisperslim.engines.export_record import PARITY_FILE, ExportRecord
from whisperslim.engines.streaming import Partial
from whisperslim.errors import AudioError, ExportError, SourceError, UsageError
from whisperslim.jobs.rundir import RunDir
from whisperslim.ui import compare_fields, live_text, tab_compare
from whisperslim.ui.choices import chosen_model
from whisperslim.ui.context import AppContext
from whisperslim.ui.live_text import Previews, _answered, previews_of
from whisperslim.ui.run_watch import RunWatch
from whisperslim.ui.sides import SideChoice, dense_side, fairness, slim_options, slim_side

BASE = "openai/whisper-base"


@dataclass
class Listener:
    """Remembers what it was asked to hear."""

    compared: list[tuple[Any, ...]] = field(default_factory=list)
    previewed: list[tuple[Any, ...]] = field(default_factory=list)
    readied: list[tuple[Any, ...]] = field(default_factory=list)

    def get_ready(self, *given: Any) -> None:
        self.readied.append(given)

    def compare(self, *given: Any) -> Any:
        self.compared.append(given)
        return comparison()

    def preview(self, *given: Any) -> Any:
        self.previewed.append(given)
        return FakeSession()


@dataclass
class FakeSession:
    """A preview that tells how much it was fed."""

    ready: bool = True
    samples: int = 0
    closed: bool = False

    def feed(self, audio: np.ndarray, wait: float = 0.0) -> Partial:
        assert audio.dtype == np.float32
        self.samples += len(audio)
        return Partial("kept", f"{self.samples}", full=self.samples > 100_000)

    def close(self) -> Partial:
        self.closed = True
        return Partial("kept", "last")


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def app(tmp_path: Path, listener: Listener) -> AppContext:
    return AppContext(RunWatch(tmp_path / "runs"), listening=listener)  # type: ignore[arg-type]


@pytest.fixture
def run(app: AppContext) -> RunDir:
    made = make_run(app.runs)
    write_events(made)
    finish(made)
    return made


def comparison() -> Any:
    """What the engines give, in plain values."""

    def side(name: str, said: str) -> SimpleNamespace:
        transcript = SimpleNamespace(
            text=said, audio_seconds=3.0, seconds=0.6, rtf=0.2, tokens=9, note=""
        )
        return SimpleNamespace(
            name=name,
            transcript=transcript,
            bytes_on_disk=2_000_000,
            parameters=1_000_000,
            peak_memory_bytes=5_000_000,
        )

    scores = {which: {"raw": (0.5, 0.25), "hindi-1": (0.2, 0.1)} for which in ("dense", "slim")}
    return SimpleNamespace(
        dense=side("d", "मैं घर जाता हूँ"),
        slim=side("s", "मैं घर जाती <i>हूँ</i> <script>"),
        scores=scores,
        shared_features=True,
        memory_note="how it was measured",
    )


def write_export(folder: Path, engine: str, quantize: str, same: int | None = None) -> Path:
    """An export without its files; `same` of 6 parts were heard alike, or nobody looked."""
    folder.mkdir(parents=True)
    ExportRecord(
        engine, quantize, "m", "0" * 64, 10, 80, 448, "hi", (), (), {}, {}, {}
    ).write(folder)  # fmt: skip
    if same is not None:
        verdict = {"seconds": 41.5, "parts": 6, "same_text": same, "word_difference": 0.07}
        (folder / PARITY_FILE).write_text(json.dumps(verdict))
    return folder


# --- comparing --------------------------------------------------------------------------------


def test_compare_passes_resolved_sides_and_shows_both(
    app: AppContext, listener: Listener, run: RunDir
) -> None:
    page = tab_compare.compared(
        app, "clip.wav", BASE, "torch", "30s", run.name, "torch", " HI ", " मैं घर जाता हूँ "
    )
    dense, slim = SideChoice(BASE, "30s"), SideChoice(str(run.slim_path), "fit")
    assert listener.compared == [(dense, slim, "clip.wav", "hi", "मैं घर जाता हूँ")]
    assert run.name in page and "<i>हूँ" not in page and "<script>" not in page
    assert "WER, hindi-1" in page and "20.0 %" in page and "0.200" in page
    assert "how it was measured" in page
    assert "PyTorch fp32, a 30 s window" in page
    assert "Realistic, not like for like" in page


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"audio": None}, AudioError),
        ({"dense": ""}, SourceError),
        ({"dense": "../../etc"}, SourceError),
        ({"dense": "/etc"}, SourceError),
        ({"dense_engine": "whisper.cpp"}, UsageError),
        ({"dense_engine": ["torch"]}, UsageError),
        ({"dense_window": "12s"}, UsageError),
        ({"dense_window": None}, UsageError),
        ({"slim_engine": "../../../etc"}, UsageError),
        ({"slim_engine": ["torch"]}, UsageError),
        ({"language": "h i"}, UsageError),
        ({"said": "x" * 6000}, UsageError),
        ({"said": None}, UsageError),
    ],
)
def test_compare_refuses_what_it_cannot_use(
    app: AppContext, listener: Listener, changed: dict[str, Any], error: type
) -> None:
    given = {
        "audio": "a.wav", "dense": BASE, "dense_engine": "torch", "dense_window": "fit",
        "slim": BASE, "slim_engine": "", "language": "hi", "said": "", **changed,
    }  # fmt: skip
    with pytest.raises(error):
        tab_compare.compared(app, **given)
    assert listener.compared == []


# --- engines ----------------------------------------------------------------------------------


def test_the_fastest_export_of_a_run_comes_first(app: AppContext, run: RunDir) -> None:
    write_export(run.path / "export" / "onnx", "onnx", "int8", 6)
    fast = write_export(run.path / "export" / "ctranslate2", "ctranslate2", "int8", 5)
    write_export(run.path / "export" / ".ctranslate2-abcdefgh", "ctranslate2", "none")
    (run.path / "export" / "half").mkdir()
    options = slim_options(app, run.name)
    assert [option.key for option in options] == ["ctranslate2", "onnx", "torch"]
    assert options[0].label == "CTranslate2 int8" and "42 s" in options[0].parity
    assert "5 of 6 parts; 7% of the words differ" in options[0].parity
    assert slim_side(app, run.name, None).path == str(fast)
    assert slim_side(app, run.name, "torch") == SideChoice(str(run.slim_path))


def test_a_damaged_export_is_not_offered(app: AppContext, run: RunDir) -> None:
    folder = write_export(run.path / "export" / "onnx", "onnx", "none")
    (folder / "export.json").write_text("{}")
    assert [option.key for option in slim_options(app, run.name)] == ["torch"]
    with pytest.raises(ExportError):
        slim_options(app, str(folder))


def test_an_export_that_was_never_checked_says_so(app: AppContext, run: RunDir) -> None:
    folder = write_export(run.path / "export" / "onnx", "onnx", "none")
    assert "not checked" in slim_options(app, run.name)[0].parity
    (folder / PARITY_FILE).write_text("[]")
    assert "not checked" in slim_options(app, run.name)[0].parity


def test_an_export_folder_can_be_typed_on_either_side(app: AppContext, tmp_path: Path) -> None:
    folder = write_export(tmp_path / "out", "ctranslate2", "int8", 6)
    assert chosen_model(app, str(folder)) == str(folder)
    (option,) = slim_options(app, str(folder))
    assert option.side == SideChoice(str(folder), "fit", "ctranslate2", "int8")
    found = dense_side(app, str(folder), "torch", "30s")
    assert found == SideChoice(str(folder), "30s", "ctranslate2", "int8")


def test_dense_side_in_another_engine(app: AppContext) -> None:
    found = dense_side(app, BASE, "ctranslate2-int8", "fit")
    assert found == SideChoice(BASE, "fit", "ctranslate2", "int8")


def test_words_tell_what_else_differs() -> None:
    torch = SideChoice("a", "30s")
    assert fairness(torch, SideChoice("b", "30s")).startswith("Like for like")
    told = fairness(torch, SideChoice("b", "fit", "ctranslate2", "int8"))
    assert "PyTorch fp32 against CTranslate2 int8" in told
    assert "a 30 s window against a window fitted" in told
    only = fairness(SideChoice("a", "fit"), SideChoice("b", "fit", "ctranslate2", "none"))
    assert "window" not in only and "CTranslate2 fp32" in only


def test_choosing_a_model_offers_its_engines(app: AppContext, run: RunDir) -> None:
    write_export(run.path / "export" / "ct2", "ctranslate2", "int8", 5)
    (update,) = tab_compare.engine_updates(app, run.name, None)
    assert update["choices"] == [("CTranslate2 int8", "ct2"), ("PyTorch fp32", "torch")]
    assert update["value"] == "ct2"
    assert tab_compare.engine_updates(app, run.name, "torch")[0]["value"] == "torch"
    assert tab_compare.engine_updates(app, "nothing", None)[0]["choices"] == []
    note = tab_compare.engine_note(app, run.name, "ct2", "ctranslate2-int8")
    assert "takes a minute" in note and "5 of 6 parts" in note
    assert tab_compare.engine_note(app, None, None, "torch") == ""


def test_visiting_the_tab_loads_the_slim_model(
    app: AppContext, listener: Listener, run: RunDir
) -> None:
    tab_compare.get_ready(app, False, run.name, "torch", "hi")
    tab_compare.get_ready(app, True, None, None, "hi")
    assert listener.readied == []
    tab_compare.get_ready(app, True, run.name, "torch", "hi")
    assert listener.readied == [(SideChoice(str(run.slim_path)), "hi")]


# --- text while speaking ----------------------------------------------------------------------


def piece(samples: int) -> str:
    return base64.b64encode(np.zeros(samples, "<i2").tobytes()).decode()


def test_a_preview_from_begin_to_end(app: AppContext, listener: Listener, run: RunDir) -> None:
    previews = previews_of(app)
    asked = {"slim": run.name, "engine": "torch", "language": "hi", "rate": 16_000}
    key = previews.begin(asked)["key"]
    assert listener.previewed == [(SideChoice(str(run.slim_path)), "hi")]
    found = previews.feed({"key": key, "pcm": piece(4000)})
    assert found == {"kept": "kept", "now": "4000", "state": "listening"}
    assert previews.feed({"key": key, "pcm": piece(100_000)})["state"] == "full"
    assert previews.end({"key": key})["now"] == "last"
    with pytest.raises(UsageError, match="ended"):
        previews.feed({"key": key, "pcm": piece(1)})


def test_previews_share_nothing_and_are_not_endless(app: AppContext) -> None:
    now = [0.0]
    previews = Previews(lambda *given: FakeSession(), clock=lambda: now[0])
    keys = [previews.begin({"rate": 48_000})["key"] for _ in range(8)]
    assert len(set(keys)) == 8
    previews.feed({"key": keys[0], "pcm": piece(4800)})
    assert previews.feed({"key": keys[1], "pcm": piece(0)})["now"] == "0"
    with pytest.raises(UsageError, match="the most"):
        previews.begin({"rate": 48_000})
    now[0] = 20.0
    previews.feed({"key": keys[0], "pcm": ""})
    now[0] = 40.0
    previews.begin({"rate": 48_000})
    assert previews.feed({"key": keys[0], "pcm": ""})["state"] == "listening"
    with pytest.raises(UsageError, match="ended"):
        previews.feed({"key": keys[1], "pcm": ""})


@pytest.mark.parametrize("asked", [None, 3, "x", [], {}, {"key": 5}, {"key": ["a"]}])
def test_hostile_calls_get_a_sentence(app: AppContext, asked: Any) -> None:
    previews = previews_of(app)
    for act in (previews.begin, previews.feed, previews.end):
        assert set(_answered(act, asked)) == {"error"}


@pytest.mark.parametrize("pcm", [None, 5, "no base64!", "AAA", "A" * 3_000_000, ["AAAA"]])
def test_unusable_sound_gets_a_sentence(pcm: Any) -> None:
    previews = Previews(lambda *given: FakeSession())
    key = previews.begin({"rate": 48_000})["key"]
    assert "error" in _answered(previews.feed, {"key": key, "pcm": pcm})


@pytest.mark.parametrize("rate", [None, 0, -1, 10**9, "48000", 48_000.5, True])
def test_unusable_rates_get_a_sentence(rate: Any) -> None:
    previews = Previews(lambda *given: FakeSession())
    assert "error" in _answered(previews.begin, {"rate": rate})


def test_the_script_is_part_of_the_page(app: AppContext) -> None:
    with gr.Blocks():
        tab = compare_fields.lay_out_tab(app)
    assert tab.live.value is True
    script = Path(live_text._SCRIPT).read_text("utf-8")
    for name in ("begin", "feed", "end"):
        assert f"server.{name}(" in script
    assert "innerHTML" not in script, "text of a model must not become markup"
