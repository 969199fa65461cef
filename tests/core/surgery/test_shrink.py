"""Cut against masked, and against weights selected by hand; what a cut refuses."""

from dataclasses import replace

import pytest
import torch

from tests.support.surgery import checked_cut, cut_copy, demo_batch
from tests.support.tiny import D_MODEL, END, FFN, HEADS, LAYERS, VOCABULARY
from tests.support.tiny_job import Workshop, drop_some, logits, one_batch, weights
from whisperslim.core.families import family_of
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.plan.plan import PruningPlan, ZeroRule, keep_everything
from whisperslim.core.store.checkpoint import count_parameters, empty_model
from whisperslim.core.surgery.gates import masked
from whisperslim.core.surgery.shrink import cut, resize, set_elements
from whisperslim.errors import PlanError, UsageError


def one_of_each(speech: SpeechModel) -> PruningPlan:
    """The smallest model there is."""
    return PruningPlan({g.key: (g.count // 2,) for g in speech.groups()})


def free_tokens(speech: SpeechModel, features: torch.Tensor) -> list[list[int]]:
    """Greedy tokens by transformers itself."""
    prompt = torch.tensor([speech.tokens.prompt("hi")] * len(features))
    speech.model.generation_config.suppress_tokens = list(range(END + 1, VOCABULARY))
    found = speech.model.generate(
        features, decoder_input_ids=prompt, do_sample=False, num_beams=1, max_new_tokens=20
    )
    return found.tolist()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("seed", [0, 1, None])
def test_masked_equals_cut(shop: Workshop, attention: str, seed: int | None) -> None:
    speech = shop.student()
    speech.model.set_attn_implementation(attention)
    plan = one_of_each(speech) if seed is None else drop_some(speech, seed=seed)
    batch = one_batch(shop)
    smaller = checked_cut(speech, plan, batch, within=1e-6)
    assert smaller.model.config._attn_implementation == attention
    lost = (logits(smaller, batch) - logits(speech, batch)).abs().max()
    assert lost > 1e-2, "the plan removed nothing that matters"
    long = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(5))
    with masked(speech.model, speech.groups(), plan):
        free = free_tokens(speech, long)
    assert free == free_tokens(smaller, long)


def test_masked_equals_cut_to_a_millionth_in_double_precision(shop: Workshop) -> None:
    """What is left in float32 is the order of sums: in float64 it shrinks a million times."""
    speech = shop.student()
    speech.model.double()
    batch = one_batch(shop)
    checked_cut(speech, drop_some(speech), replace(batch, features=batch.features.double()), 1e-13)


def test_a_cut_model_holds_the_chosen_weights(shop: Workshop) -> None:
    speech = shop.student()
    plan = drop_some(speech)
    smaller = cut_copy(speech, plan)
    layer, thin = speech.model.model.encoder.layers[1], smaller.model.model.encoder.layers[1]
    heads, units = plan.keep["encoder.1.self_attn.heads"], plan.keep["encoder.1.ffn"]
    head = D_MODEL // HEADS
    rows = [r for h in heads for r in range(h * head, (h + 1) * head)]
    assert torch.equal(thin.self_attn.q_proj.weight, layer.self_attn.q_proj.weight[rows])
    assert torch.equal(thin.self_attn.v_proj.bias, layer.self_attn.v_proj.bias[rows])
    assert torch.equal(thin.self_attn.out_proj.weight, layer.self_attn.out_proj.weight[:, rows])
    assert torch.equal(thin.self_attn.out_proj.bias, layer.self_attn.out_proj.bias)
    assert torch.equal(thin.fc1.weight, layer.fc1.weight[list(units)])
    assert torch.equal(thin.fc1.bias, layer.fc1.bias[list(units)])
    assert torch.equal(thin.fc2.weight, layer.fc2.weight[:, list(units)])
    assert (thin.fc1.out_features, thin.fc2.in_features) == (len(units), len(units))
    assert thin.self_attn.num_heads == len(heads) and thin.self_attn.head_dim == head


def test_the_groups_of_a_tiny_model_by_hand(shop: Workshop) -> None:
    groups = shop.student().groups()
    assert [g.key for g in groups][:3] == [
        "encoder.0.self_attn.heads", "encoder.0.ffn", "encoder.1.self_attn.heads",
    ]  # fmt: skip
    assert len(groups) == LAYERS * 2 + LAYERS * 3
    heads, ffn = groups[0], groups[1]
    assert (heads.count, heads.width, ffn.count, ffn.width) == (HEADS, 8, FFN, 1)
    assert heads.weights_per_unit == 4 * 8 * D_MODEL  # q, k, v rows and out columns
    assert heads.parameters_per_unit == 4 * 8 * D_MODEL + 2 * 8  # q and v have biases, k has none
    assert ffn.weights_per_unit == 2 * D_MODEL and ffn.parameters_per_unit == 2 * D_MODEL + 1


def test_a_cut_removes_exactly_what_the_groups_say(shop: Workshop) -> None:
    speech = shop.student()
    plan = drop_some(speech)
    expected = sum(
        (g.count - len(plan.keep[g.key])) * g.parameters_per_unit for g in speech.groups()
    )
    smaller = cut_copy(speech, plan)
    assert count_parameters(speech.model) - count_parameters(smaller.model) == expected
    counts = {g.key: g.count for g in smaller.groups()}
    assert counts == {key: len(units) for key, units in plan.keep.items()}


def test_prunable_weights_are_the_matrices_of_layers(shop: Workshop) -> None:
    speech = shop.student()
    found = speech.family.prunable_weights(speech.model)
    expected = {
        name
        for name, p in speech.model.named_parameters()
        if p.ndim == 2 and ".layers." in name and name.endswith(".weight")
    }
    assert set(found) == expected
    assert all(stack == name.split(".")[1] for name, stack in found.items())
    assert sum(speech.model.get_parameter(n).numel() for n in found) == sum(
        g.count * g.weights_per_unit for g in speech.groups()
    )


def test_cutting_twice_equals_cutting_once(shop: Workshop) -> None:
    speech = shop.student()
    first = PruningPlan({g.key: tuple(range(0, g.count, 2)) for g in speech.groups()})
    twice = cut_copy(speech, first)
    cut(twice.model, twice.groups(), PruningPlan({g.key: (1,) for g in twice.groups()}))
    once = cut_copy(speech, PruningPlan({g.key: (2,) for g in speech.groups()}))
    batch = one_batch(shop)
    assert torch.equal(logits(twice, batch), logits(once, batch))


def test_a_cut_model_still_trains_and_frozen_stays_frozen(shop: Workshop) -> None:
    speech = shop.student()
    speech.family.freeze(speech.model, encoder=True, embeddings=True)
    smaller = cut_copy(speech, drop_some(speech))
    frozen = {n for n, p in speech.model.named_parameters() if not p.requires_grad}
    assert {n for n, p in smaller.model.named_parameters() if not p.requires_grad} == frozen


def test_zeroing_keeps_every_shape_and_counts_nothing_as_removed(shop: Workshop) -> None:
    speech = shop.student()
    name = "model.decoder.layers.0.fc1.weight"
    before = speech.model.get_parameter(name).detach().clone()
    plan = replace(keep_everything(speech.groups()), zero={name: ZeroRule(0.05, 0.1)})
    smaller = cut_copy(speech, plan)
    after = smaller.model.get_parameter(name)
    inside = (before - 0.05).abs() < 0.1
    assert torch.equal(after == 0, inside) and 0 < inside.float().mean() < 1
    assert torch.equal(after[~inside], before[~inside])
    assert plan.removed == 0.0
    assert count_parameters(smaller.model) == count_parameters(speech.model)


def test_a_zero_rule_excludes_its_edge() -> None:
    layer = torch.nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[-0.25, 0.25, 0.5, 0.75]])
    set_elements(layer, PruningPlan({}, {"weight": ZeroRule(center=0.25, radius=0.5)}))
    assert layer.weight.tolist() == [[-0.25, 0.0, 0.0, 0.75]]


