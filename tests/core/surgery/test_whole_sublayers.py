"""Whole sub-layers and layers that go: masked against cut, on disk, in cost and in plans."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.surgery import checked_cut, cut_copy, demo_batch
from tests.support.tiny import D_MODEL, FFN, HEADS
from tests.support.tiny_job import Workshop, logits, one_batch, plain, run, slimmed
from whisperslim.core.cost.cost import cost_of
from whisperslim.core.families.base import UnitGroup
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.plan.plan import PruningPlan, keep_everything, plan_to_budget, reachable
from whisperslim.core.store.checkpoint import count_parameters, describe_cut, load_slim, save_slim
from whisperslim.core.surgery.gates import attach_output_gates
from whisperslim.core.surgery.shrink import cut
from whisperslim.errors import PlanError

# What goes, and the elements that go with it beside the units: a norm and an output bias each.
CASES = {
    "encoder attention": ("encoder.0.self_attn.heads",),
    "encoder ffn": ("encoder.1.ffn",),
    "the decoder's first self-attention": ("decoder.0.self_attn.heads",),
    "the decoder's last self-attention": ("decoder.1.self_attn.heads",),
    "encoder attention of the decoder": ("decoder.0.encoder_attn.heads",),
    "a whole encoder layer": ("encoder.0.self_attn.heads", "encoder.0.ffn"),
    "the first decoder layer": (
        "decoder.0.self_attn.heads",
        "decoder.0.encoder_attn.heads",
        "decoder.0.ffn",
    ),
    "several": ("encoder.1.ffn", "decoder.0.self_attn.heads", "decoder.1.encoder_attn.heads"),
}
every_case = pytest.mark.parametrize("gone", CASES.values(), ids=CASES)


def without(speech: SpeechModel, gone: tuple[str, ...]) -> PruningPlan:
    plan = keep_everything(speech.groups())
    return replace(plan, keep={**plan.keep, **dict.fromkeys(gone, ())})


@every_case
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_masked_equals_cut(shop: Workshop, gone: tuple[str, ...], attention: str) -> None:
    speech, batch = shop.student(), one_batch(shop)
    speech.model.set_attn_implementation(attention)
    # Texts too: token by token, positions are read off a cache that a dropped layer must not hold.
    smaller = checked_cut(speech, without(speech, gone), batch, within=1e-6)
    assert (logits(smaller, batch) - logits(speech, batch)).abs().max() > 1e-2


@every_case
def test_cached_decoding_equals_one_pass(shop: Workshop, gone: tuple[str, ...]) -> None:
    speech, batch = shop.student(), one_batch(shop)
    smaller = cut_copy(speech, without(speech, gone))
    states = smaller.family.encode(smaller.model, batch.features)
    ids = torch.randint(0, 200, (len(states), 9), generator=torch.Generator().manual_seed(1))
    decoder = smaller.model.model.decoder
    with torch.no_grad():
        whole = decoder(input_ids=ids, encoder_hidden_states=states, use_cache=False)
        first = decoder(input_ids=ids[:, :4], encoder_hidden_states=states, use_cache=True)
        rest = decoder(
            input_ids=ids[:, 4:],
            encoder_hidden_states=states,
            past_key_values=first.past_key_values,
            use_cache=True,
        )
    wanted = whole.last_hidden_state[:, 4:]
    assert (wanted - rest.last_hidden_state).abs().max() < 1e-5


@every_case
def test_what_went_is_counted_and_comes_back_the_same(
    shop: Workshop, gone: tuple[str, ...], tmp_path: Path
) -> None:
    speech, batch = shop.student(), one_batch(shop)
    groups, dense = speech.groups(), count_parameters(speech.model)
    plan = without(speech, gone)
    smaller = cut_copy(speech, plan)
    attention = 4 * D_MODEL**2 + 3 * D_MODEL  # q, k, v, out; q, v and out have biases
    feed_forward = 2 * D_MODEL * FFN + FFN + D_MODEL
    norm = 2 * D_MODEL
    by_hand = sum(norm + (attention if "attn" in key else feed_forward) for key in gone)
    assert count_parameters(smaller.model) == dense - by_hand
    assert {g.key for g in smaller.groups()} == {g.key for g in groups} - set(gone)

    record = describe_cut("tiny", groups, dense, plan, "hi")
    save_slim(tmp_path / "slim", smaller.model, record, side_files=shop.model)
    again = replace(smaller, model=load_slim(tmp_path / "slim"))
    assert torch.equal(logits(again, batch), logits(smaller, batch))
    report = cost_of(tmp_path / "slim")
    assert report.removed == by_hand
    assert sum(row.parameters for row in report.rows) == report.parameters == dense - by_hand
    assert report.dense_bytes - report.bytes_on_disk >= 4 * by_hand - 8192  # but for the header
    assert report.workloads[0].flops < report.workloads[0].flops_dense


def test_what_is_left_can_be_trained(shop: Workshop, tmp_path: Path) -> None:
    speech = shop.student()
    smaller = cut_copy(speech, without(speech, CASES["several"]))
    before = {name: p.detach().clone() for name, p in smaller.model.named_parameters()}
    run(shop.job(tmp_path, plain(), student=smaller, steps=2, dropout=0.1))
    moved = [n for n, p in smaller.model.named_parameters() if not torch.equal(p, before[n])]
    assert moved and len(before) < len(dict(speech.model.named_parameters()))


def test_a_place_must_stay_somewhere(shop: Workshop) -> None:
    speech = shop.student()
    plan = without(speech, ("decoder.0.self_attn.heads", "decoder.1.self_attn.heads"))
    with pytest.raises(PlanError, match=r"no unit of decoder\.self_attn\.heads in any layer"):
        cut(speech.model, speech.groups(), plan)


@pytest.mark.real
def test_masked_equals_cut_on_whisper_base() -> None:
    """Without two blocks, one whole decoder layer and the first one's self-attention."""
    speech = load_model("openai/whisper-base")
    whole_layer = [g.key for g in speech.groups() if (g.stack, g.layer) == ("decoder", 3)]
    plan = without(
        speech,
        ("encoder.2.self_attn.heads", "encoder.4.ffn", "decoder.0.self_attn.heads", *whole_layer),
    )
    checked_cut(speech, plan, demo_batch(), within=1e-4)


