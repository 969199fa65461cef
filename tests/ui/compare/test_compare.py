"""The Compare tab's handlers: what runs in which engine, and in which words that is said."""

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest

from tests.support.models.inputs import WHISPERS
from whisperslim.engines.export.record import PARITY_FILE, ExportRecord
from whisperslim.engines.live.text import Partial
from whisperslim.errors import AudioError, ExportError, SourceError, UsageError
from whisperslim.exported.ctc import Word
from whisperslim.jobs.run.folder import RunDir
from whisperslim.ui.compare import tab as compare_tab
from whisperslim.ui.compare.fields import (
    AskedComparison,
    AskedModels,
    lay_out_compare,
    lay_out_results,
)
from whisperslim.ui.compare.history import History
from whisperslim.ui.compare.html import comparison_html
from whisperslim.ui.compare.record import Compared
from whisperslim.ui.context.choices import chosen_model
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.side_choice import SideChoice
from whisperslim.ui.context.sides import dense_side, fairness, slim_options, slim_side
from whisperslim.ui.parts.updates import unchanged

BASE = "openai/whisper-base"


@dataclass
class Listener:
    """Remembers what it was asked to hear; every model is at hand unless `missing`."""

    missing: bool = False
    compared: list[tuple[Any, ...]] = field(default_factory=list)
    previewed: list[tuple[Any, ...]] = field(default_factory=list)
    readied: list[tuple[Any, ...]] = field(default_factory=list)
    timed: Any = None

    def is_here(self, side: SideChoice) -> bool:
        return not self.missing

    def get_ready(self, *given: Any) -> None:
        self.readied.append(given)

    def compare(self, *given: Any) -> Any:
        self.compared.append(given)
        return comparison(third=len(given) > 5)

    def preview(self, *given: Any) -> Any:
        self.previewed.append(given)
        return FakeSession()


@dataclass
class FakeSession:
    """A preview that says how much it was fed."""

    ready: bool = True
    pass_seconds: float = 0.1
    samples: int = 0
    closed: bool = False

    def feed(self, audio: np.ndarray, wait: float = 0.0) -> Partial:
        assert audio.dtype == np.float32
        self.samples += len(audio)
        return Partial("kept", f"{self.samples}", full=self.samples > 100_000)

    def close(self) -> Partial:
        self.closed = True
        return Partial("kept", "last")


def comparison(third: bool = False) -> Any:
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
        together=1,
        third=side("t", "मैं घर") if third else None,
    )


def write_export(folder: Path, engine: str, quantize: str, same: int | None = None) -> Path:
    """An export without its files; `same` of 6 parts were heard alike, or nobody looked."""
    folder.mkdir(parents=True)
    ExportRecord(
        engine, quantize, "m", "0" * 64, 10, "whisper", WHISPERS, {}, "hi", {}, {}, {}, ""
    ).write(folder)  # fmt: skip
    if same is not None:
        verdict = {"seconds": 41.5, "parts": 6, "same_text": same, "word_difference": 0.07}
        (folder / PARITY_FILE).write_text(json.dumps(verdict))
    return folder


# --- comparing --------------------------------------------------------------------------------


def test_compare_passes_resolved_sides_and_shows_both(
    app: AppContext, listener: Listener, run: RunDir
) -> None:
    models = AskedModels(BASE, "torch", "30s", run.name, "torch", " HI ")
    asked = AskedComparison("clip.wav", " मैं घर जाता हूँ ")
    found = compare_tab.compared(app, models, asked)
    dense = SideChoice(BASE, "30s", script="own")
    slim = SideChoice(str(run.slim_path), "fit", script="own")
    assert listener.compared == [(dense, slim, "clip.wav", "hi", "मैं घर जाता हूँ")]
    assert found.sides[1].model == run.name
    page = comparison_html(found)
    assert run.name in page and "<i>हूँ" not in page and "<script>" not in page
    assert "WER, hindi-1" in page and "20.0 %" in page and "0.200" in page
    assert "how it was measured" in page
    assert "PyTorch fp32, a 30 s window" in page
    assert "Not like for like" in page
    assert "a 30 s window, held to the language&#x27;s own script" in page
    compare_tab.compared(app, replace(models, own_script=False), asked)
    assert [side.script for side in listener.compared[-1][:2]] == ["any", "any"]
    assert "The dense side is the model that the slim one was made from." in page


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
        ({"reference": "x" * 6000}, UsageError),
        ({"reference": None}, UsageError),
    ],
)
def test_compare_refuses_what_it_cannot_use(
    app: AppContext, listener: Listener, changed: dict[str, Any], error: type
) -> None:
    models = {
        "dense": BASE, "dense_engine": "torch", "dense_window": "fit",
        "slim": BASE, "slim_engine": "", "language": "hi",
    }  # fmt: skip
    asked = {"audio": "a.wav", "reference": ""}
    of_models = {name: changed.get(name, value) for name, value in models.items()}
    of_asked = {name: changed.get(name, value) for name, value in asked.items()}
    with pytest.raises(error):
        compare_tab.compared(app, AskedModels(**of_models), AskedComparison(**of_asked))
    assert listener.compared == []


