"""The functions of the package: those of the commands, loaded when they are asked for."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import whisperslim as ws
from tests.support.tiny import tiny_model_folder, write_tone
from tests.support.tiny_run import shared_run
from whisperslim import events, runtime
from whisperslim.cli import app
from whisperslim.errors import RunError, UsageError
from whisperslim.jobs.process import worker
from whisperslim.jobs.run.folder import RunDir, RunStatus
from whisperslim.speech.audio.decoding import decode


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDir]:
    with shared_run(tmp_path_factory.mktemp("api")) as made:
        yield made


@pytest.fixture(scope="module")
def clip(run: RunDir) -> Path:
    file = run.path / "clip.wav"
    write_tone(file, seconds=0.7, pitch=300)
    return file


def test_the_package_alone_loads_nothing_and_load_no_torch() -> None:
    code = (
        "import sys, whisperslim as ws\n"
        "own = {name for name in sys.modules if name.startswith('whisperslim')}\n"
        "assert own == {'whisperslim', 'whisperslim.version'}, own\n"
        "assert set(ws.__all__) <= set(dir(ws)) and ws.load.__module__ == 'whisperslim.runtime'\n"
        "heavy = {'torch', 'transformers', 'gradio', 'onnx', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_its_types_are_declared_and_no_other_names_are_there() -> None:
    assert (Path(ws.__file__).parent / "py.typed").is_file()
    with pytest.raises(AttributeError, match="transcribe"):
        ws.transcribe  # noqa: B018


def test_load_is_the_runtimes(run: RunDir, clip: Path) -> None:
    assert ws.load is runtime.load
    wanted = json.loads(command("transcribe", "--model", str(run.path), "--json", str(clip)))[0]
    assert ws.load(run.path).transcribe(clip).text == wanted["text"]


def test_compare_says_what_the_command_says(run: RunDir, clip: Path) -> None:
    said = json.loads(command("compare", "--slim", str(run.path), "--json", str(clip)))[0]
    (found,) = ws.compare(run.path, clip)
    record = json.loads(json.dumps(found.to_record()))
    timed = {"dense", "slim", "speedup", "speed"}
    assert {k: v for k, v in record.items() if k not in timed} == {
        k: v for k, v in said.items() if k not in {"file", *timed}
    }
    for side in ("dense", "slim"):
        assert record[side]["transcript"]["text"] == said[side]["transcript"]["text"]
    sound = decode(clip)
    both = ws.compare(run.path, [sound, clip.read_bytes()], run.path)
    assert [each.comparison.differences for each in both] == [both[0].comparison.differences] * 2
    assert all(step.kind == "equal" for step in both[0].comparison.differences)


def test_compare_refuses_what_it_cannot_do(run: RunDir, clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one recording"):
        ws.compare(run.path, [clip, clip], reference="एक")
    with pytest.raises(UsageError, match="script"):
        ws.compare(run.path, clip, script="latin")
    with pytest.raises(UsageError, match="not in a run"):
        ws.compare(tiny_model_folder(tmp_path / "model"), clip)


def test_evaluate_takes_the_split_the_command_takes(run: RunDir) -> None:
    corpus = str(run.path.parent.parent / "corpus")
    found = ws.evaluate(run.path, corpus)
    assert found.provenance["split"] == "test"
    # Of twelve clips every fourth is the test's.
    assert found.result.n == 3 and ws.evaluate(run.path, corpus, "").result.n == 12


def test_compress_makes_a_run_as_its_recipe_says(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(made: RunDir, emit: worker.Sink) -> None:
        emit(events.StageStarted("data"))

    monkeypatch.setattr(worker, "shipped_work", lambda: (("data",), work))
    monkeypatch.setattr(worker.run_worker, "__defaults__", ((), worker.shipped_work))
    seen: list[events.Event] = []
    recipe = run.path / "recipe.yaml"
    made = ws.compress(recipe, ["train.steps=7"], runs=tmp_path / "runs", on_event=seen.append)
    assert made.path.parent == tmp_path / "runs" and made.recipe().train.steps == 7
    assert made.status() == RunStatus.FINISHED and isinstance(seen[-1], events.Finished)


def test_a_run_that_fails_raises_with_what_it_said(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(made: RunDir, emit: worker.Sink) -> None:
        raise UsageError("no such thing")

    monkeypatch.setattr(worker.run_worker, "__defaults__", ((), lambda: (("data",), work)))
    with pytest.raises(RunError, match="no such thing"):
        ws.compress(run.path / "recipe.yaml", runs=tmp_path)


def command(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout
