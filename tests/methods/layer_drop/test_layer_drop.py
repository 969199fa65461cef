"""Dropping whole layers: which, how many, and what is left of the model."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration

from tests.support.tiny import START, tiny_config
from whisperslim.core.families import UnitGroup, family_of
from whisperslim.core.plan.plan import plan_to_budget
from whisperslim.core.surgery.gates import masked
from whisperslim.errors import PlanError
from whisperslim.methods.base import Target
from whisperslim.methods.layer_drop.method import LayerDrop, death_order, spaced, stack_order
from whisperslim.methods.layer_drop.options import LayerDropOptions

LAYERS = 6
# Weights of a layer: 4 or 8 square projections, and two matrices of the FFN.
ENCODER, DECODER = 4 * 32 * 32 + 2 * 32 * 48, 8 * 32 * 32 + 2 * 32 * 48
TOTAL = LAYERS * (ENCODER + DECODER)


def whisper(encoder: int = LAYERS, decoder: int = LAYERS) -> WhisperForConditionalGeneration:
    config = tiny_config()
    config.encoder_layers, config.decoder_layers = encoder, decoder
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config).eval()
    for name, parameter in model.named_parameters():
        if "embed_positions" not in name and "norm.weight" not in name:
            parameter.data.normal_(0.0, 0.15)
    return model


def attached(
    target: float, model: WhisperForConditionalGeneration, zeroed: float = 0.0, **options: int
) -> tuple[LayerDrop, tuple[UnitGroup, ...]]:
    method = LayerDrop(LayerDropOptions(**options), Target(target, zeroed))
    groups = family_of(model).unit_groups(model)
    method.attach(model, groups, 10)
    return method, groups


def layers_kept(keep: Any, groups: tuple[UnitGroup, ...]) -> dict[str, list[int]]:
    """Layers with every unit; fails when one is there in part."""
    shares: dict[tuple[str, int], set[float]] = {}
    for group in groups:
        share = len(keep[group.key]) / group.count
        shares.setdefault((group.stack, group.layer), set()).add(share)
    assert set(map(tuple, shares.values())) <= {(0.0,), (1.0,)}
    return {
        name: [layer for (stack, layer), share in shares.items() if stack == name and share == {1}]
        for name in ("encoder", "decoder")
    }


def hidden(model: WhisperForConditionalGeneration) -> torch.Tensor:
    features = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(features, decoder_input_ids=torch.full((2, 5), START)).logits


def test_layers_that_stay_are_maximally_spaced() -> None:
    assert spaced(6, 2) == (0, 5)
    assert spaced(6, 3) == (0, 2, 5)
    assert spaced(6, 4) == (0, 1, 3, 5)
    assert spaced(32, 2) == (0, 31)
    assert spaced(12, 4) == (0, 3, 7, 11)
    assert spaced(6, 6) == (0, 1, 2, 3, 4, 5)
    assert spaced(6, 1) == (5,)


def test_the_spacing_is_that_of_distil_whisper() -> None:
    for count in (4, 6, 12, 24, 32):
        for keep in range(1, count + 1):
            theirs = np.linspace(0, count - 1, keep, dtype=int)
            theirs[-1] = count - 1
            assert spaced(count, keep) == tuple(theirs)


def test_the_order_in_a_stack_by_hand() -> None:
    # Back come 2 (two from either side), then 1, 3, 4 (one away each).
    assert stack_order(6, 2) == (4, 3, 1, 2, 0, 5)
    assert stack_order(6, 3) == (4, 3, 1, 2, 0, 5)
    # Of 0, 1, 3, 5 the 1 has the closest neighbors: 0 and 3.
    assert stack_order(6, 4) == (4, 2, 1, 3, 0, 5)
    assert stack_order(3, 1) == (1, 0, 2)
    assert stack_order(1, 1) == (0,)


def test_the_order_across_stacks_by_hand() -> None:
    layers = {"decoder": [0, 1, 2], "encoder": [0, 1, 2]}
    assert death_order(layers, {"decoder": 2, "encoder": 3}) == (
        ("decoder", 1), ("encoder", 1),
        ("decoder", 0), ("encoder", 0), ("decoder", 2), ("encoder", 2),
    )  # fmt: skip
    # What goes by wish goes first.
    assert death_order(layers, {"decoder": 1, "encoder": 3})[:3] == (
        ("decoder", 1), ("decoder", 0), ("encoder", 1),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("target", "decoder", "encoder"),
    [
        (0.0, [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
        (0.10, [0, 1, 2, 3, 5], [0, 1, 2, 3, 4, 5]),  # a decoder layer is 0.1019, ...
        (0.30, [0, 2, 5], [0, 1, 2, 3, 4, 5]),
        (0.40, [0, 5], [0, 1, 2, 3, 4, 5]),
        (0.45, [0, 5], [0, 1, 2, 3, 5]),  # ... an encoder layer 0.0648
        (0.66, [0, 5], [0, 5]),
        (0.70, [5], [0, 5]),
        (0.80, [5], [5]),
    ],
)
def test_the_target_decides_how_many_stay(
    target: float, decoder: list[int], encoder: list[int]
) -> None:
    method, groups = attached(target, whisper())
    plan = method.plan(None)
    assert layers_kept(plan.keep, groups) == {"encoder": encoder, "decoder": decoder}
    gone = (LAYERS - len(encoder)) * ENCODER + (LAYERS - len(decoder)) * DECODER
    assert plan.removed == pytest.approx(gone / TOTAL)
    assert plan.target == target <= plan.removed


def test_options_say_how_many_stay() -> None:
    method, groups = attached(0.1, whisper(), keep_decoder_layers=2, keep_encoder_layers=4)
    kept = layers_kept(method.plan(None).keep, groups)
    assert kept == {"encoder": [0, 1, 3, 5], "decoder": [0, 5]}
    # With the decoder given, the encoder makes up what the target lacks: 0.0648 each.
    method, groups = attached(0.2, whisper(), keep_decoder_layers=5)
    kept = layers_kept(method.plan(None).keep, groups)
    assert kept == {"encoder": [0, 1, 3, 5], "decoder": [0, 1, 2, 3, 5]}


def test_what_cannot_be_met_is_refused_with_the_range() -> None:
    # One layer of either stack is left: 5 / 6 gone.
    with pytest.raises(PlanError, match=r"0\.9 cannot be met: .* 0 to 0\.8333 "):
        attached(0.9, whisper())
    with pytest.raises(PlanError, match=r"0 to 0\.1667 .* 5 decoder layers and 5 encoder layers"):
        attached(0.5, whisper(), keep_decoder_layers=5, keep_encoder_layers=5)
    with pytest.raises(PlanError, match="cannot keep 7 layers of the encoder: it has 6"):
        attached(0.1, whisper(), keep_encoder_layers=7)
    with pytest.raises(PlanError, match=r"cannot zero 0\.4 .*: 0\.3981 are left"):
        attached(0.6, whisper(), zeroed=0.4)  # rounded up to 4 and 3 layers, 0.6019


def test_a_refusal_names_the_currency() -> None:
    model = whisper()
    groups = [replace(g, price=1.0) for g in family_of(model).unit_groups(model)]
    method = LayerDrop(LayerDropOptions(keep_encoder_layers=6), Target(0.5, 0.0))
    # A decoder layer has 4 + 4 + 48 units, an encoder layer 4 + 48: 5 * 56 of 6 * 108.
    with pytest.raises(PlanError, match=r"0 to 0\.4321 of the cost of the model's units"):
        method.attach(model, groups, 10)


def test_a_frozen_encoder_is_left_whole() -> None:
    model = whisper()
    family_of(model).freeze(model, encoder=True, embeddings=True)
    method, groups = attached(0.45, model)
    assert len(layers_kept(method.plan(None).keep, groups)["encoder"]) == LAYERS
    with pytest.raises(PlanError, match=r"0 to 0\.5093 .*frozen"):
        attached(0.6, model)
    with pytest.raises(PlanError, match=r"cannot keep 3 layers of the encoder: it has 0 .*frozen"):
        attached(0.3, model, keep_encoder_layers=3)


def test_layers_die_whole_and_in_order_at_any_size() -> None:
    method, groups = attached(0.30, whisper())
    method.after_step(1e-3, 1)
    scores = method.scores()
    # Dropped are 4, 3, 1. Of 0, 2, 5 the 2 goes next; the encoder is thinned from six layers.
    order = [
        ("decoder", 4), ("decoder", 3), ("decoder", 1), ("decoder", 2),
        ("encoder", 4), ("encoder", 2), ("encoder", 1), ("encoder", 3),
        ("decoder", 0), ("encoder", 0), ("decoder", 5), ("encoder", 5),
    ]  # fmt: skip
    ranges = [
        torch.cat([scores[g.key] for g in groups if (g.stack, g.layer) == layer]) for layer in order
    ]
    for earlier, later in pairwise(ranges):
        assert earlier.max() < later.min()
    for count in (1, 3, 4, 7, 10):
        share = sum(DECODER if stack == "decoder" else ENCODER for stack, _ in order[:count])
        kept = layers_kept(plan_to_budget(scores, groups, share / TOTAL, whole=True).keep, groups)
        left = [(stack, layer) for stack, layers in kept.items() for layer in layers]
        assert sorted(left) == sorted(order[count:])


def test_within_a_layer_small_units_go_first() -> None:
    model = whisper()
    fc1 = model.model.decoder.layers[3].fc1.weight
    fc1.data[7] *= 1e-3
    fc1.data[9] *= 1e3
    method, _ = attached(0.3, model)
    scores = method.scores()["decoder.3.ffn"]
    assert (int(scores.argmin()), int(scores.argmax())) == (7, 9)


def test_the_masked_model_is_a_stock_whisper_of_fewer_layers() -> None:
    model = whisper()
    dense = hidden(model)
    method, groups = attached(0.45, model)
    assert torch.equal(hidden(model), dense), "the first step sees the dense model"
    method.after_step(1e-3, 1)
    small = whisper(encoder=5, decoder=2)
    small.load_state_dict(model.state_dict(), strict=False)
    for stack, kept in (("encoder", [0, 1, 2, 3, 5]), ("decoder", [0, 5])):
        for ours, theirs in zip(kept, small.get_submodule(f"model.{stack}.layers"), strict=True):
            theirs.load_state_dict(model.get_submodule(f"model.{stack}.layers.{ours}").state_dict())
    found = hidden(model)
    torch.testing.assert_close(found, hidden(small), atol=1e-5, rtol=1e-5)
    assert method.gauges()["kept"]["decoder.1.ffn"] == 0.0
    assert method.gauges()["kept"]["decoder.0.ffn"] == 1.0
    method.detach()
    assert torch.equal(hidden(model), dense)
    with masked(model, groups, method.plan(None)):
        assert torch.equal(hidden(model), found)


def test_zeros_are_taken_from_the_layers_that_stay() -> None:
    model = whisper()
    method, _ = attached(0.30, model, zeroed=0.1)
    method.after_step(1e-3, 1)
    names = family_of(model).prunable_weights(model)
    zeros = {name: int((model.get_parameter(name) == 0).sum()) for name in names}
    assert sum(zeros.values()) == pytest.approx(0.1 * TOTAL, abs=1)
    gone = [n for n in names if ".decoder." in n and n.split(".")[3] in "134"]
    assert gone and not any(zeros[name] for name in gone)