def test_a_recording_that_was_cleared_away_is_reported(tmp_path: Path) -> None:
    compare_tab.keep_here(None)
    for gone in (str(tmp_path / "gone.wav"), "x" * 9999, "a\0b"):
        with pytest.raises(AudioError, match="no longer here; record or choose it again"):
            compare_tab.keep_here(gone)


def test_a_recording_in_use_stays(tmp_path: Path) -> None:
    recording = tmp_path / "clip.wav"
    recording.write_bytes(b"x")
    before = recording.stat().st_ctime_ns
    time.sleep(0.05)
    compare_tab.keep_here(str(recording))
    assert recording.stat().st_ctime_ns > before


def test_a_third_model_is_the_slim_one_in_another_engine(
    app: AppContext, listener: Listener, run: RunDir
) -> None:
    fast = write_export(run.path / "export" / "ct2", "ctranslate2", "int8", 6)
    models = AskedModels(BASE, "torch", "30s", run.name, "torch", "hi")

    def compared(third: object) -> Compared:
        return compare_tab.compared(app, models, AskedComparison("a.wav", "", third))

    found = compared("ct2")
    third = SideChoice(str(fast), "fit", "ctranslate2", "int8", script="own")
    assert listener.compared[-1][5] == third
    assert [side.role for side in found.sides] == ["dense", "slim", "third"]
    page = comparison_html(found)
    assert "slim in CTranslate2 int8 against dense" in page
    assert len(compared("").sides) == 2
    with pytest.raises(UsageError, match="same engine"):
        compared("torch")
    with pytest.raises(UsageError, match="not an engine"):
        compared(["ct2"])


# --- words in time ----------------------------------------------------------------------------


def test_words_are_timed_by_what_the_same_models_hear_again(
    app: AppContext, listener: Listener, run: RunDir
) -> None:
    def timed(side: SideChoice, recording: str, language: str) -> Any:
        if side.path == BASE:
            raise UsageError("it cannot say when")
        starts = enumerate(["मैं", "घर", "जाती", "<i>हूँ</i>", "<script>"])
        return SimpleNamespace(words=[Word(word, i, i + 0.5, 1.0) for i, word in starts])

    listener.timed = timed
    models = AskedModels(BASE, "torch", "30s", run.name, "torch", "hi")
    asked = AskedComparison("clip.wav", "")
    found = compare_tab.compared(app, models, asked)
    history = History(app.runs)
    history.save(found, None, 120.0)
    with gr.Blocks():
        shown = lay_out_results()
    heard_as = compare_tab.HeardAs(compare_tab.sides_asked(app, models, asked), "clip.wav")
    given = compare_tab.time_words(shown, app, history, found.key, heard_as)
    dense, slim = history.find(found.key).sides
    assert slim.times == ((0, 0.5), (1, 1.5), (2, 2.5), (3, 3.5), (4, 4.5))
    assert dense.times == () and dense.untimed == "it cannot say when"
    assert "it cannot say when" in given[shown.times]
    assert compare_tab.time_words(shown, app, history, "", heard_as) == unchanged()
    history.delete(found.key)
    assert compare_tab.time_words(shown, app, history, found.key, heard_as) == unchanged()


def test_a_side_that_took_long_is_not_heard_again(
    app: AppContext, listener: Listener, run: RunDir
) -> None:
    models = AskedModels(BASE, "torch", "30s", run.name, "torch", "hi")
    found = compare_tab.compared(app, models, AskedComparison("clip.wav", ""))
    slow = replace(found, sides=tuple(replace(side, seconds=51.0) for side in found.sides))
    history = History(app.runs)
    history.save(slow, None, 120.0)
    with gr.Blocks():
        shown = lay_out_results()
    heard_as = compare_tab.HeardAs(compare_tab.sides_of(app, models), "clip.wav")
    given = compare_tab.time_words(shown, app, history, slow.key, heard_as)
    assert "51 s more" in given[shown.times]


