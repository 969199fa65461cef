"""Gates act on activations, leave the model alone, and see each clip's own gradient."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from tests.support.tiny_job import (
    Workshop,
    cross_entropy,
    drop_some,
    logits,
    one_batch,
)
from whisperslim.core.families import UnitSite
from whisperslim.core.plan.plan import keep_everything
from whisperslim.core.surgery.gates import attach_gates, masked, plan_masks
from whisperslim.methods.shared.importance import FisherGates
from whisperslim.speech.corpus.batching import Batch


@pytest.fixture(scope="module")
def batch(shop: Workshop) -> Batch:
    return one_batch(shop)


def alone(batch: Batch, index: int) -> Batch:
    rows = slice(index, index + 1)
    return Batch(batch.features[rows], batch.texts[rows], batch.keys[rows], batch.seconds[rows])


def test_a_mask_of_everything_changes_no_bit(shop: Workshop, batch: Batch) -> None:
    speech = shop.student()
    before = logits(speech, batch)
    with masked(speech.model, speech.groups(), keep_everything(speech.groups())):
        assert torch.equal(logits(speech, batch), before)


def test_a_mask_goes_when_the_block_ends_even_badly(shop: Workshop, batch: Batch) -> None:
    speech = shop.student()
    before = logits(speech, batch)
    plan = drop_some(speech)
    with pytest.raises(KeyError), masked(speech.model, speech.groups(), plan):
        assert not torch.allclose(logits(speech, batch), before)
        raise KeyError
    assert torch.equal(logits(speech, batch), before)


def test_masks_are_ones_where_units_stay(shop: Workshop) -> None:
    speech = shop.student()
    plan = drop_some(speech)
    for key, mask in plan_masks(speech.groups(), plan).items():
        assert tuple(mask.nonzero().flatten().tolist()) == plan.keep[key]
        assert set(mask.unique().tolist()) <= {0.0, 1.0}


def test_a_mask_equals_weights_zeroed_by_hand(shop: Workshop, batch: Batch) -> None:
    """Independent of any cutting: the columns that read a dropped unit are set to zero."""
    speech, by_hand = shop.student(), shop.student()
    plan = drop_some(speech)
    for group in by_hand.groups():
        reader = by_hand.model.get_submodule(group.gate).weight.data
        for unit in set(range(group.count)) - set(plan.keep[group.key]):
            reader[:, unit * group.width : (unit + 1) * group.width] = 0.0
    with masked(speech.model, speech.groups(), plan):
        assert torch.equal(logits(speech, batch), logits(by_hand, batch))


def test_a_gate_scales_its_own_unit_only(shop: Workshop) -> None:
    speech = shop.student()
    group = next(g for g in speech.groups() if g.kind == "heads")
    gate = torch.tensor([1.0, 0.5, 2.0, 0.0])
    seen: list[torch.Tensor] = []
    module = speech.model.get_submodule(group.gate)
    attach_gates(speech.model, [group], lambda g, x: gate)
    module.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    activation = torch.randn(2, 5, group.count * group.width)
    module(activation)
    expected = activation.view(2, 5, group.count, group.width) * gate[:, None]
    assert torch.equal(seen[0].view_as(expected), expected)


def fisher_by_hand(
    shop: Workshop, batch: Batch, groups: Sequence[UnitSite]
) -> dict[str, torch.Tensor]:
    """One clip at a time, one gate vector for the clip: the mean of the squared gradients.

    A batch's loss is the mean over all its tokens, so a clip counts with its own mean loss times
    its tokens, against those of a clip on average.
    """
    speech = shop.student()
    counts = [len(speech.tokens.encode(text)) + 1 for text in batch.texts]
    usual = sum(counts) / len(counts)
    total = {g.key: torch.zeros(g.count) for g in groups}
    for index, count in enumerate(counts):
        gates = {g.key: torch.ones(g.count, requires_grad=True) for g in groups}
        handles = attach_gates(speech.model, groups, lambda g, x, gates=gates: gates[g.key])
        (cross_entropy(speech, alone(batch, index)) * count / usual).backward()
        for handle in handles:
            handle.remove()
        for key, gate in gates.items():
            total[key] += gate.grad.square() / len(counts)
    return total


def test_importance_is_the_mean_of_squared_gradients_clip_by_clip(
    shop: Workshop, batch: Batch
) -> None:
    speech = shop.student()
    groups, fisher = speech.groups(), FisherGates(decay=0.9)
    fisher.attach(speech.model, groups)
    fisher.active = True
    cross_entropy(speech, batch).backward()
    fisher.collect()
    fisher.detach()
    expected = fisher_by_hand(shop, batch, groups)
    for group in groups:
        torch.testing.assert_close(
            fisher.information[group.key], expected[group.key], rtol=1e-3, atol=1e-9
        )


@pytest.mark.parametrize(("decay", "keep"), [(0.25, 0.25), (0.75, 0.5)], ids=["decay", "mean"])
def test_importance_is_a_running_mean(shop: Workshop, decay: float, keep: float) -> None:
    speech, supply = shop.student(), shop.batches()
    groups = speech.groups()
    fisher = FisherGates(decay=decay)
    fisher.attach(speech.model, groups)
    fisher.active = True
    batches = [supply.draw(), supply.draw()]
    for batch in batches:
        cross_entropy(speech, batch).backward()
        fisher.collect()
    first, second = (fisher_by_hand(shop, batch, groups) for batch in batches)
    assert fisher.measured == 2
    for key, value in fisher.information.items():
        torch.testing.assert_close(
            value, keep * first[key] + (1 - keep) * second[key], rtol=1e-3, atol=1e-9
        )


def test_copies_of_a_clip_say_what_the_clip_says(shop: Workshop, batch: Batch) -> None:
    speech, one, found = shop.student(), alone(batch, 0), {}
    for copies in (1, 3):
        fisher = FisherGates()
        fisher.attach(speech.model, speech.groups())
        fisher.active = True
        several = Batch(
            one.features.repeat(copies, 1, 1),
            one.texts * copies,
            one.keys * copies,
            one.seconds * copies,
        )
        cross_entropy(speech, several).backward()
        fisher.collect()
        fisher.detach()
        found[copies] = fisher.information
    for key, value in found[1].items():
        torch.testing.assert_close(found[3][key], value, rtol=1e-3, atol=1e-9)


def test_nothing_is_measured_while_inactive_or_without_gradients(
    shop: Workshop, batch: Batch
) -> None:
    speech, fisher = shop.student(), FisherGates()
    fisher.attach(speech.model, speech.groups())
    cross_entropy(speech, batch).backward()
    fisher.active = True
    logits(speech, batch)
    fisher.collect()
    assert fisher.measured == 0 and not fisher.information


def test_measurements_outlive_detaching_and_storing(
    shop: Workshop, batch: Batch, tmp_path: Path
) -> None:
    speech, fisher = shop.student(), FisherGates()
    fisher.attach(speech.model, speech.groups())
    fisher.active = True
    cross_entropy(speech, batch).backward()
    fisher.collect()
    fisher.detach()
    torch.save(fisher.state_dict(), tmp_path / "state.pt")
    again = FisherGates()
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert again.measured == 1
    for key, value in fisher.information.items():
        assert torch.equal(again.information[key], value)
