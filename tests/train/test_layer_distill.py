"""Layers matched by hand, hidden losses by arithmetic, what the teacher shares, resuming."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.tiny import D_MODEL, LAYERS
from tests.support.tiny_job import (
    Workshop,
    build,
    one_batch,
    plain,
    run,
    same,
    steps_of,
    stop_before,
    weights,
)
from whisperslim.core.families.flavours.attention_decoder import Targets, make_targets
from whisperslim.core.families.hearing import StepOutputs
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import PruningPlan, keep_everything
from whisperslim.core.surgery.gates import attach_gates, masked
from whisperslim.core.surgery.shrink import cut
from whisperslim.errors import UsageError
from whisperslim.methods.base import Target
from whisperslim.methods.l0.options import L0Options
from whisperslim.speech.corpus.batching import Batch
from whisperslim.train import distill
from whisperslim.train.distill import Teacher, shares_encoder
from whisperslim.train.forward import decode_targets, encode_batch
from whisperslim.train.layer_distill import (
    LayerWatch,
    SharedMap,
    evenly_spaced,
    hidden_loss,
    match_layers,
)
from whisperslim.train.loop import Job
from whisperslim.train.options import DistillOptions
from whisperslim.train.state import list_checkpoints

HIDDEN = DistillOptions(hidden_weight=0.5, hidden_final=False)
MAPPED = replace(HIDDEN, hidden_map=True)


@pytest.mark.parametrize(
    ("count", "wanted", "expected"),
    [
        (6, 0, (0, 1, 2, 3, 4, 5)),
        (6, 6, (0, 1, 2, 3, 4, 5)),
        (6, 9, (0, 1, 2, 3, 4, 5)),
        (6, 3, (1, 3, 5)),
        (6, 2, (2, 5)),
        (6, 1, (5,)),
        (12, 4, (2, 5, 8, 11)),
        # At depths 1.5, 3, 4.5 and 6 of 6, the halves rounded down.
        (6, 4, (0, 2, 3, 5)),
    ],
)
def test_layers_are_chosen_evenly_with_the_last(
    count: int, wanted: int, expected: tuple[int, ...]
) -> None:
    assert evenly_spaced(count, wanted) == expected


@pytest.mark.parametrize(
    ("surviving", "expected"),
    [
        ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
        # 1 is gone: 0 and 2 are equally near, and the earlier one feeds its place.
        ([0, 2, 3, 4, 5], [0, 0, 2, 3, 4, 5]),
        ([0, 5], [0, 0, 0, 5, 5, 5]),
        ([2], [2, 2, 2, 2, 2, 2]),
        # 2 and 3 are gone: one step to either side.
        ([0, 1, 4, 5], [0, 1, 1, 4, 4, 5]),
        # The last is gone.
        ([1, 3], [1, 1, 1, 3, 3, 3]),
    ],
)
def test_layers_are_matched_to_the_nearest_survivor(
    surviving: list[int], expected: list[int]
) -> None:
    pairs = match_layers(range(6), 6, 6, surviving)
    assert [own for _, own in pairs] == expected
    assert [layer for layer, _ in pairs] == list(range(6))


def test_no_survivor_no_pairs() -> None:
    assert match_layers(range(6), 6, 6, []) == ()


def test_order_is_kept_whatever_is_gone() -> None:
    for bits in range(1, 2**6):
        surviving = [layer for layer in range(6) if bits >> layer & 1]
        own = [student for _, student in match_layers(range(6), 6, 6, surviving)]
        assert own == sorted(own)
        for layer, student in enumerate(own):
            assert abs(student - layer) == min(abs(other - layer) for other in surviving)


def test_a_shorter_student_is_matched_by_depth() -> None:
    # Depths of the teacher's: 1/6 to 6/6. Of the student's: 1/3, 2/3, 3/3; ties to the earlier.
    assert [own for _, own in match_layers(range(6), 6, 3, range(3))] == [0, 0, 0, 1, 1, 2]
    assert [own for _, own in match_layers((1, 3, 5), 6, 3, range(3))] == [0, 1, 2]


def test_hidden_losses_by_hand() -> None:
    found, wanted = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    # Squares of differences 0, 4, 9, 0 over squares 1, 0, 9, 16.
    assert float(hidden_loss("mse", found, wanted)) == pytest.approx(13 / 26)
    # Absolute differences 0, 2, 3, 0 over 1, 0, 3, 4; cosines 1 / sqrt(5) and 16 / (4 * 5).
    expected = 5 / 8 + 1 - (1 / 5**0.5 + 0.8) / 2
    assert float(hidden_loss("l1_cosine", found, wanted)) == pytest.approx(expected)
    # Mean squares: of differences 4.5 and 2, of the teacher's channels 5 and 8; floor 1 % of the
    # lower of the two, which torch calls their median.
    expected = (4.5 / 5.05 + 2 / 8.05) / 2
    assert float(hidden_loss("channel_mse", found, wanted)) == pytest.approx(expected)
    for kind in ("mse", "channel_mse", "l1_cosine"):
        assert float(hidden_loss(kind, wanted, wanted)) == pytest.approx(0.0, abs=1e-6)
        # In the teacher's own unit: the size of the states does not matter.
        assert float(hidden_loss(kind, 7 * found, 7 * wanted)) == pytest.approx(
            float(hidden_loss(kind, found, wanted)), rel=1e-6
        )


def test_a_large_channel_is_not_all_that_counts() -> None:
    torch.manual_seed(0)
    wanted = torch.randn(50, 4)
    wanted[:, 0] *= 1000.0
    off = {channel: wanted.clone() for channel in (0, 1)}
    for channel, found in off.items():
        found[:, channel] = 0.0
    whole = [float(hidden_loss("mse", found, wanted)) for found in off.values()]
    assert whole[0] > 0.99 and whole[1] < 0.001
    each = [float(hidden_loss("channel_mse", found, wanted)) for found in off.values()]
    assert each == pytest.approx([0.25, 0.25], rel=0.03)


def test_the_map_is_the_identity_at_first_and_draws_nothing() -> None:
    before = torch.get_rng_state()
    shared = SharedMap(5, torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)
    states = torch.randn(3, 4, 5)
    assert torch.equal(shared(states), states)
    shared.weight.data = torch.arange(25.0).view(5, 5)
    assert torch.allclose(shared(states), states @ torch.arange(25.0).view(5, 5).T)


def without(speech: SpeechModel, *gone: str) -> PruningPlan:
    plan = keep_everything(speech.groups())
    return replace(plan, keep={**plan.keep, **dict.fromkeys(gone, ())})


DECODER_0 = ("decoder.0.self_attn.heads", "decoder.0.encoder_attn.heads", "decoder.0.ffn")


def passed(speech: SpeechModel, batch: Batch) -> tuple[Targets, torch.Tensor, StepOutputs]:
    targets = make_targets(speech.tokens, batch.texts, batch.keys, "hi", 128)
    states = encode_batch(speech, batch)
    return targets, states, decode_targets(speech, states, targets)


def test_a_layer_survives_while_it_changes_anything(shop: Workshop) -> None:
    speech, batch = shop.student(), one_batch(shop)
    watch = LayerWatch(speech.family.layers(speech.model))

    def seen() -> dict[str, list[int]]:
        with torch.no_grad(), watch.watching():
            passed(speech, batch)
        return {stack: watch.surviving(stack) for stack in ("encoder", "decoder")}

    assert seen() == {"encoder": [0, 1], "decoder": [0, 1]}
    one = without(speech, "encoder.1.ffn", *DECODER_0)
    with masked(speech.model, speech.groups(), one):
        assert seen() == {"encoder": [0, 1], "decoder": [1]}
    cut(speech.model, speech.groups(), one)
    watch = LayerWatch(speech.family.layers(speech.model))
    assert len(speech.family.layers(speech.model)["decoder"]) == LAYERS
    assert seen() == {"encoder": [0, 1], "decoder": [1]}


def test_watching_leaves_nothing_behind(shop: Workshop) -> None:
    speech = shop.student()
    watch = LayerWatch(speech.family.layers(speech.model))
    with pytest.raises(KeyError), watch.watching():
        raise KeyError
    assert not any(module._forward_hooks for module in speech.model.modules())


def stock_states(speech: SpeechModel, batch: Batch) -> dict[str, list[torch.Tensor]]:
    """What transformers itself says the layers return, last one before the final norm left out."""
    targets = make_targets(speech.tokens, batch.texts, batch.keys, "hi", 128)
    features = torch.nn.functional.pad(batch.features, (0, 3000 - batch.features.shape[-1]))
    whole = speech.model(features, decoder_input_ids=targets.inputs, output_hidden_states=True)
    return {
        "encoder": list(whole.encoder_hidden_states)[1:-1],
        "decoder": list(whole.decoder_hidden_states)[1:-1],
    }


def test_what_is_watched_is_what_transformers_calls_hidden_states(shop: Workshop) -> None:
    speech, batch = shop.student(), one_batch(shop)
    padded = torch.nn.functional.pad(batch.features, (0, 3000 - batch.features.shape[-1]))
    watch = LayerWatch(speech.family.layers(speech.model))
    with torch.no_grad():
        with watch.watching():
            passed(speech, replace(batch, features=padded))
        expected = stock_states(speech, batch)
    for stack, states in expected.items():
        assert len(states) == LAYERS - 1
        for index, state in enumerate(states):
            assert (watch.outputs[stack][index] - state).abs().max() < 1e-5
            assert torch.equal(watch.inputs[stack][index + 1], watch.outputs[stack][index])


def changed(shop: Workshop) -> SpeechModel:
    """A student that differs from the dense model in every layer."""
    speech = shop.student()
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in speech.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return speech


def hidden_terms(
    teacher: Teacher, student: SpeechModel, batch: Batch
) -> tuple[dict[str, torch.Tensor], Targets]:
    with teacher.watching():
        targets, states, outputs = passed(student, batch)
    return dict(teacher.terms(batch, targets, states, outputs)), targets


@pytest.mark.parametrize("kind", ["mse", "channel_mse", "l1_cosine"])
@pytest.mark.parametrize("wanted", [0, 1])
def test_the_hidden_terms_by_hand(shop: Workshop, kind: str, wanted: int) -> None:
    student, dense, batch = changed(shop), shop.student(), one_batch(shop)
    options = replace(HIDDEN, hidden_loss=kind, hidden_layers=wanted)
    terms, targets = hidden_terms(Teacher(dense, student, options), student, batch)
    assert list(terms) == ["distillation", "hidden_encoder", "hidden_decoder"]
    both = []
    for speech in (student, dense):
        watch = LayerWatch(speech.family.layers(speech.model))
        with torch.no_grad(), watch.watching():
            passed(speech, batch)
        both.append(watch.outputs)
    for stack in ("encoder", "decoder"):
        losses = []
        for layer in range(LAYERS) if wanted == 0 else [LAYERS - 1]:
            mine, theirs = (states[stack][layer] for states in both)
            if stack == "decoder":
                rows = targets.counted.nonzero().tolist()
                mine, theirs = (
                    torch.stack([state[clip, place] for clip, place in rows])
                    for state in (mine, theirs)
                )
            losses.append(
                float(hidden_loss(kind, mine.reshape(-1, D_MODEL), theirs.reshape(-1, D_MODEL)))
            )
        expected = 0.5 * sum(losses) / len(losses)
        assert float(terms[f"hidden_{stack}"].detach()) == pytest.approx(expected, rel=1e-4)
        assert expected > 0.001


def test_what_follows_the_last_norm_is_one_more_pair(shop: Workshop) -> None:
    student, dense, batch = changed(shop), shop.student(), one_batch(shop)
    found = {}
    for final in (False, True):
        options = replace(HIDDEN, hidden_final=final)
        found[final], targets = hidden_terms(Teacher(dense, student, options), student, batch)
    with torch.no_grad():
        states = [encode_batch(speech, batch) for speech in (student, dense)]
        # As transformers has it: its last hidden state is what follows the norm.
        ends = {"encoder": [state.flatten(0, 1) for state in states], "decoder": [
            speech.model.model.decoder(
                input_ids=targets.inputs, encoder_hidden_states=state
            ).last_hidden_state[targets.counted]
            for speech, state in zip((student, dense), states, strict=True)
        ]}  # fmt: skip
    for stack, (own, theirs) in ends.items():
        layers = float(found[False][f"hidden_{stack}"].detach()) / 0.5
        last = float(hidden_loss("mse", own, theirs))
        expected = 0.5 * (LAYERS * layers + last) / (LAYERS + 1)
        assert float(found[True][f"hidden_{stack}"].detach()) == pytest.approx(expected, rel=1e-4)
        assert last > 0.001


def test_padded_positions_do_not_count(shop: Workshop) -> None:
    student, dense, batch = changed(shop), shop.student(), one_batch(shop)
    targets = make_targets(student.tokens, batch.texts, batch.keys, "hi", 128)
    padding = torch.full((len(batch.texts), 5), 7)
    longer = Targets(
        torch.cat([targets.inputs, padding], 1),
        torch.cat([targets.wanted, padding], 1),
        torch.cat([targets.counted, padding < 0], 1),
    )
    found = []
    for these in (targets, longer):
        teacher = Teacher(dense, student, HIDDEN)
        with teacher.watching():
            states = encode_batch(student, batch)
            outputs = decode_targets(student, states, these)
        terms = teacher.terms(batch, these, states, outputs)
        found.append(float(terms["hidden_decoder"].detach()))
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_a_dropped_layers_lesson_goes_to_its_neighbor(shop: Workshop) -> None:
    """Decoder layer 0 is gone, so both teacher layers are learned by layer 1."""
    student, dense, batch = changed(shop), shop.student(), one_batch(shop)
    with masked(student.model, student.groups(), without(student, *DECODER_0)):
        terms, targets = hidden_terms(Teacher(dense, student, HIDDEN), student, batch)
        mine = LayerWatch(student.family.layers(student.model))
        with torch.no_grad(), mine.watching():
            passed(student, batch)
    theirs = LayerWatch(dense.family.layers(dense.model))
    with torch.no_grad(), theirs.watching():
        passed(dense, batch)
    own = mine.outputs["decoder"][1][targets.counted]
    losses = [
        float(hidden_loss("mse", own, theirs.outputs["decoder"][layer][targets.counted]))
        for layer in (0, 1)
    ]
    assert float(terms["hidden_decoder"].detach()) == pytest.approx(0.5 * sum(losses) / 2, rel=1e-4)


def test_weights_and_the_map_are_taught_and_the_teacher_is_not(shop: Workshop) -> None:
    student, dense, batch = changed(shop), shop.student(), one_batch(shop)
    teacher = Teacher(dense, student, MAPPED)
    terms, _ = hidden_terms(teacher, student, batch)
    (terms["hidden_encoder"] + terms["hidden_decoder"]).backward()
    shared = teacher.parts()["hidden_map"]
    assert float(shared.weight.grad.abs().sum()) > 0
    for stack in ("encoder", "decoder"):
        # The last layer's output is learned from, so every layer is.
        for layer in range(LAYERS):
            name = f"model.{stack}.layers.{layer}.final_layer_norm.weight"
            assert float(student.model.get_parameter(name).grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in dense.model.parameters())
    assert teacher.param_groups()[0]["weight_decay"] == 0.0


def test_without_hidden_weight_there_is_nothing_more(shop: Workshop) -> None:
    student, batch = changed(shop), one_batch(shop)
    teacher = Teacher(shop.student(), student, DistillOptions())
    terms, _ = hidden_terms(teacher, student, batch)
    assert list(terms) == ["distillation"]
    assert teacher.parts() == {} and teacher.param_groups() == []


def test_without_a_map_nothing_is_trained_besides_the_student(shop: Workshop) -> None:
    student, batch = shop.student(), one_batch(shop)
    teacher = Teacher(shop.student(), student, replace(HIDDEN, hidden_final=True))
    terms, _ = hidden_terms(teacher, student, batch)
    assert teacher.parts() == {} and teacher.param_groups() == []
    # The dense model is its own teacher: it agrees with itself.
    for name in ("hidden_encoder", "hidden_decoder"):
        assert float(terms[name].detach()) == pytest.approx(0.0, abs=1e-9)


def freeze(speech: SpeechModel) -> None:
    speech.family.freeze(speech.model, encoder=True, embeddings=True)


def disturb_weight(speech: SpeechModel) -> None:
    speech.model.model.encoder.layers[0].fc1.weight.data[0, 0] = 0.0


def disturb_dropout(speech: SpeechModel) -> None:
    speech.family.set_dropout(speech.model, 0.1)
    speech.model.train()


def disturb_gates(speech: SpeechModel) -> None:
    attach_gates(speech.model, speech.groups(), lambda group, x: x.new_full((group.count,), 0.5))


@pytest.mark.parametrize("disturb", [disturb_weight, disturb_dropout, disturb_gates])
def test_an_encoder_that_computes_something_else_is_not_shared(
    shop: Workshop, disturb: Callable[[SpeechModel], Any]
) -> None:
    student, dense, batch = shop.student(), shop.student(), one_batch(shop)
    freeze(student)
    teacher = Teacher(dense, student, DistillOptions())
    assert shares_encoder(dense, student)
    disturb(student)  # after the teacher was made, as methods do
    assert not shares_encoder(dense, student)
    targets, states, _ = passed(student, batch)
    _, _, wanted = passed(shop.student(), batch)
    with torch.no_grad():
        assert torch.equal(teacher.logits(batch, targets, states), wanted.logits)


def test_frozen_weights_are_compared_once_and_gates_are_looked_for_each_time(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, dense, batch = shop.student(), shop.student(), one_batch(shop)
    freeze(student)
    teacher = Teacher(dense, student, DistillOptions())
    targets, states, _ = passed(student, batch)
    compared: list[int] = []
    equal = torch.equal
    monkeypatch.setattr(torch, "equal", lambda a, b: compared.append(1) or equal(a, b))
    encoded: list[Batch] = []
    encode = distill.encode_batch
    monkeypatch.setattr(
        distill, "encode_batch", lambda speech, own: encoded.append(own) or encode(speech, own)
    )
    count = len(list(student.model.model.encoder.parameters()))
    for _ in range(3):
        teacher.logits(batch, targets, states)
    assert len(compared) == count and not encoded
    handles = attach_gates(student.model, student.groups(), lambda group, x: x.new_ones(1))
    teacher.logits(batch, targets, states)
    assert len(encoded) == 1
    for handle in handles:
        handle.remove()
    teacher.logits(batch, targets, states)
    assert len(encoded) == 1 and len(compared) == count


def test_dropout_that_does_not_act_does_not_matter(shop: Workshop) -> None:
    student, dense = shop.student(), shop.student()
    freeze(student)
    student.family.set_dropout(student.model, 0.1)
    assert shares_encoder(dense, student), "in evaluation mode nothing is dropped"
    student.family.set_dropout(student.model, 0.0)
    student.model.train()
    assert shares_encoder(dense, student)
    student.model.model.encoder.add_module("extra", nn.Dropout(0.1))
    assert not shares_encoder(dense, student)


def test_a_shared_encoder_has_no_hidden_term(shop: Workshop) -> None:
    student, dense, batch = shop.student(), shop.student(), one_batch(shop)
    freeze(student)
    terms, _ = hidden_terms(Teacher(dense, student, HIDDEN), student, batch)
    assert list(terms) == ["distillation", "hidden_decoder"]


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_teacher_of_another_width_is_refused(shop: Workshop, weight: float) -> None:
    other = shop.student()
    other.model.config.d_model = 768
    with pytest.raises(UsageError, match=r"768 wide and the student 32; choose a teacher of"):
        Teacher(other, shop.student(), DistillOptions(hidden_weight=weight))


def lesson(shop: Workshop, folder: Path, **changes: Any) -> Job:
    """Layers taught to a student under L0 masks, with everything random on."""
    student = shop.student()
    method = build("l0_distill", L0Options(coarse_from=0, rate_factor=50.0), Target(0.4, 0.0))
    return shop.job(
        folder, method, student=student, teacher=Teacher(shop.student(), student, MAPPED),
        steps=6, dropout=0.1, accumulate=2, **changes,
    )  # fmt: skip


def test_stopped_and_resumed_equals_uninterrupted_with_the_map(
    shop: Workshop, tmp_path: Path
) -> None:
    """Stopped after two steps, and again after five."""
    whole, second = lesson(shop, tmp_path / "whole"), lesson(shop, tmp_path / "broken")
    seen = steps_of(run(whole))
    assert list(seen[0].losses) == [
        "cross_entropy", "distillation", "hidden_encoder", "hidden_decoder", "l0_constraint",
    ]  # fmt: skip
    for more in (2, 3):
        run(lesson(shop, tmp_path / "broken", stop=stop_before(more)))
    run(second)
    assert same(weights(whole.student), weights(second.student))
    maps = [job.teacher.parts()["hidden_map"].weight for job in (whole, second)]
    assert torch.equal(*maps) and not torch.equal(maps[0], torch.eye(D_MODEL))
    states = [
        torch.load(list_checkpoints(tmp_path / name)[-1] / "state.pt", weights_only=True)
        for name in ("whole", "broken")
    ]
    assert same(*states)


def test_lessons_bring_the_hidden_states_nearer(shop: Workshop, tmp_path: Path) -> None:
    student = changed(shop)
    teacher = Teacher(shop.student(), student, DistillOptions(hidden_weight=1.0))
    seen = steps_of(run(shop.job(tmp_path, plain(), student=student, teacher=teacher, steps=40)))
    for name in ("hidden_encoder", "hidden_decoder"):
        assert seen[-1].losses[name] < 0.8 * seen[0].losses[name]