def test_output_gates_scale_what_a_sublayer_adds(shop: Workshop) -> None:
    speech, batch = shop.student(), one_batch(shop)
    group = next(g for g in speech.groups() if g.key == "encoder.1.ffn")
    half = replace(speech, model=deepcopy(speech.model))
    fc2 = half.model.model.encoder.layers[1].fc2
    fc2.weight.data.mul_(0.5)
    fc2.bias.data.mul_(0.5)
    handles = attach_output_gates(speech.model, [group], lambda g, x: x.new_tensor(0.5))
    assert (logits(speech, batch) - logits(half, batch)).abs().max() < 1e-5
    for handle in handles:
        handle.remove()
    assert (logits(speech, batch) - logits(half, batch)).abs().max() > 1e-3


def layered(stack: str, layer: int, place: str, count: int, size: int) -> UnitGroup:
    key = f"{stack}.{layer}.{place}"
    return UnitGroup(key, "ffn", stack, count, 1, size, size + 1, layer)


TWO_LAYERS = (layered("encoder", 0, "ffn", 4, 10), layered("encoder", 1, "ffn", 4, 10))


def test_whole_lets_the_last_unit_of_a_group_go_but_not_of_a_place() -> None:
    scores = {"encoder.0.ffn": torch.arange(4.0), "encoder.1.ffn": torch.arange(10.0, 14.0)}
    assert reachable(TWO_LAYERS) == pytest.approx(6 / 8)
    assert reachable(TWO_LAYERS, whole=True) == pytest.approx(7 / 8)
    plan = plan_to_budget(scores, TWO_LAYERS, 0.5, whole=True)
    assert plan.keep == {"encoder.0.ffn": (), "encoder.1.ffn": (0, 1, 2, 3)}
    assert plan_to_budget(scores, TWO_LAYERS, 0.5).keep["encoder.0.ffn"] == (3,)
    smallest = plan_to_budget(scores, TWO_LAYERS, 7 / 8, whole=True)
    assert smallest.keep == {"encoder.0.ffn": (), "encoder.1.ffn": (3,)}
    with pytest.raises(PlanError, match=r"0 to 0\.8750"):
        plan_to_budget(scores, TWO_LAYERS, 0.9, whole=True)


def test_costs_are_the_currency_of_the_target() -> None:
    scores = {"encoder.0.ffn": torch.arange(4.0), "encoder.1.ffn": torch.arange(10.0, 14.0)}
    costly = {"encoder.0.ffn": 3.0, "encoder.1.ffn": 1.0}  # 16 in all
    plan = plan_to_budget(scores, TWO_LAYERS, 0.375, costs=costly)  # 6: two of the first layer
    assert plan.keep["encoder.0.ffn"] == (2, 3)
    assert plan.removed == pytest.approx(2 / 8), "shares are given in weights all the same"
    for wrong in ({"encoder.0.ffn": 1.0}, {"encoder.0.ffn": 0.0, "encoder.1.ffn": 1.0}):
        with pytest.raises(PlanError, match="cost of a unit"):
            plan_to_budget(scores, TWO_LAYERS, 0.3, costs=wrong)


def test_places_join_the_layers(shop: Workshop) -> None:
    places = {group.place for group in shop.student().groups()}
    assert places == {
        "encoder.self_attn.heads",
        "encoder.ffn",
        "decoder.self_attn.heads",
        "decoder.encoder_attn.heads",
        "decoder.ffn",
    }
    assert all(g.count == (HEADS if g.kind == "heads" else FFN) for g in shop.student().groups())
    assert slimmed(shop)[0].groups()[-1].layer == 1
