"""Training at every depth: what is trained is what a cut leaves, and which layers go."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.models.tiny_ctc import KINDS, LAYERS, samples_folder
from tests.support.tiny import tiny_corpus
from tests.support.tiny_job import supply
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.plan.plan import keep_everything
from whisperslim.core.surgery.shrink import cut
from whisperslim.errors import PlanError
from whisperslim.methods.any_depth.method import AnyDepth
from whisperslim.methods.any_depth.options import AnyDepthOptions
from whisperslim.methods.base import Target


@pytest.fixture(scope="module", params=["wav2vec2 pre-norm", "conformer relative"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("depth")
    tiny_corpus(place / "corpus", clips=4)
    samples_folder(place / "model", KINDS[request.param], place / "corpus")
    return place


def attached(
    speech: SpeechModel, removed: float = 0.4, zeroed: float = 0.0, **options: float
) -> AnyDepth:
    chosen = AnyDepthOptions(**{"fewest": 1, "whole_share": 0.0, **options})  # type: ignore[arg-type]
    method = AnyDepth(chosen, Target(removed, zeroed))
    method.attach(speech.model, speech.groups(), 10)
    return method


def test_a_step_trains_what_a_cut_of_the_upper_layers_leaves(folder: Path) -> None:
    """With two layers, one always there and no step at full depth, each step has one layer."""
    assert LAYERS == 2
    speech, smaller = (load_model(str(folder / "model")) for _ in range(2))
    for each in (speech, smaller):
        each.family.set_dropout(each.model, 0.0)
    gone = {group.key: () for group in smaller.groups() if group.layer == 1}
    whole = keep_everything(smaller.groups())
    cut(smaller.model, smaller.groups(), replace(whole, keep={**whole.keep, **gone}))
    method = attached(speech)
    with supply(folder, speech.input_spec) as batches:
        sound = batches.draw().features
    with torch.no_grad():
        full = speech.family.encode(speech.model, sound)
        for each in (speech, smaller):
            # Statistics of norms stay those of use: only the method is to make a difference.
            each.model.train()
            for module in each.model.modules():
                if isinstance(module, torch.nn.BatchNorm1d):
                    module.eval()
        found, wanted = (each.family.encode(each.model, sound) for each in (speech, smaller))
        assert torch.allclose(found, wanted, atol=1e-6)
        assert not torch.allclose(found, full, atol=1e-3)
        speech.model.eval()
        assert torch.equal(speech.family.encode(speech.model, sound), full), "in use it is whole"
    method.detach()


def test_depths_are_drawn_by_seed_and_step_alone(folder: Path) -> None:
    speech = load_model(str(folder / "model"))

    def drawn(**options: float) -> list[int]:
        method, found = attached(speech, **options), []
        for step in range(1, 41):
            found.append(method._depth)
            method.after_step(0.0, step)
        method.detach()
        return found

    some = drawn(whole_share=0.5)
    assert set(some) == {1, 2} and 8 < some.count(2) < 32
    assert some == drawn(whole_share=0.5) != drawn(whole_share=0.5, seed=1)
    assert set(drawn(whole_share=1.0)) == {2} and set(drawn(fewest=2, removed=0.0)) == {2}
    first = attached(speech, whole_share=0.5)
    for step in range(1, 8):
        first.after_step(0.0, step)
    again = attached(speech, whole_share=0.5)
    again.load_state_dict(first.state_dict())
    assert (again._step, again._depth) == (7, some[7])
    for method in (first, again):
        method.detach()


def test_the_plan_takes_whole_layers_from_above(folder: Path) -> None:
    speech = load_model(str(folder / "model"))
    method = attached(speech, removed=0.4, zeroed=0.1)
    plan = method.plan(None)
    kept = {group.key: len(plan.keep[group.key]) for group in speech.groups()}
    assert all(kept[g.key] == (g.count if g.layer == 0 else 0) for g in speech.groups())
    assert plan.removed == pytest.approx(0.5) and plan.zero
    method.detach()
    with pytest.raises(PlanError, match=r"but 1 it is 0\.5000 of the model's"):
        attached(speech, removed=0.6)
