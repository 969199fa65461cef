"""Times per unit: found by arithmetic from an engine whose time is known."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from tests.support.tiny import LAYERS, VOCABULARY
from tests.support.tiny_job import Workshop
from whisperslim.core.families import family_of
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.rules import PlanRules
from whisperslim.engines.base import Transcriber, Transcript
from whisperslim.engines.timing.profile import TOKENS, Profile, measure_profile
from whisperslim.engines.timing.reductions import place_reductions, stack_reductions
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.errors import PlanError, UsageError
from whisperslim.jobs.pricing.profiles import (
    check_profiled,
    find_profile,
    profile_path,
    save_profile,
)
from whisperslim.speech.audio.window import WindowPolicy

# Seconds per unit of the encoder for a clip, of the decoder for a token.
PRICES = {
    "encoder.self_attn.heads": 0.5, "encoder.ffn": 0.03125,
    "decoder.self_attn.heads": 0.25, "decoder.encoder_attn.heads": 0.125, "decoder.ffn": 0.0078125,
}  # fmt: skip
LAYER = {"encoder": 2.0, "decoder": 0.0625}
ROW, WRITTEN = 2.0**-10, 60


@dataclass(frozen=True)
class FakeEngine:
    """Takes a time that is linear in what the model has, and some noise now and then."""

    speech: SpeechModel
    prices: Mapping[str, float]
    tokens: int = WRITTEN

    def transcribe(self, audio: np.ndarray, language: str = "hi") -> Transcript:
        groups = family_of(self.speech.model).unit_groups(self.speech.model)
        seconds = 10.0
        for group in groups:
            times = self.tokens if group.stack == "decoder" else 1
            seconds += group.count * self.prices[group.place] * times
        for stack, layer in {(g.stack, g.layer) for g in groups}:
            seconds += LAYER[stack] * (self.tokens if stack == "decoder" else 1) + 0 * layer
        seconds += self.speech.model.config.vocab_size * ROW * self.tokens
        return Transcript("", len(audio) / 16_000, seconds, 1.0, self.tokens, "", ())


def measured(shop: Workshop, trimmed: SpeechModel | None = None, **changes: Any) -> Profile:
    usual: dict[str, Any] = {
        "engine": "torch", "quantize": "none", "machine": {"cpu": "a test"}, "repeats": 1,
        "opened": lambda name, speech: cast(Transcriber, FakeEngine(speech, PRICES)),
    }  # fmt: skip
    return measure_profile(shop.student(), trimmed=trimmed, **{**usual, **changes})


def expected() -> dict[str, float]:
    return {p: s * (TOKENS if p.startswith("decoder") else 1) for p, s in PRICES.items()}


def test_slopes_are_the_engines_own_prices(shop: Workshop) -> None:
    found = measured(shop)
    assert found.seconds_per_unit == pytest.approx(expected())
    assert found.seconds_per_layer == pytest.approx({"encoder": 2.0, "decoder": 0.0625 * TOKENS})
    assert found.lost_in_noise == () and found.seconds_per_row == 0.0
    assert found.machine == {"cpu": "a test"} and found.model == "tiny"


def test_tied_places_share_what_their_bundle_saves(shop: Workshop) -> None:
    found = measured(shop, engine="ctranslate2").seconds_per_unit
    both = (0.25 + 0.125) * TOKENS  # heads of both kinds weigh the same
    assert found["decoder.self_attn.heads"] == pytest.approx(both / 2)
    assert found["decoder.encoder_attn.heads"] == pytest.approx(both / 2)
    assert found["decoder.ffn"] == pytest.approx(expected()["decoder.ffn"])


def test_rows_of_the_vocabulary_are_priced_by_a_trimmed_copy(shop: Workshop) -> None:
    trimmed = shop.student()
    trimmed.model.config.vocab_size = VOCABULARY - 10
    assert measured(shop, trimmed).seconds_per_row == pytest.approx(1000 * ROW)


def test_a_slope_lost_in_noise_is_a_tenth_of_the_mean_and_said_so(shop: Workshop) -> None:
    prices = {**PRICES, "encoder.ffn": -1e-6}
    opened = lambda name, speech: cast(Transcriber, FakeEngine(speech, prices))  # noqa: E731
    found = measured(shop, opened=opened)
    assert found.lost_in_noise == ("encoder.ffn",)
    # Two heads and 24 FFN units fewer in every layer; a head has 4 * 8 * 32 weights, a unit 64.
    heads = [4, 4, 4]
    saved = 0.5 * heads[0] + TOKENS * ((0.25 + 0.125) * 4 + 0.0078125 * 48)
    weights = 1024 * sum(heads) + 64 * 2 * 48
    assert found.seconds_per_unit["encoder.ffn"] == pytest.approx(0.1 * 64 * saved / weights)
    idle = lambda name, speech: cast(Transcriber, FakeEngine(speech, dict.fromkeys(PRICES, 0.0)))  # noqa: E731
    with pytest.raises(PlanError, match="too busy"):
        measured(shop, opened=idle)


def test_copies_that_write_more_or_less_cannot_be_compared(shop: Workshop) -> None:
    def opened(name: str, speech: SpeechModel) -> Transcriber:
        return cast(Transcriber, FakeEngine(speech, PRICES, 59 + (name == "full")))

    with pytest.raises(PlanError, match=r"wrote \[59, 60\] tokens"):
        measured(shop, opened=opened)
    with pytest.raises(UsageError, match="0 repeats"):
        measured(shop, repeats=0)


def test_reductions_leave_half_of_the_units_and_every_other_layer(shop: Workshop) -> None:
    groups = shop.student().groups()
    places = {r.name: r.units for r in place_reductions(groups)}
    assert places["encoder.ffn"] == {"encoder.ffn": LAYERS * 24} and len(places) == 5
    stacks = {r.name: r for r in stack_reductions(groups)}
    assert stacks["decoder.layers"].layers == 1
    assert stacks["decoder.layers"].units["decoder.ffn"] == 48
    alone = [replace(g, count=1) for g in groups if g.place == "encoder.ffn"]
    with pytest.raises(UsageError, match="nothing to compare"):
        place_reductions(alone)


def test_the_models_compared_write_to_the_bound_in_a_real_engine(shop: Workshop) -> None:
    speech = shop.student()
    sound = np.sin(np.arange(16_000) / 10).astype(np.float32) / 3
    found = []

    def opened(name: str, speech: SpeechModel) -> Transcriber:
        engine = TorchTranscriber(speech, WindowPolicy())
        found.append(engine.transcribe(sound))
        return cast(Transcriber, FakeEngine(speech, PRICES))

    measured(shop, opened=opened)
    assert len(found) == 1 + 5 + 2
    assert {each.tokens for each in found} == {10 + 25}  # the bound for one second
    before = {name: p.clone() for name, p in speech.model.named_parameters()}
    speech.family.with_constant_output(speech.model, speech.tokens)
    assert all(torch.equal(p, before[name]) for name, p in speech.model.named_parameters())


def test_a_profile_is_found_again_by_what_it_prices(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path))
    groups = shop.student().groups()
    with pytest.raises(PlanError, match="whisperslim profile --engine torch --quantize none"):
        find_profile("torch", "none", groups)
    found = measured(shop)
    path = save_profile(found)
    assert path == profile_path("torch") and path.parent == tmp_path / "profiles"
    assert find_profile("torch", "none", groups) == found
    assert find_profile("hf", "int8", groups) == found  # runs in PyTorch, in float32
    wider = [replace(g, weights_per_unit=2 * g.weights_per_unit) for g in groups]
    with pytest.raises(PlanError, match="this width of model"):
        find_profile("torch", "none", wider)
    int8 = replace(found, quantize="int8", engine="onnx")
    save_profile(int8)
    save_profile(replace(int8, repeats=99))
    assert find_profile("onnx", "int8", groups).repeats == 99
    with pytest.raises(PlanError, match="--engine onnx --quantize none"):
        find_profile("onnx", "none", groups)
    path.write_text("{}")
    with pytest.raises(PlanError, match="delete it and measure again"):
        find_profile("torch", "none", groups)


def test_prices_of_a_profile_can_price_a_model(shop: Workshop) -> None:
    speech = shop.student()
    rules = PlanRules(prices=measured(shop).seconds_per_unit)
    prices = {g.place: g.unit_price for g in replace(speech, rules=rules).groups()}
    assert prices == pytest.approx(expected())


def test_only_engines_that_run_are_profiled() -> None:
    check_profiled("ctranslate2", "int8")
    for engine, quantize, message in (
        ("hf", "none", "runs in torch"), ("tpu", "none", "is not an engine"),
        ("torch", "int8", "has no 'int8'"), ("onnx", "int3", "has no 'int3'"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            check_profiled(engine, quantize)
