"""Runs whose recipe names the languages to keep, and the command that trims alone."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.support.models.tiny_tokens import many_tongued_folder
from tests.support.tiny import VOCABULARY
from tests.support.tiny_run import finished_run, tiny_recipe
from whisperslim.cli import main
from whisperslim.core.cost.cost import cost_of
from whisperslim.core.loading import load_model
from whisperslim.core.store.checkpoint import count_parameters, read_record, read_tensors
from whisperslim.errors import RecipeError, UsageError
from whisperslim.events import Event, StageFinished
from whisperslim.jobs.recipe.recipe import from_mapping, load_recipe
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.derive import derive
from whisperslim.jobs.sizes.predict import predict
from whisperslim.jobs.sizes.replan import replan
from whisperslim.jobs.stages.order import work

HINDI = {"languages": ["hi"]}
PREPARE = {"steps": 2, "batch_size": 4, "learning_rate": 1e-3, "evaluate_every": 0,
           "checkpoint_every": 1, "report_every": 1}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))


def test_every_model_of_a_run_is_trimmed_but_the_one_it_is_compared_with(tmp_path: Path) -> None:
    run = finished_run(tmp_path, vocabulary=HINDI, distill={"teacher": "dense"})
    dense, slim = load_model(str(tmp_path / "model")), load_model(str(run.path))
    # Without English: the one language token of two that goes.
    assert slim.model.config.vocab_size == VOCABULARY - 1
    for folder in ("trimmed", "tuned/model", "cut"):
        assert load_model(str(run.path / folder)).model.config.vocab_size == VOCABULARY - 1
    record = json.loads(run.eval_path("dense").read_text())
    assert record["weights_sha256"] == dense.info.weights_sha256
    tokens = [json.loads(run.eval_path(name).read_text())["tokens"] for name in ("dense", "slim")]
    assert tokens == [VOCABULARY, VOCABULARY - 1]
    found = read_record(slim.path)
    assert found.dense_parameters == count_parameters(dense.model)
    assert found.base == str(tmp_path / "model")
    report = cost_of(slim.path)
    assert report.removed == count_parameters(dense.model) - count_parameters(slim.model)
    environment = json.loads(run.environment_path.read_text())
    assert environment["weights_sha256"] == dense.info.weights_sha256


def test_another_size_of_such_a_run(tmp_path: Path) -> None:
    run = finished_run(tmp_path, vocabulary=HINDI)
    planned = replan(run, 0.2, 0.0)
    dense = count_parameters(load_model(str(tmp_path / "model")).model)
    assert planned.dense_parameters == dense
    assert predict(run, 0.2, 0.0, clips=1).n == 1
    derived = derive(run, 0.2, 0.0)
    work(derived, lambda event: None)
    assert derived.stage_done("evaluate")
    slim = load_model(str(derived.path))
    assert count_parameters(slim.model) == planned.parameters
    assert read_record(slim.path).vocabulary == read_record(run.slim_path).vocabulary


def test_a_prepared_model_is_trimmed_and_is_the_dense_one(tmp_path: Path) -> None:
    run = finished_run(tmp_path, vocabulary=HINDI, prepare=PREPARE, distill={"teacher": "dense"})
    prepared = load_model(str(run.path / "prepared"))
    assert prepared.model.config.vocab_size == VOCABULARY - 1
    record = json.loads(run.eval_path("dense").read_text())
    assert record["weights_sha256"] == prepared.info.weights_sha256
    assert record["tokens"] == VOCABULARY - 1


def test_a_whole_teacher_from_elsewhere_is_trimmed_alike(tmp_path: Path) -> None:
    teacher = shutil.copytree(many_tongued_folder(tmp_path / "big"), tmp_path / "teacher")
    recipe = tiny_recipe(tmp_path, vocabulary=HINDI, distill={"teacher": str(teacher)})
    recipe["model"] = str(tmp_path / "big")
    run = RunDir.create(tmp_path / "runs", from_mapping(recipe))
    work(run, lambda event: None)
    assert run.stage_done("evaluate")
    slim = load_model(str(run.path))
    assert slim.model.config.vocab_size < load_model(str(teacher)).model.config.vocab_size


def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    recipe = from_mapping(tiny_recipe(tmp_path, vocabulary=HINDI, train={"checkpoint_every": 1}))
    whole = RunDir.create(tmp_path / "whole", recipe)
    work(whole, lambda event: None)
    broken = RunDir.create(tmp_path / "broken", recipe)

    def stop_after_trimming(event: Event) -> None:
        if isinstance(event, StageFinished) and event.stage == "vocabulary":
            broken.request_stop()

    work(broken, stop_after_trimming)
    assert broken.stage_done("vocabulary") and not broken.stage_done("tune")
    broken.clear_stop()
    work(broken, lambda event: None)
    ours, theirs = (read_tensors(run.slim_path / "model.safetensors") for run in (whole, broken))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_trimmed_model_is_compressed_again(tmp_path: Path) -> None:
    first = finished_run(tmp_path, vocabulary=HINDI)
    recipe = tiny_recipe(tmp_path / "again", vocabulary=HINDI, target={"removed": 0.6})
    recipe["model"] = str(first.path)
    second = RunDir.create(tmp_path / "again" / "runs", from_mapping(recipe))
    work(second, lambda event: None)
    assert second.stage_done("evaluate") and not (second.path / "trimmed").exists()
    ours, theirs = read_record(second.slim_path), read_record(first.slim_path)
    assert (ours.vocabulary, ours.dense_parameters) == (theirs.vocabulary, theirs.dense_parameters)


def test_the_recipe_s_language_must_stay(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"vocabulary.languages: keeps mr, ne, and .* in hi"):
        from_mapping(tiny_recipe(tmp_path, vocabulary={"languages": ["mr", "ne"]}))
    with pytest.raises(RecipeError, match=r"klingon"):
        from_mapping(tiny_recipe(tmp_path, vocabulary={"languages": ["klingon"]}))
    named = from_mapping(tiny_recipe(tmp_path, vocabulary={"languages": ["Hindi"]}))
    assert named.vocabulary.languages == ("hi",)
    with pytest.raises(RecipeError, match=r"vocabulary.merges.*name languages"):
        from_mapping(tiny_recipe(tmp_path, vocabulary={"merges": 100}))


def test_a_language_the_model_lacks_fails_the_run_with_those_it_knows(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, vocabulary={"languages": ["hi", "mr"]})
    run = RunDir.create(tmp_path / "runs", from_mapping(recipe))
    with pytest.raises(UsageError, match=r"Marathi \(mr\); it knows English \(en\), Hindi \(hi\)"):
        work(run, lambda event: None)
    assert not (run.path / "trimmed").exists()


def test_languages_are_given_on_the_command_line_as_a_list() -> None:
    recipe = load_recipe("quick-demo", ["vocabulary.languages=hi,mr"])
    assert recipe.vocabulary.languages == ("hi", "mr")
    assert load_recipe("quick-demo", ["vocabulary.languages="]).vocabulary.languages == ()


def test_the_command_trims(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = many_tongued_folder(tmp_path / "model")
    call = ["trim", str(model), str(tmp_path / "hi"), "--language", "hi", "--language", "mr"]
    with pytest.raises(SystemExit) as ended:
        main(call)
    assert ended.value.code == 0
    found = load_model(str(tmp_path / "hi"))
    assert (
        found.tokens.prompt("mr") and str(found.model.config.vocab_size) in capsys.readouterr().out
    )
    with pytest.raises(UsageError):
        found.tokens.prompt("en")
    assert torch.equal(found.model.proj_out.weight, found.model.model.decoder.embed_tokens.weight)
    before = (tmp_path / "hi" / "slim.json").read_bytes()
    with pytest.raises(SystemExit) as ended:
        main(call)
    assert ended.value.code == 2 and "exists already" in capsys.readouterr().err
    assert (tmp_path / "hi" / "slim.json").read_bytes() == before