def test_the_first_comparison_is_like_for_like_where_it_can_be(
    app: AppContext, run: RunDir
) -> None:
    own = compare_tab.sides_of(app, compare_tab.first_models(app, run.name))
    assert [side.runs_in for side in own] == ["PyTorch fp32", "PyTorch fp32"]
    write_export(run.path / "export" / "onnx", "onnx", "int8", 6)
    dense, slim = compare_tab.sides_of(app, compare_tab.first_models(app, run.name))
    assert dense.runs_in == slim.runs_in == "ONNX Runtime int8"
    assert fairness(dense, slim).startswith("Like for like")


# --- engines ----------------------------------------------------------------------------------


def test_the_fastest_export_of_a_run_comes_first(app: AppContext, run: RunDir) -> None:
    write_export(run.path / "export" / "ctranslate2", "ctranslate2", "int8", 6)
    fast = write_export(run.path / "export" / "onnx", "onnx", "int8", 5)
    write_export(run.path / "export" / ".ctranslate2-abcdefgh", "ctranslate2", "none")
    (run.path / "export" / "half").mkdir()
    options = slim_options(app, run.name)
    assert [option.key for option in options] == ["onnx", "ctranslate2", "torch"]
    assert options[0].label == "ONNX Runtime int8" and "42 s" in options[0].parity
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
    both = fairness(torch, SideChoice("b", "fit", "ctranslate2", "int8"))
    assert "engine (PyTorch fp32, CTranslate2 int8)" in both
    assert "window (a 30 s window, a window fitted" in both and "both affect the time" in both
    only = fairness(SideChoice("a", "fit"), SideChoice("b", "fit", "ctranslate2", "none"))
    assert "window" not in only and "CTranslate2 fp32" in only


def test_choosing_a_model_offers_its_engines(app: AppContext, run: RunDir) -> None:
    write_export(run.path / "export" / "ct2", "ctranslate2", "int8", 5)
    with gr.Blocks():
        tab = lay_out_compare(app)
    given = compare_tab.engine_updates(tab, app, run.name, "torch")
    engines = [("CTranslate2 int8", "ct2"), ("PyTorch fp32", "torch")]
    assert given[tab.slim_engine]["choices"] == engines
    assert given[tab.slim_engine]["value"] == "ct2" and "5 of 6 parts" in given[tab.engine_note]
    assert given[tab.third]["choices"] == [("none", ""), engines[1]], "not the one that is chosen"
    assert given[tab.third]["value"] == "", "a third model is asked for, never chosen"
    other = compare_tab.explained_engine(tab, app, run.name, "torch", "torch")
    assert other[tab.third]["choices"] == [("none", ""), engines[0]] and other[tab.third]["visible"]
    none = compare_tab.engine_updates(tab, app, "nothing", "torch")
    assert none[tab.slim_engine]["choices"] == [] and none[tab.slim_engine]["value"] is None
    assert none[tab.third]["choices"] == [("none", "")] and not none[tab.third]["visible"]
    note = compare_tab.engine_note(app, run.name, "ct2", "ctranslate2-int8")
    assert "takes a minute" in note and "5 of 6 parts" in note
    assert compare_tab.engine_note(app, None, None, "torch") == ""


def test_a_form_whose_lists_have_not_come_means_what_they_offer_first(
    app: AppContext, run: RunDir
) -> None:
    early = AskedModels("not/the-origin", "torch", "30s", None, None, "hi")
    found = compare_tab.offered_models(app, early)
    assert (found.dense, found.slim) == (BASE, run.name)
    assert compare_tab.sides_of(app, found)[1].path == str(run.slim_path)
    # A name that was cleared is a choice, and `compared` refuses it.
    cleared = replace(early, slim="")
    assert compare_tab.offered_models(app, cleared) == cleared


def test_visiting_the_tab_loads_the_slim_model(
    app: AppContext, listener: Listener, run: RunDir
) -> None:
    models = AskedModels(BASE, "torch", "30s", run.name, "torch", "hi")
    compare_tab.get_ready(app, False, models)
    compare_tab.get_ready(app, True, replace(models, slim=None, slim_engine=None))
    assert listener.readied == []
    compare_tab.get_ready(app, True, models)
    assert listener.readied == [(SideChoice(str(run.slim_path), script="own"), "hi")]