def changed(plan: PruningPlan, key: str, units: tuple[int, ...]) -> PruningPlan:
    return replace(plan, keep={**plan.keep, key: units})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: replace(p, keep={}), "does not mention"),
        (
            lambda p: changed(changed(p, "encoder.0.ffn", ()), "encoder.1.ffn", ()),
            "no unit of encoder.ffn in any layer",
        ),
        (lambda p: changed(p, "encoder.1.ffn", (3, 1)), "in order"),
        (lambda p: changed(p, "encoder.1.ffn", (1, 1)), "distinct"),
        (lambda p: changed(p, "decoder.1.ffn", (0, FFN)), "outside 0 to 47"),
        (lambda p: changed(p, "decoder.1.ffn", (-1, 2)), "outside 0 to 47"),
        (lambda p: changed(p, "encoder.7.ffn", (0,)), "encoder.7.ffn"),
        (lambda p: replace(p, zero={"model.nowhere.weight": ZeroRule(0.0, 1.0)}), "nowhere"),
        (
            lambda p: replace(p, zero={"model.encoder.conv1.weight": ZeroRule(0.0, 1.0)}),
            "encoder.conv1",
        ),
    ],
)
def test_a_plan_that_does_not_fit_changes_nothing(shop: Workshop, spoil, message: str) -> None:
    speech = shop.student()
    before = weights(speech)
    with pytest.raises(PlanError, match=message):
        cut(speech.model, speech.groups(), spoil(drop_some(speech)))
    after = weights(speech)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_groups_of_another_model_are_refused(shop: Workshop) -> None:
    speech = shop.student()
    stale = speech.groups()
    cut(speech.model, stale, one_of_each(speech))
    before = weights(speech)
    with pytest.raises(PlanError, match="groups"):
        cut(speech.model, stale, PruningPlan({g.key: tuple(range(2)) for g in stale}))
    assert all(torch.equal(p, before[n]) for n, p in speech.model.named_parameters())


