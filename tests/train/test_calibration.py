"""What methods measure on clean clips, and what they make of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from tests.support.tiny_job import Workshop, build, cross_entropy, run, same, weights
from whisperslim.core.families import UnitSite
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import Scores
from whisperslim.errors import DataError
from whisperslim.methods.base import Target
from whisperslim.methods.l0.masks import L0Masks, log_alpha_for
from whisperslim.methods.l0.options import L0Options
from whisperslim.methods.magnitude.options import IMPOptions, OneShotOptions
from whisperslim.methods.sgl.method import SparseGroupLasso
from whisperslim.methods.sgl.options import SGLOptions
from whisperslim.methods.shared.units import unit_norms
from whisperslim.train.calibration import CleanClips
from whisperslim.train.forward import encode_batch


def clean(shop: Workshop, speech: SpeechModel, batch_size: int = 4) -> CleanClips:
    return CleanClips(speech, lambda: shop.batches(batch_size), "hi")


@dataclass
class Counted:
    """A calibration that hands out given information and counts how often it is asked."""

    values: Scores
    asked: list[int] = field(default_factory=list)

    def information(self, groups: Sequence[UnitSite], clips: int) -> Scores:
        self.asked.append(clips)
        return {group.key: self.values[group.key] for group in groups}


def rising(speech: SpeechModel) -> Scores:
    """Information per weight that rises with the number of the unit in its group."""
    return {g.key: g.weights_per_unit * (1.0 + torch.arange(g.count)) for g in speech.groups()}


def test_information_is_the_mean_squared_slope_of_a_clips_loss(shop: Workshop) -> None:
    speech = shop.student()
    found = clean(shop, speech, batch_size=1).information(speech.groups(), 8)
    group = next(g for g in speech.groups() if g.key == "encoder.0.ffn")
    weight, step = speech.model.get_parameter("model.encoder.layers.0.fc2.weight"), 1e-2
    batches = shop.batches(1)
    clips = [batches.draw() for _ in range(8)]
    for unit in (0, 5):
        column, slopes = weight.data[:, unit].clone(), []
        for clip in clips:
            ends = []
            for factor in (1 + step, 1 - step):
                weight.data[:, unit] = factor * column
                ends.append(float(cross_entropy(speech, clip).detach()))
            slopes.append((ends[0] - ends[1]) / (2 * step))
        weight.data[:, unit] = column
        wanted = sum(slope**2 for slope in slopes) / len(slopes)
        assert float(found[group.key][unit]) == pytest.approx(wanted, rel=0.05, abs=1e-9)


def test_measuring_changes_nothing(shop: Workshop) -> None:
    speech = shop.student()
    speech.model.train()
    speech.family.freeze(speech.model, encoder=False, embeddings=True)
    wanted = [name for name, p in speech.model.named_parameters() if p.requires_grad]
    before, state = weights(speech), torch.get_rng_state()
    clean(shop, speech).information(speech.groups(), 8)
    clean(shop, speech).moments(speech.groups(), 8)
    assert same(weights(speech), before) and torch.equal(state, torch.get_rng_state())
    assert speech.model.training
    assert wanted == [name for name, p in speech.model.named_parameters() if p.requires_grad]
    assert all(p.grad is None for p in speech.model.parameters())
    assert not any(module._forward_pre_hooks for module in speech.model.modules())


def test_moments_count_the_decoder_where_text_or_its_end_is_predicted(shop: Workshop) -> None:
    """One clip at a time and without padding, from the last token of the prompt on."""
    speech = shop.student()
    groups = [g for g in speech.groups() if g.key == "decoder.1.ffn"]
    found = clean(shop, speech).moments(groups, 8)["decoder.1.ffn"]
    seen: list[torch.Tensor] = []
    module = speech.model.get_submodule(groups[0].gate)
    handle = module.register_forward_pre_hook(lambda m, given: seen.append(given[0][0]))
    supply = shop.batches(4)
    for batch in (supply.draw(), supply.draw()):
        states = encode_batch(speech, batch)
        for index, text in enumerate(batch.texts):
            ids = [*speech.tokens.prompt("hi"), *speech.tokens.encode(text)]
            with torch.no_grad():
                speech.model.model.decoder(
                    input_ids=torch.tensor([ids]), encoder_hidden_states=states[[index]]
                )
    handle.remove()
    first = len(speech.tokens.prompt("hi")) - 1
    rows = torch.cat([states[first:] for states in seen]).double()
    assert found.count == len(rows)
    torch.testing.assert_close(found.mean, rows.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.square, rows.T @ rows / len(rows), rtol=1e-4, atol=1e-5)


def test_moments_of_the_encoder_count_every_position(shop: Workshop) -> None:
    speech = shop.student()
    groups = [g for g in speech.groups() if g.key == "encoder.0.self_attn.heads"]
    supply = shop.batches(4)
    positions = sum(4 * supply.draw().features.shape[-1] // 2 for _ in range(2))
    assert clean(shop, speech).moments(groups, 8)[groups[0].key].count == positions


def test_it_stops_at_the_number_of_clips_and_at_the_end_of_the_set(shop: Workshop) -> None:
    speech, seen = shop.student(), []
    for clips in (4, 100):
        seen.clear()
        CleanClips(
            speech, lambda: shop.batches(4), "hi", progress=lambda *of: seen.append(of)
        ).information(speech.groups(), clips)
        assert seen == [(4, 4)] if clips == 4 else [(4, 100), (8, 100)]
    with pytest.raises(DataError, match="use 1 or more"):
        clean(shop, speech).information(speech.groups(), 0)


def test_the_loop_calibrates_before_the_first_step_only(shop: Workshop, tmp_path: Path) -> None:
    speech = shop.student()
    data = Counted(rising(speech))
    sgl = SGLOptions(strength="solved", importance_clips=7)
    first = shop.job(tmp_path, build("sgl", sgl), student=speech, calibration=data, steps=4)
    run(first)
    assert data.asked == [7]
    again = shop.job(tmp_path, build("sgl", sgl), calibration=data, steps=4)
    run(again)  # continues from the end
    assert data.asked == [7]
    assert same(first.method.state_dict(), again.method.state_dict())


def test_solved_strength_brings_what_is_pulled_to_zero_in_equal_steps(shop: Workshop) -> None:
    speech = shop.student()
    options = SGLOptions(
        strength="solved", lambda_l1_encoder=0.0, lambda_l1_decoder=0.0, importance_clips=4
    )
    method = SparseGroupLasso(options, Target(0.4, 0.0))
    method.attach(speech.model, speech.groups(), 5)
    method.calibrate(Counted(rising(speech)), trained=False)
    before = {g.key: unit_norms(speech.model, g) for g in speech.groups()}
    for step in range(1, 6):
        method.after_step(1e-3, step)
        for group in speech.groups():
            norms = unit_norms(speech.model, group)
            # The first units are worth least.
            assert float(norms[0] / before[group.key][0]) == pytest.approx(1 - step / 5, abs=1e-5)
            assert torch.equal(norms[-1], before[group.key][-1])
    assert float(method.scores()["encoder.0.ffn"][0]) < float(method.scores()["encoder.0.ffn"][-1])


@pytest.mark.parametrize(
    ("name", "options", "at_start", "at_end"),
    [
        ("one_shot", OneShotOptions(importance="fisher", importance_clips=9), True, True),
        ("one_shot", OneShotOptions(importance="fisher", begin=1.0), False, True),
        ("one_shot", OneShotOptions(importance="fisher", importance_clips=0), False, False),
        ("one_shot", OneShotOptions(), False, False),
        ("imp", IMPOptions(importance="fisher"), False, True),
        ("l0_distill", L0Options(), True, False),
        ("l0_distill", L0Options(start="alike"), False, False),
        ("sgl", SGLOptions(), True, True),
        ("sgl", SGLOptions(weighting="uniform"), False, True),
        ("sgl", SGLOptions(importance="norm"), False, False),
    ],
)  # fmt: skip
def test_who_measures_when(
    shop: Workshop, name: str, options: object, at_start: bool, at_end: bool
) -> None:
    speech = shop.student()
    method = build(name, options, Target(0.3, 0.0))
    method.attach(speech.model, speech.groups(), 10)
    for trained, wanted in ((False, at_start), (True, at_end)):
        data = Counted(rising(speech))
        method.calibrate(data, trained)
        assert bool(data.asked) == wanted
    method.detach()


def test_clean_clips_decide_what_a_single_cut_takes(shop: Workshop) -> None:
    speech = shop.student()
    method = build("one_shot", OneShotOptions(importance="fisher", begin=1.0), Target(0.3, 0.0))
    method.attach(speech.model, speech.groups(), 10)
    method.calibrate(Counted(rising(speech)), trained=True)
    plan = method.plan(None)
    # Equal information per weight at equal numbers: the first units of every group go.
    for group in speech.groups():
        kept = plan.keep[group.key]
        assert kept == tuple(range(group.count - len(kept), group.count))


def test_masks_start_by_standardized_log_information(shop: Workshop) -> None:
    groups = [g for g in shop.student().groups() if g.kind == "heads"][:1]
    group = groups[0]
    masks = L0Masks(groups, L0Options(layers=False), torch.device("cpu"))
    logs = torch.linspace(-1.0, 1.0, group.count)
    masks.start_from({group.key: group.weights_per_unit * logs.exp()})
    deviations = (logs - logs.mean()) / logs.std()
    wanted = torch.cat([log_alpha_for(0.99) + deviations, torch.tensor([10.0])])
    assert torch.allclose(masks.log_alpha.detach(), wanted, atol=1e-5)


def test_one_unit_far_from_the_others_does_not_close_at_once(shop: Workshop) -> None:
    group = next(g for g in shop.student().groups() if g.kind == "ffn")
    masks = L0Masks([group], L0Options(sublayers=False, layers=False), torch.device("cpu"))
    information = torch.full((group.count,), float(group.weights_per_unit))
    information[0] = 0.0
    masks.start_from({group.key: information})
    assert float(masks.log_alpha.detach()[0]) == pytest.approx(log_alpha_for(0.99) - 3.0, abs=1e-4)


@pytest.mark.parametrize(("steps", "coarse"), [(1999, False), (2000, True)])
def test_short_runs_have_masks_over_units_alone(shop: Workshop, steps: int, coarse: bool) -> None:
    speech = shop.student()
    method = build("l0_distill", L0Options(), Target(0.4, 0.0))
    method.attach(speech.model, speech.groups(), steps)
    assert method.whole == coarse
    assert ("block" in method.gauges()) == coarse
    method.detach()
