"""Every method on models without a decoder: Whisper's encoder with a CTC head, Conformers."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.methods.method_rows import ROWS, Row
from tests.support.models.low_rank import open_on
from tests.support.models.tiny_ctc import KINDS, headed_folder, parakeet_folder, samples_folder
from tests.support.surgery import checked_cut
from tests.support.tiny import tiny_corpus
from tests.support.tiny_job import build, quick, steps_of
from whisperslim.core.families import total_price
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.surgery.low_rank import watching
from whisperslim.errors import PlanError
from whisperslim.methods.base import Target
from whisperslim.methods.layer_drop.options import LayerDropOptions
from whisperslim.speech.audio.augment import AugmentOptions
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.batching import Batch
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.train.batches import BatchSource
from whisperslim.train.calibration import CleanClips
from whisperslim.train.loop import Job, fit

FLAVOURS = ("whisper_ctc", "conformer", "parakeet")
# There is no decoder to keep layers of; of two encoder layers one goes.
LAYER_DROP = replace(
    next(row for row in ROWS if row.name == "layer_drop"),
    gentle=LayerDropOptions(keep_encoder_layers=1, keep_decoder_layers=0),
    target=Target(removed=0.4, zeroed=0.0),
)


def rows() -> Iterator[Row]:
    """Those of the contract; prices in them are of places that other models have not."""
    yield LAYER_DROP
    yield from (row for row in ROWS if row.name != "layer_drop" and row.prices is None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("flavours")
    tiny_corpus(place / "corpus", clips=8)
    headed_folder(place / "whisper_ctc", place / "corpus")
    samples_folder(place / "conformer", KINDS["conformer relative"], place / "corpus")
    parakeet_folder(place / "parakeet", place / "corpus")
    return place


def batches(folder: Path, speech: SpeechModel) -> BatchSource:
    return BatchSource(
        load_items(str(folder / "corpus")), folder / "cache", WindowPolicy(), batch_size=4,
        augment=AugmentOptions(), seed=7, input_spec=speech.input_spec,
    )  # fmt: skip


def states(speech: SpeechModel, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return speech.family.encode(speech.model, batch.features)


@pytest.mark.parametrize("row", tuple(rows()), ids=lambda row: f"{row.name} {row.label}".strip())
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_method_trains_plans_and_cuts_it(
    folder: Path, tmp_path: Path, row: Row, flavour: str
) -> None:
    speech = load_model(str(folder / flavour))
    speech.family.set_dropout(speech.model, 0.0)
    speech.family.freeze(speech.model, encoder=False, embeddings=True)
    if row.opened:
        if flavour != "whisper_ctc":
            with pytest.raises(PlanError, match="are not opened into components"):
                watching(speech.model)
            return
        open_on(speech, CleanClips(speech, lambda: batches(folder, speech), "hi"))
    method = build(row.name, row.gentle, row.target)
    with batches(folder, speech) as supply:
        batch = supply.draw()
        before = states(speech, batch)
        method.attach(speech.model, speech.groups(), 10)
        assert torch.equal(states(speech, batch), before), "attaching changes nothing"
        method.detach()
        torch.manual_seed(11)
        job = Job(
            stage="tune", student=speech, method=method, batches=supply,
            options=quick(steps=10), checkpoints=tmp_path, language="hi",
        )  # fmt: skip
        losses = [step.losses for step in steps_of(list(fit(job)))]
    assert all(np.isfinite(list(each.values())).all() for each in losses)
    groups = speech.groups()
    plan = method.plan(None)
    if row.prunes:
        left = sum(g.weights(plan.keep[g.key]) * g.unit_price / g.weights_per_unit for g in groups)
        assert 1 - left / total_price(groups) >= row.target.removed * (1 - 1e-9)
        assert {key: len(score) for key, score in method.scores().items()} == {
            group.key: group.count for group in groups
        }
    checked_cut(speech, plan, batch)
