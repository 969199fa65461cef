"""wav2vec 2.0, HuBERT and Conformers: tiny random models, heard, trained, cut, saved, priced."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2FeatureExtractor

from tests.support.models.graphs import check_export, check_graph
from tests.support.models.low_rank import open_on, plan_by_variance
from tests.support.models.tiny_ctc import (
    FFN,
    FIELD,
    HEADS,
    KERNEL,
    KINDS,
    LAYERS,
    STRIDE,
    D,
    one_batch,
    samples_folder,
)
from tests.support.surgery import checked_cut, reloaded
from tests.support.tiny import tiny_corpus
from tests.support.tiny_job import TARGET, build, drop_some, quick, same, steps_of, supply, weights
from tests.support.tiny_run import tiny_recipe
from whisperslim.core.cost.cost import cost_of
from whisperslim.core.cost.flops import Workload
from whisperslim.core.cost.unit_costs import unit_costs
from whisperslim.core.families.factors import factored
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.plan.plan import PruningPlan, keep_everything
from whisperslim.core.surgery.shrink import cut
from whisperslim.engines.export.export import export
from whisperslim.errors import CheckpointError, ExportError
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.stages.order import work
from whisperslim.methods.plain import PlainOptions
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.batching import Batch
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.train.calibration import CleanClips
from whisperslim.train.loop import Job, fit

every_kind = pytest.mark.parametrize("name", KINDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("samples")
    tiny_corpus(place / "corpus", clips=8)
    for name, kind in KINDS.items():
        samples_folder(place / name, kind, place / "corpus")
    return place


def encode(speech: SpeechModel, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return speech.family.encode(speech.model, batch.features)


@every_kind
def test_it_hears_as_transformers_does(folder: Path, name: str) -> None:
    """Its states are the stock model's, given what the stock processor makes of the clips."""
    speech, kind = load_model(str(folder / name)), KINDS[name]
    batch = one_batch(folder, speech)
    stock = kind.model.from_pretrained(folder / name).eval()
    uses_mask = kind.own.get("feat_extract_norm") == "layer"
    processor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=uses_mask)
    lengths = [int(row.nonzero().max()) + 1 for row in batch.features]
    clips = [row[:n].numpy() for row, n in zip(batch.features, lengths, strict=True)]
    given = processor(
        clips, sampling_rate=16_000, return_tensors="pt", padding="max_length",
        max_length=batch.features.shape[1],
    )  # fmt: skip
    with torch.no_grad():
        wanted = stock(**given).logits
        states = encode(speech, batch)
        found = speech.family.project(speech.model, states)
    timing = speech.family.timing(speech.model)
    for row, n in enumerate(lengths):
        # Behind a clip, what masks leave there has no meaning.
        heard = timing.positions(n / 16_000) if uses_mask else found.shape[1]
        difference = (found[row, :heard] - wanted[row, :heard]).abs().max()
        assert difference <= 2e-4 * wanted.abs().max()
    for seconds in (0.5, 0.60001, 1.0, 1.2345):
        samples = round(seconds * 16_000)
        assert timing.positions(samples / 16_000) == int(
            stock._get_feat_extract_output_lengths(torch.tensor(samples))
        )
    assert (timing.stride, timing.lead) == (STRIDE / 16_000, (FIELD - 1) / 16_000)


def ragged(speech: SpeechModel) -> PruningPlan:
    """Another number of units everywhere, and some sub-layers gone altogether."""
    plan = drop_some(speech)
    kinds = {key.rsplit(".", 1)[0] if key.endswith(("heads", "channels")) else key
             for key in plan.keep if key.startswith("encoder.1.")}  # fmt: skip
    gone = {key: () for key in plan.keep if key.startswith("encoder.1.")} if kinds else {}
    first = sorted(gone)[::2]
    return replace(plan, keep={**plan.keep, **{key: () for key in first}})


PLANS: dict[str, Callable[[SpeechModel], PruningPlan]] = {
    "some units": drop_some,
    "whole sub-layers": ragged,
    "a whole layer": lambda speech: replace(
        keep_everything(speech.groups()),
        keep={g.key: () if g.layer == 0 else tuple(range(g.count)) for g in speech.groups()},
    ),
}