@pytest.mark.parametrize(
    "counts",
    [
        {},
        {"encoder.9.ffn": 2},
        {"encoder.0.ffn": 0, "encoder.1.ffn": 0},
        {"encoder.0.ffn": -1},
        {"encoder.0.ffn": FFN + 1},
    ],
)
def test_resizing_to_what_cannot_be_is_refused(shop: Workshop, counts: dict[str, int]) -> None:
    model = empty_model(shop.model)
    usual = {g.key: g.count for g in family_of(model).unit_groups(model)}
    with pytest.raises(PlanError):
        resize(model, {**usual, **counts} if counts else {})


def test_resizing_needs_no_memory(shop: Workshop) -> None:
    model = empty_model(shop.model)
    resize(model, {g.key: 1 for g in family_of(model).unit_groups(model)})
    assert all(p.device.type == "meta" for p in model.parameters())
    assert model.model.encoder.layers[0].fc1.weight.shape == (1, D_MODEL)


def test_an_unknown_architecture_is_refused_by_name() -> None:
    model = torch.nn.Module()
    model.config = type("Config", (), {"model_type": "bert"})()
    with pytest.raises(UsageError, match=r"'bert' are not supported; supported: .*\bwhisper\b"):
        family_of(model)


@pytest.mark.real
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_masked_equals_cut_on_whisper_base(attention: str) -> None:
    speech = load_model("openai/whisper-base")
    speech.model.set_attn_implementation(attention)
    plan = drop_some(speech, share=0.3)
    smaller = checked_cut(speech, plan, demo_batch(), within=1e-4)
    expected = sum(
        (g.count - len(plan.keep[g.key])) * g.parameters_per_unit for g in speech.groups()
    )
    assert count_parameters(speech.model) - count_parameters(smaller.model) == expected
