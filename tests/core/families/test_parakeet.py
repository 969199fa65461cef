"""Parakeet: a tiny random FastConformer, heard, trained, cut, saved, priced."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ParakeetFeatureExtractor, ParakeetForCTC

from tests.support.models.graphs import check_export, check_graph
from tests.support.models.tiny_ctc import (
    BANDS,
    CHANNELS,
    FACTOR,
    FFN,
    HEADS,
    KERNEL,
    LAYERS,
    D,
    one_batch,
    parakeet_folder,
)
from tests.support.surgery import checked_cut, reloaded
from tests.support.tiny import tiny_corpus
from tests.support.tiny_job import TARGET, build, drop_some, quick, steps_of, supply
from tests.support.tiny_run import tiny_recipe
from whisperslim.core.cost.cost import cost_of
from whisperslim.core.cost.flops import Workload
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.plan.plan import PruningPlan, keep_everything
from whisperslim.core.surgery.shrink import cut
from whisperslim.errors import CheckpointError, UsageError
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.stages.order import work
from whisperslim.methods.plain import PlainOptions
from whisperslim.speech.corpus.batching import Batch
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.train.loop import Job, fit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("parakeet")
    tiny_corpus(place / "corpus", clips=8)
    parakeet_folder(place / "model", place / "corpus")
    return place


def encode(speech: SpeechModel, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return speech.family.encode(speech.model, batch.features)


def test_it_hears_as_transformers_does(folder: Path) -> None:
    """Its logits are the stock model's, given what the stock processor makes of the clips."""
    speech = load_model(str(folder / "model"))
    batch = one_batch(folder, speech)
    stock = ParakeetForCTC.from_pretrained(folder / "model").eval()
    processor = ParakeetFeatureExtractor.from_pretrained(folder / "model")
    lengths = [int(row.nonzero().max()) + 1 for row in batch.features]
    assert len(set(lengths)) > 1, "clips of several lengths: there is padding"
    clips = [row[:n].numpy() for row, n in zip(batch.features, lengths, strict=True)]
    given = processor(clips, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        wanted = stock(**given).logits
    found = speech.family.project(speech.model, encode(speech, batch))
    timing = speech.family.timing(speech.model)
    for row, n in enumerate(lengths):
        heard = timing.positions(n / 16_000)
        assert heard == -(-(n // 160) // FACTOR)
        mask = torch.ones(1, n // 160)
        assert heard == int(stock._get_output_attention_mask(mask).sum())
        difference = (found[row, :heard] - wanted[row, :heard]).abs().max()
        assert difference <= 2e-4 * wanted.abs().max()


def whole_sub_layers(speech: SpeechModel) -> PruningPlan:
    """Another number of units everywhere, and every second sub-layer of one layer gone."""
    plan = drop_some(speech)
    gone = sorted(key for key in plan.keep if key.startswith("encoder.1."))[::2]
    return replace(plan, keep={**plan.keep, **{key: () for key in gone}})


def whole_layer(speech: SpeechModel) -> PruningPlan:
    gone = {group.key: () for group in speech.groups() if group.layer == 0}
    plan = keep_everything(speech.groups())
    return replace(plan, keep={**plan.keep, **gone})


@pytest.mark.parametrize("plan_of", [drop_some, whole_sub_layers, whole_layer])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_masked_equals_cut_and_saved_equals_reloaded(
    folder: Path, tmp_path: Path, plan_of: Any, attention: str
) -> None:
    whole = load_model(str(folder / "model"))
    whole.model.set_attn_implementation(attention)
    plan, batch = plan_of(whole), one_batch(folder, whole)
    smaller = checked_cut(whole, plan, batch)
    found = encode(smaller, batch)
    assert not torch.allclose(found, encode(whole, batch), atol=1e-4)
    present = {g.key: g.count for g in smaller.groups()}
    assert present == {key: len(units) for key, units in plan.keep.items() if units}
    again = reloaded(whole, smaller, plan, tmp_path / "slim")
    assert torch.equal(encode(again, batch), found)


def test_every_layer_has_a_number_of_heads_of_its_own(folder: Path) -> None:
    speech = load_model(str(folder / "model"))
    plan = keep_everything(speech.groups())
    keep = {"encoder.0.self_attn.heads": (1, 3), "encoder.1.self_attn.heads": (0,)}
    cut(speech.model, speech.groups(), replace(plan, keep={**plan.keep, **keep}))
    encode(speech, one_batch(folder, speech))
    found = {g.key: g.count for g in speech.groups() if g.kind == "heads"}
    assert found == {key: len(units) for key, units in keep.items()}


def test_it_learns_with_the_cut_model(folder: Path, tmp_path: Path) -> None:
    speech = load_model(str(folder / "model"))
    cut(speech.model, speech.groups(), drop_some(speech))
    speech.family.freeze(speech.model, encoder=False, embeddings=True)
    speech.family.set_dropout(speech.model, 0.0)
    torch.manual_seed(11)
    with supply(folder, speech.input_spec) as batches:
        job = Job(
            stage="tune", student=speech, method=build("none", PlainOptions(), TARGET),
            batches=batches, options=quick(steps=15, learning_rate=1e-2), checkpoints=tmp_path,
            language="hi",
        )  # fmt: skip
        losses = [step.losses["cross_entropy"] for step in steps_of(list(fit(job)))]
    assert losses[-1] < losses[0] and np.isfinite(losses).all()


def test_its_units_cost_what_they_own(folder: Path) -> None:
    speech = load_model(str(folder / "model"))
    width = D // HEADS
    costs = {"heads": 5 * D * width, "ffn": 2 * D, "channels": 3 * D + KERNEL}
    # Three biases of a head's width, and its rows of the two biases of positions; one bias of an
    # FFN unit; of a channel two of the GLU, the filter's, and scale and shift of the norm.
    whole = {"heads": 5 * width, "ffn": 1, "channels": 2 + 1 + 2}
    groups = speech.groups()
    assert len(groups) == LAYERS * 4
    for group in groups:
        assert group.weights_per_unit == costs[group.kind]
        assert group.parameters_per_unit == costs[group.kind] + whole[group.kind]
    report = cost_of(folder / "model", workloads=(Workload("1 s", 100, 5),))
    positions = 100 // FACTOR
    ffn = sum(row.flops for row in report.rows if row.kind == "ffn")
    assert ffn == LAYERS * 2 * 2 * positions * 2 * D * FFN
    rows = {row.key: row for row in report.rows}
    assert rows["encoder.head"].units == len(speech.tokens.vocabulary())
    # 3 x 3 on one channel, then by channel 3 x 3 and across channels; then all bands that are left.
    first, second = 50 * BANDS // 2, 25 * BANDS // 4
    assert rows["encoder.convolutions"].flops == 2 * CHANNELS * (
        9 * first + 9 * second + CHANNELS * second + positions * (BANDS // FACTOR) * D
    )
    assert report.parameters == sum(row.parameters for row in report.rows)


def test_pieces_of_words_are_written_and_read(folder: Path) -> None:
    tokens = load_model(str(folder / "model")).tokens
    assert tokens.decode(tokens.encode("पानी")) == "पानी"
    assert tokens.decode(tokens.encode("xyz")) == "", "no piece has such a letter"
    tokens.check_language("hi")
    with pytest.raises(UsageError, match="spell no letter of Latin"):
        tokens.check_language("en")


def test_a_whole_run_goes_through(folder: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, model=str(folder / "model"), recover={"steps": 2})
    run = RunDir.create(tmp_path / "runs", from_mapping(recipe))
    work(run, lambda event: None)
    slim = load_model(str(run.path))
    assert sum(g.count for g in slim.groups()) < sum(
        g.count for g in load_model(str(folder / "model")).groups()
    )


def changed(folder: Path, place: Path, file: str, **values: object) -> str:
    """A copy of the model whose file says something else."""
    place.mkdir()
    for path in (folder / "model").iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    found = json.loads((place / file).read_text("utf-8"))
    (place / file).write_text(json.dumps(found | values), "utf-8")
    return str(place)


def test_what_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "model" / "config.json").read_text("utf-8"))

    def encoder(**values: object) -> dict[str, object]:
        return {"encoder_config": config["encoder_config"] | values}

    wrong: dict[str, tuple[str, dict[str, Any]]] = {
        "pad_token_id, the blank, is 9999": ("config.json", {"pad_token_id": 9999}),
        "is 5 in .*the tokenizer writes text": ("config.json", {"pad_token_id": 5}),
        "3 wide, of stride 2": ("config.json", encoder(subsampling_conv_stride=3)),
        "a power of 2 is needed": ("config.json", encoder(subsampling_factor=6)),
        "an odd number is needed": ("config.json", encoder(conv_kernel_size=4)),
        "num_mel_bins 100000": ("config.json", encoder(num_mel_bins=100_000)),
        "there is list where dict belongs": ("config.json", {"encoder_config": []}),
        "sampling_rate 8000 and the model needs": (
            "preprocessor_config.json", {"sampling_rate": 8000},
        ),
        "feature_size 80 and the model needs": ("preprocessor_config.json", {"feature_size": 80}),
    }  # fmt: skip
    for place, (words, (file, values)) in enumerate(wrong.items()):
        with pytest.raises(CheckpointError, match=words):
            load_model(changed(folder, tmp_path / str(place), file, **values))


def test_its_graph_scores_frames_as_it_does(folder: Path, tmp_path: Path) -> None:
    """Cut, with sub-layers that are gone."""
    speech = load_model(str(folder / "model"))
    cut(speech.model, speech.groups(), whole_sub_layers(speech))
    check_graph(speech, tmp_path / "graph")
    check_export(speech, tmp_path / "out", load_items(str(folder / "corpus")), folder / "cache")


@pytest.mark.parametrize(("precision", "error"), [("int8", 0.1), ("int4", 0.4)])
def test_its_graph_may_be_rounded(
    folder: Path, tmp_path: Path, precision: str, error: float
) -> None:
    """Weights of 8 and of 4 bits, where channels come in blocks of 32."""
    parakeet_folder(tmp_path / "wide", folder / "corpus", hidden_size=32, intermediate_size=64)
    speech = load_model(str(tmp_path / "wide"))
    check_graph(speech, tmp_path / "graph", precision, error)
