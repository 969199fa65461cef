"""A newcomer's family: one file and one registration; everything else works with it as it is."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.nn import functional as F

from tests.core.families.toy_ctc import (
    BLANK,
    HEARD_SECONDS,
    INNER,
    LAYERS,
    STRIDE,
    VOCABULARY,
    WIDTH,
    ToyFamily,
    positions,
    toy_folder,
)
from tests.engines import toy
from tests.support.surgery import checked_cut
from tests.support.tiny import tiny_corpus
from tests.support.tiny_job import TARGET, build, drop_some, quick, same, steps_of, weights
from tests.support.tiny_run import tiny_recipe
from whisperslim.core import families
from whisperslim.core.cost.cost import cost_of
from whisperslim.core.cost.flops import Workload
from whisperslim.core.cost.unit_costs import unit_costs
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.plan.plan import PruningPlan, keep_everything
from whisperslim.core.store.checkpoint import count_parameters, describe_cut, save_slim
from whisperslim.core.surgery.shrink import cut
from whisperslim.core.trimming import vocabulary_for
from whisperslim.engines import registry
from whisperslim.engines.export import parity, parity_child
from whisperslim.engines.export.export import export
from whisperslim.engines.export.record import decoder_rules, read_export
from whisperslim.engines.opening import open_transcriber
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.errors import DataError, ExportError, UsageError
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.scoring.evaluation import evaluate_model
from whisperslim.jobs.stages.order import work
from whisperslim.methods.base import CompressionMethod
from whisperslim.methods.magnitude.options import OneShotOptions
from whisperslim.methods.plain import PlainOptions
from whisperslim.methods.sgl.options import SGLOptions
from whisperslim.speech.audio.augment import AugmentOptions
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.batching import Batch
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.train.batches import BatchSource
from whisperslim.train.distill import Guidance, NoTeacher, Teacher
from whisperslim.train.evaluate import evaluate
from whisperslim.train.loop import Job, fit
from whisperslim.train.options import DistillOptions

METHODS = {"sgl": SGLOptions(), "one_shot": OneShotOptions()}


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    families.register(ToyFamily())
    yield
    families.unregister("toy_ctc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("toy")
    toy_folder(place / "model")
    tiny_corpus(place / "corpus", clips=8)
    return place


@pytest.fixture
def speech(folder: Path) -> SpeechModel:
    return load_model(str(folder / "model"))


def batches(folder: Path, speech: SpeechModel) -> BatchSource:
    return BatchSource(
        load_items(str(folder / "corpus")), folder / "cache", WindowPolicy(), batch_size=4,
        augment=AugmentOptions(), seed=7, input_spec=speech.input_spec,
    )  # fmt: skip


def one_batch(folder: Path, speech: SpeechModel) -> Batch:
    with batches(folder, speech) as supply:
        return supply.draw()


def trained(
    folder: Path,
    checkpoints: Path,
    speech: SpeechModel,
    method: CompressionMethod,
    teacher: Guidance | None = None,
) -> list[dict[str, float]]:
    """The losses of thirty steps of the one training loop."""
    torch.manual_seed(11)
    with batches(folder, speech) as supply:
        job = Job(
            stage="tune", student=speech, method=method, batches=supply,
            options=quick(steps=30, learning_rate=1e-2), checkpoints=checkpoints, language="hi",
            teacher=teacher or NoTeacher(),
        )  # fmt: skip
        return [dict(step.losses) for step in steps_of(list(fit(job)))]


def cut_copy(folder: Path) -> tuple[SpeechModel, SpeechModel, PruningPlan]:
    """Whole, cut, and the plan; every layer keeps another number of units."""
    whole, smaller = (load_model(str(folder / "model")) for _ in range(2))
    plan = drop_some(whole)
    cut(smaller.model, smaller.groups(), plan)
    assert len({group.count for group in smaller.groups()}) > 1
    return whole, smaller, plan


def test_it_is_found_by_its_name_alone(speech: SpeechModel, folder: Path) -> None:
    assert isinstance(speech.family, ToyFamily) and speech.device.type == "cpu"
    batch = one_batch(folder, speech)
    # Samples, 160 a frame; the window of a training batch is one of whole seconds.
    assert batch.features.shape == (4, 2 * 16_000) and max(batch.seconds) <= 2
    with pytest.raises(UsageError, match=r"toy_ctc.*registered already"):
        families.register(ToyFamily())


@pytest.mark.parametrize("name", METHODS)
def test_it_learns_and_is_planned_by_a_method(
    folder: Path, tmp_path: Path, speech: SpeechModel, name: str
) -> None:
    method, groups = build(name, METHODS[name], TARGET), speech.groups()
    losses = trained(folder, tmp_path, speech, method)
    assert losses[-1]["cross_entropy"] < 0.8 * losses[0]["cross_entropy"]
    plan = method.plan(None)
    assert plan.removed >= TARGET.removed
    cut(speech.model, groups, plan)
    assert {g.key: g.count for g in speech.groups()} == {k: len(u) for k, u in plan.keep.items()}


def test_the_loss_of_a_batch_is_that_of_its_clips(folder: Path, speech: SpeechModel) -> None:
    family, batch = speech.family, one_batch(folder, speech)
    targets = family.targets(
        speech.model, speech.tokens, batch.texts, batch.keys, batch.seconds, "hi"
    )
    with torch.no_grad():
        states = family.encode(speech.model, batch.features)
        outputs = family.outputs(speech.model, states, targets)
        total = 0.0
        for text, seconds, row in zip(batch.texts, batch.seconds, states, strict=True):
            logits = speech.model.get_submodule("head")(row)[: positions(seconds)]
            ids = torch.tensor(speech.tokens.encode(text))
            total += float(
                F.ctc_loss(logits.log_softmax(-1), ids, (len(logits),), (len(ids),), BLANK, "sum")
            )
    letters = sum(map(len, batch.texts))
    assert float(outputs.cross_entropy) == pytest.approx(total / letters, rel=1e-5)
    assert len(outputs.targets) == letters
    assert outputs.logits.shape == (sum(map(positions, batch.seconds)), len(VOCABULARY))


def test_it_learns_from_a_teacher_layer_by_layer(folder: Path, tmp_path: Path) -> None:
    """The more its hidden states count, the nearer the student is to them in the end."""
    ends = []
    for weight in (0.01, 1.0):
        teacher, student = (load_model(str(folder / "model")) for _ in range(2))
        cut(student.model, student.groups(), drop_some(student))
        lessons = Teacher(teacher, student, DistillOptions(hidden_weight=weight))
        method = build("none", PlainOptions(), TARGET)
        losses = trained(folder, tmp_path / str(weight), student, method, lessons)
        assert set(losses[0]) == {"cross_entropy", "distillation", "hidden_encoder"}
        ends.append(losses[-1]["hidden_encoder"] / weight)
    assert ends[1] < ends[0] / 2


def test_masked_equals_cut(folder: Path) -> None:
    whole = load_model(str(folder / "model"))
    checked_cut(whole, drop_some(whole), one_batch(folder, whole))


def test_it_is_evaluated_and_heard_by_the_torch_engine(
    folder: Path, tmp_path: Path, speech: SpeechModel
) -> None:
    trained(folder, tmp_path, speech, build("none", PlainOptions(), TARGET))
    items = load_items(str(folder / "corpus"))
    result = evaluate(
        speech, items, data="toy", language="hi", policy=WindowPolicy(),
        cache_folder=folder / "cache",
    )  # fmt: skip
    assert result.n == 8 and np.isfinite(result.loss) and not result.left_out_of_loss
    assert result.decoding == "greedy CTC"
    engine = TorchTranscriber(speech, WindowPolicy())
    heard = [engine.transcribe(AudioCache(folder / "cache").load(item)) for item in items]
    assert [each.text for each in heard] == list(result.hypotheses)
    assert any(each.text for each in heard), "silence would prove nothing"


def test_it_is_saved_and_reloaded_exactly(folder: Path, tmp_path: Path) -> None:
    whole, smaller, plan = cut_copy(folder)
    record = describe_cut("toy", whole.groups(), count_parameters(whole.model), plan, "hi")
    save_slim(tmp_path / "slim", smaller.model, record, side_files=whole.path)
    again = load_model(str(tmp_path / "slim"))
    assert same(weights(again), weights(smaller))
    samples = one_batch(folder, whole).features
    with torch.no_grad():
        states = [each.family.encode(each.model, samples) for each in (smaller, again)]
    assert torch.equal(*states)


def test_its_operations_by_hand(folder: Path, tmp_path: Path) -> None:
    whole, smaller, plan = cut_copy(folder)
    record = describe_cut("toy", whole.groups(), count_parameters(whole.model), plan, "hi")
    save_slim(tmp_path / "slim", smaller.model, record, side_files=whole.path)
    work = Workload("1 s", 100, 5)
    report = cost_of(tmp_path / "slim", workloads=(work,))
    steps = 16_000 // STRIDE
    sound, head = 2 * steps * 2 * STRIDE * WIDTH, 2 * steps * WIDTH * len(VOCABULARY)
    unit = 2 * steps * 2 * WIDTH
    left = sum(len(units) for units in plan.keep.values())
    (cost,) = report.workloads
    assert cost.flops_dense == sound + head + LAYERS * INNER * unit
    assert cost.flops == sound + head + left * unit
    rows = {row.key: row for row in report.rows}
    assert (rows["encoder.head"].flops, rows["encoder.convolutions"].flops) == (head, sound)
    assert rows["encoder.head"].units == len(VOCABULARY)
    assert report.removed == (LAYERS * INNER - left) * (2 * WIDTH + 1)
    assert unit_costs(whole.model, whole.groups(), "flops", workload=work) == {
        group.key: unit for group in whole.groups()
    }


def test_no_more_is_heard_at_once_than_it_says(
    folder: Path, tmp_path: Path, speech: SpeechModel
) -> None:
    """It hears 20 s: long recordings are cut for it, and longer clips are no data for it."""
    tone = 0.3 * np.sin(np.arange(50 * 16_000, dtype=np.float32) / 8)
    for kind in ("fit", "30s"):
        features = TorchTranscriber(speech, WindowPolicy(kind)).features_for(tone)
        assert features.segments[-1].end == len(tone)
        lengths = {len(given) for given in features.inputs if given is not None}
        assert len(features.inputs) >= 3 and max(lengths) <= HEARD_SECONDS * 16_000
    soundfile.write(tmp_path / "long.wav", tone[: 25 * 16_000], 16_000)
    soundfile.write(tmp_path / "short.wav", tone[: 19 * 16_000], 16_000)
    manifest = tmp_path / "set.tsv"
    manifest.write_text("path\ttext\nlong.wav\tदिन\nshort.wav\tदिन\n", "utf-8")
    with pytest.raises(DataError, match=r"1 of 2 clips cannot be used(.|\n)*at most 20 s"):
        evaluate_model(str(folder / "model"), str(manifest), cache_folder=tmp_path / "cache")
    found = evaluate_model(
        str(folder / "model"), str(manifest), cache_folder=tmp_path / "cache", skip_problems=True
    )
    assert found.result.n == 1 and list(found.skipped)


def test_its_seconds_are_measured(speech: SpeechModel) -> None:
    costs = unit_costs(
        speech.model, speech.groups(), "latency", workload=Workload("1 s", 100, 5), repeats=1
    )
    assert costs.keys() == {group.key for group in speech.groups()} and min(costs.values()) > 0


def test_copies_that_are_timed_write_equally_much(speech: SpeechModel) -> None:
    constant = speech.family.with_constant_output(speech.model, speech.tokens)
    tone = 0.3 * np.sin(np.arange(16_000, dtype=np.float32) / 8)
    heard = TorchTranscriber(replace(speech, model=constant), WindowPolicy()).transcribe(tone)
    assert heard.tokens == 1


def test_a_whole_run_goes_through(folder: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        tmp_path, model=str(folder / "model"), vocabulary={"languages": []},
        method={"name": "sgl", "lambda_group_encoder": 5.0},
        recover={"steps": 2, "evaluate_every": 0},
    )  # fmt: skip
    run = RunDir.create(tmp_path / "runs", from_mapping(recipe))
    work(run, lambda event: None)
    assert run.stage_done("shrink") and run.stage_done("recover") and run.stage_done("evaluate")
    slim = load_model(str(run.path))
    assert sum(group.count for group in slim.groups()) < LAYERS * INNER
    record = json.loads(run.eval_path("slim").read_text("utf-8"))
    assert {each["decoding"] for each in record["sets"].values()} == {"greedy CTC"}


def test_an_export_has_what_it_states_and_no_decoder_s_rules(
    folder: Path, tmp_path: Path, speech: SpeechModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERSLIM_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(parity, "run_child", lambda exchange, timeout: parity_child.main(exchange))
    trained(folder, tmp_path, speech, build("none", PlainOptions(), TARGET))
    groups, whole = speech.groups(), count_parameters(speech.model)
    record = describe_cut("toy", groups, whole, keep_everything(groups), "hi")
    save_slim(tmp_path / "slim", speech.model, record, side_files=speech.path)
    out, data = tmp_path / "out", str(folder / "corpus")
    clip = AudioCache(folder / "cache").load(load_items(data)[0])
    registry.register(toy.SPEC)
    try:
        slim = load_model(str(tmp_path / "slim"))
        export(slim, "toy", "none", out, [clip], "hi", WindowPolicy())
        found = read_export(out)
        assert (found.model_type, found.tokenizer) == ("toy_ctc", "vocab.json")
        assert found.input_spec == speech.input_spec and found.family == {"blank": BLANK}
        with pytest.raises(ExportError, match="no rules for a decoder"):
            decoder_rules(found)
        scored = [
            evaluate_model(str(model), data, cache_folder=folder / "cache").result
            for model in (out, tmp_path / "slim")
        ]
        assert [each.decoding for each in scored] == ["greedy CTC"] * 2
        assert scored[0].hypotheses == scored[1].hypotheses and any(scored[0].hypotheses)
        (out / "vocab.json").write_text("{}", "utf-8")
        with pytest.raises(ExportError, match=r"vocab\.json is not the tokenizer"):
            open_transcriber(str(out), WindowPolicy())
    finally:
        registry.unregister("toy")


def test_what_is_of_whisper_alone_is_refused(speech: SpeechModel, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"toy_ctc.*no engine yet"):
        export(speech, "onnx", "none", tmp_path / "out", [], "hi", WindowPolicy())
    with pytest.raises(UsageError, match=r"`vocabulary.languages` empty"):
        vocabulary_for(speech, ["hi"])