@every_kind
@pytest.mark.parametrize("plan_of", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_masked_equals_cut_and_saved_equals_reloaded(
    folder: Path, tmp_path: Path, name: str, plan_of: Any, attention: str
) -> None:
    whole = load_model(str(folder / name))
    whole.model.set_attn_implementation(attention)
    plan, batch = plan_of(whole), one_batch(folder, whole)
    smaller = checked_cut(whole, plan, batch)
    found = encode(smaller, batch)
    assert not torch.allclose(found, encode(whole, batch), atol=1e-4)
    present = {g.key: g.count for g in smaller.groups()}
    assert present == {key: len(units) for key, units in plan.keep.items() if units}
    again = reloaded(whole, smaller, plan, tmp_path / "slim")
    assert torch.equal(encode(again, batch), found)


@every_kind
def test_it_learns_with_the_cut_model(folder: Path, tmp_path: Path, name: str) -> None:
    speech = load_model(str(folder / name))
    cut(speech.model, speech.groups(), drop_some(speech))
    family = speech.family
    family.freeze(speech.model, encoder=False, embeddings=True)
    family.set_dropout(speech.model, 0.0)
    torch.manual_seed(11)
    with supply(folder, speech.input_spec) as batches:
        job = Job(
            stage="tune", student=speech, method=build("none", PlainOptions(), TARGET),
            batches=batches, options=quick(steps=15, learning_rate=1e-2), checkpoints=tmp_path,
            language="hi",
        )  # fmt: skip
        losses = [step.losses["cross_entropy"] for step in steps_of(list(fit(job)))]
    assert losses[-1] < losses[0] and np.isfinite(losses).all()


@every_kind
def test_its_units_cost_what_they_own(folder: Path, name: str) -> None:
    speech = load_model(str(folder / name))
    conformer, relative = "conformer" in name, "relative" in name
    costs = {
        "heads": 4 * D * D // HEADS + relative * D * D // HEADS,
        "ffn": 2 * D,
        "channels": 3 * D + KERNEL,
    }
    groups = speech.groups()
    assert len(groups) == LAYERS * (4 if conformer else 2)
    assert {g.kind: g.weights_per_unit for g in groups} == {
        kind: cost for kind, cost in costs.items() if conformer or kind != "channels"
    }
    width = D // HEADS
    whole = {
        "heads": costs["heads"] + 3 * width + 2 * width * relative,
        "ffn": costs["ffn"] + 1,
        "channels": costs["channels"] + 2,
    }
    assert all(g.parameters_per_unit == whole[g.kind] for g in groups)
    work = Workload("1 s", 100, 5)
    report = cost_of(folder / name, workloads=(work,))
    positions = (16_000 - FIELD) // STRIDE + 1
    blocks = LAYERS * (2 if conformer else 1)
    ffn = sum(row.flops for row in report.rows if row.kind == "ffn")
    assert ffn == blocks * 2 * positions * 2 * D * FFN
    assert report.parameters == sum(row.parameters for row in report.rows)
    per_unit = unit_costs(speech.model, groups, "flops", workload=work)
    channel = [cost for key, cost in per_unit.items() if key.endswith("channels")]
    assert set(channel) <= {2 * positions * (3 * D + KERNEL)}


def test_names_of_older_files_are_known(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "wav2vec2 post-norm").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    old = {"parametrizations.weight.original0": "weight_g",
           "parametrizations.weight.original1": "weight_v"}  # fmt: skip
    for new, before in old.items():
        tensors = {name.replace(new, before): tensor for name, tensor in tensors.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    found = load_model(str(tmp_path))
    assert same(weights(found), weights(load_model(str(folder / "wav2vec2 post-norm"))))


@pytest.mark.parametrize("name", ["wav2vec2 post-norm", "conformer relative"])
def test_a_whole_run_goes_through(folder: Path, tmp_path: Path, name: str) -> None:
    recipe = tiny_recipe(tmp_path, model=str(folder / name), recover={"steps": 2})
    run = RunDir.create(tmp_path / "runs", from_mapping(recipe))
    work(run, lambda event: None)
    slim = load_model(str(run.path))
    assert sum(g.count for g in slim.groups()) < sum(
        g.count for g in load_model(str(folder / name)).groups()
    )


def test_what_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    wrong: dict[str, tuple[str, dict[str, Any]]] = {
        "models with adapters": ("config.json", {"add_adapter": True}),
        "pad_token_id, the blank, is None": ("config.json", {"pad_token_id": None}),
        "for the blank and the model 3": ("config.json", {"pad_token_id": 3}),
        "16000 samples a second are needed": ("preprocessor_config.json", {"sampling_rate": 8000}),
        "has no blank": ("tokenizer_config.json", {"pad_token": "[PAD]"}),
        "a vocabulary for each language": ("vocab.json", {"hin": {"a": 1}}),
    }
    for place, (words, (file, values)) in enumerate(wrong.items()):
        made = tmp_path / str(place)
        made.mkdir()
        for path in (folder / "wav2vec2 post-norm").iterdir():
            (made / path.name).write_bytes(path.read_bytes())
        found = json.loads((made / file).read_text("utf-8"))
        (made / file).write_text(json.dumps({**found, **values}), "utf-8")
        with pytest.raises(CheckpointError, match=words):
            load_model(str(made))
    speech = load_model(str(folder / "conformer relative"))
    with pytest.raises(ExportError, match="which can be written for: onnx, hf, sherpa"):
        export(speech, "ctranslate2", "none", tmp_path / "out", [], "hi", WindowPolicy())


@every_kind
def test_its_graph_scores_frames_as_it_does(folder: Path, tmp_path: Path, name: str) -> None:
    """Cut, with sub-layers that are gone."""
    speech = load_model(str(folder / name))
    cut(speech.model, speech.groups(), ragged(speech))
    check_graph(speech, tmp_path / "graph")


@pytest.mark.parametrize("name", ["wav2vec2 post-norm", "hubert pre-norm"])
def test_layers_of_two_matrices_are_cut_kept_and_scored(
    folder: Path, tmp_path: Path, name: str
) -> None:
    speech = load_model(str(folder / name))
    clips = CleanClips(speech, lambda: supply(folder, speech.input_spec), "hi")
    found = open_on(speech, clips)
    plan = plan_by_variance(speech.model, found, 0.5)
    smaller = checked_cut(speech, plan, supply(folder, speech.input_spec).draw())
    assert 0 < len(factored(smaller.model)) <= len(found) == 2 * 6
    check_graph(smaller, tmp_path / "graph")


def test_an_export_has_its_texts(folder: Path, tmp_path: Path) -> None:
    speech = load_model(str(folder / "wav2vec2 pre-norm"))
    check_export(speech, tmp_path / "out", load_items(str(folder / "corpus")), folder / "cache")
