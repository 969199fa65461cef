"""A newcomer's engine: one file, one registration, and no more."""

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from tests.engines import toy
from tests.support.tiny import tiny_model_folder
from tests.support.tiny_run import finished_run
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.plan.files import read_plan
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.core.surgery.shrink import cut
from whisperslim.engines import registry
from whisperslim.engines.comparison import compare
from whisperslim.engines.export import parity, parity_child
from whisperslim.engines.export.export import export
from whisperslim.engines.export.record import EXPORT_FILE, read_export
from whisperslim.engines.opening import open_transcriber
from whisperslim.errors import ExportError, RecipeError, UsageError
from whisperslim.jobs.pricing.profiles import check_profiled
from whisperslim.jobs.pricing.terms import Terms
from whisperslim.jobs.recipe.recipe import dotted_specs, from_mapping
from whisperslim.jobs.sizes.replan import replan
from whisperslim.jobs.sizes.tuned import open_tuned
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.ui.compare.fields import lay_out_compare
from whisperslim.ui.compare.tab import dense_note
from whisperslim.ui.compress.form import lay_out
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.context.sides import dense_side, slim_options

WINDOW = WindowPolicy()
RECIPE = {"data": {"train": ["a"]}, "export": {"engine": "toy", "quantize": "int1"}}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    # A child of ours would not know what a test has registered.
    monkeypatch.setattr(parity, "run_child", lambda exchange, timeout: parity_child.main(exchange))
    registry.register(toy.SPEC)
    yield
    if "toy" in registry.names():
        registry.unregister("toy")


@pytest.fixture
def speech(tmp_path: Path) -> SpeechModel:
    return load_model(str(tiny_model_folder(tmp_path / "model")))


def tone(seconds: float = 1.0) -> np.ndarray:
    time = np.arange(int(seconds * 16_000)) / 16_000
    return (0.3 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)


def written(speech: SpeechModel, out: Path) -> Path:
    export(speech, "toy", "none", out, [tone()], "hi", WINDOW)
    return out


def test_a_model_is_exported_recognized_opened_and_compared(
    speech: SpeechModel, tmp_path: Path
) -> None:
    out = written(speech, tmp_path / "out")
    assert read_export(out).engine == "toy"
    own = open_transcriber(str(speech.path), WINDOW)
    found = compare(own, open_transcriber(str(out), WINDOW), tone(), language="hi")
    assert found.slim.transcript.text == found.dense.transcript.text != ""
    (out / EXPORT_FILE).unlink()
    with pytest.raises(ExportError, match="incomplete"):
        open_transcriber(str(out), WINDOW)


def test_what_it_cannot_hold_is_refused_in_words(speech: SpeechModel, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="Toy Runtime has no quantization 'int8'"):
        export(speech, "toy", "int8", tmp_path / "out", [tone()], "hi", WINDOW)
    keep = {g.key: tuple(range(g.count)) for g in speech.groups()}
    cut(speech.model, speech.groups(), PruningPlan({**keep, "encoder.0.ffn": tuple(range(40))}))
    with pytest.raises(ExportError, match=r"one FFN width in the encoder, not \[40, 48\]"):
        written(speech, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_keeps_to_the_shapes_it_can_hold(tmp_path: Path) -> None:
    run = finished_run(
        tmp_path, target={"removed": 0.4, "zeroed": 0.0}, export={"engine": "toy"}
    )  # fmt: skip
    plan = read_plan(run.plan_path)
    for stack in ("encoder", "decoder"):
        widths = {len(plan.keep[f"{stack}.{layer}.ffn"]) for layer in (0, 1)}
        assert len(widths - {0}) == 1
    assert read_export(run.path / "export" / "toy").engine == "toy"
    assert {g.tied for g in open_tuned(run).groups if g.kind == "heads"} == {""}
    free = replan(run, 0.4, None, Terms("torch")).plan.keep
    assert replan(run, 0.4, None, Terms("toy", "int1")).plan.keep == plan.keep != free

    app = AppContext(RunWatch(run.path.parent))
    first, *others = slim_options(app, str(run.slim_path))
    assert (first.key, first.label) == ("toy", "Toy Runtime fp32") and len(others) == 1


def test_recipes_know_it_while_it_is_there() -> None:
    engine = dotted_specs("sgl")["export.engine"]
    assert engine.choices[-1] == "toy" and "toy: an engine to play with; every FFN" in engine.help
    assert "int1" in dotted_specs("sgl")["export.quantize"].choices
    recipe = from_mapping(RECIPE)
    assert (recipe.export.engine, recipe.export.is_written) == ("toy", True)
    check_profiled("toy", "int1")

    registry.unregister("toy")
    with pytest.raises(RecipeError, match=r"export\.engine.*'toy' is not one of torch"):
        from_mapping(RECIPE)
    with pytest.raises(UsageError, match="'toy' is not an engine; choose one of: torch"):
        check_profiled("toy", "int1")


def test_the_page_offers_it(tmp_path: Path) -> None:
    app = AppContext(RunWatch(tmp_path / "runs"))
    with gr.Blocks():
        form = lay_out("quick-demo", ["openai/whisper-base"])
        tab = lay_out_compare(app)
    assert ("toy", "toy") in form.component("export.engine").choices  # type: ignore[attr-defined]
    assert ("toy, int1", "toy-int1") in tab.dense_engine.choices
    side = dense_side(app, "openai/whisper-base", "toy-int1", "30s")
    assert (side.engine, side.quantize, side.runs_in) == ("toy", "int1", "Toy Runtime int1")
    assert "toy, int1" in "".join(dense_note("toy-int1"))
