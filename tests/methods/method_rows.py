"""The methods that the contract tries: a new method is one row of `ROWS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import torch

from tests.support.tiny import D_MODEL, FFN, HEADS
from tests.support.tiny_job import TARGET
from whisperslim.core.loading import SpeechModel
from whisperslim.methods.any_depth.options import AnyDepthOptions
from whisperslim.methods.base import CompressionMethod, Target
from whisperslim.methods.l0.method import L0Distill
from whisperslim.methods.l0.options import L0Options
from whisperslim.methods.layer_drop.options import LayerDropOptions
from whisperslim.methods.low_rank.options import LowRankOptions
from whisperslim.methods.magnitude.options import (
    FisherOptions,
    IMPOptions,
    OneShotOptions,
    RandomOptions,
)
from whisperslim.methods.pinching.gates import unit_mean_squares
from whisperslim.methods.pinching.options import SelfPinchingOptions
from whisperslim.methods.plain import PlainOptions
from whisperslim.methods.sgl.options import SGLOptions
from whisperslim.methods.shared.units import unit_norms

# Four projections an attention, two matrices an FFN.
LAYER_WEIGHTS = {
    "encoder": 4 * D_MODEL**2 + 2 * D_MODEL * FFN,
    "decoder": 8 * D_MODEL**2 + 2 * D_MODEL * FFN,
}


def sum_of_norms(method: CompressionMethod, speech: SpeechModel) -> float:
    return sum(float(unit_norms(speech.model, group).sum()) for group in speech.groups())


def expected_open(method: CompressionMethod, speech: SpeechModel) -> float:
    """The share of units that L0 masks are expected to leave open."""
    return 1.0 - cast(L0Distill, method).expected_removed()


@dataclass(frozen=True, eq=False)
class Row:
    """One method as the contract tries it.

    Attributes:
        name: As registered.
        gentle: Options under which ten steps on the tiny model still learn.
        strong: Options under which ten steps must move `pressure`; None when nothing presses.
        pressure: Of the method and the student; must fall under `strong`.
        prunes: Whether its plan removes anything.
        label: Tells rows of one method apart.
        target: What the plan must meet.
        unit_of_plan: Most weights by which the plan may overshoot; 0: those of the largest unit.
        prices: What the removal is counted in, as `PlanRules` has it; None: weights.
        calibrates: Whether it needs clean clips before the first step.
        opened: Whether it acts on components, so that the model's linear layers are opened first.
    """

    name: str
    gentle: Any
    strong: Any = None
    pressure: Callable[[CompressionMethod, SpeechModel], float] = sum_of_norms
    prunes: bool = True
    label: str = ""
    target: Target = field(default=TARGET)
    unit_of_plan: int = 0
    prices: Mapping[str, float] | None = None
    calibrates: bool = False
    opened: bool = False


def sgl(**changes: Any) -> tuple[SGLOptions, SGLOptions]:
    """Gentle and strong options of one kind of Sparse Group LASSO."""
    strong = {"lambda_group_encoder": 10.0, "lambda_group_decoder": 10.0}
    return SGLOptions(**changes), SGLOptions(**{**changes, **strong})


def l0(**changes: Any) -> tuple[L0Options, L0Options]:
    """Gentle and strong options of one kind of L0 masks."""
    gentle = {"rate_factor": 3.0, **changes}
    strong = {"rate_factor": 100.0, "linear_rate": 100.0, "ramp": 0.2}
    return L0Options(**gentle), L0Options(**{**changes, **strong})


def open_units(method: CompressionMethod, speech: SpeechModel) -> float:
    """Mean share of units that their thresholds leave open."""
    return _share_above(method, speech, lambda *of: unit_mean_squares(*of).sqrt())


def minus_threshold(method: CompressionMethod, speech: SpeechModel) -> float:
    """The mean threshold, negative.

    Elements that have settled are zero, and settled units as many as the plan says: neither says
    what has pressed.
    """
    thresholds = method.gauges()["threshold"]
    return -sum(thresholds.values()) / len(thresholds)


def _share_above(
    method: CompressionMethod, speech: SpeechModel, sizes: Callable[..., torch.Tensor]
) -> float:
    thresholds = method.gauges()["threshold"]
    shares = [
        float((sizes(speech.model, group) >= thresholds[group.key]).float().mean())
        for group in speech.groups()
    ]
    return sum(shares) / len(shares)


def pinching(**changes: Any) -> tuple[SelfPinchingOptions, SelfPinchingOptions]:
    """Gentle and strong options of one kind of self-pinching gates."""
    gentle = {"threshold_rate": 5.0, "stiffness": 0.0, "multiplier_rate": 0.01, **changes}
    strong = {**gentle, "stiffness": 1e4, "penalty": 100.0}
    return SelfPinchingOptions(**gentle), SelfPinchingOptions(**strong)


# A weight of the encoder costs ten of the decoder, much as its operations do.
COSTLY_ENCODER = {
    "encoder.self_attn.heads": 10.0 * 4 * D_MODEL * (D_MODEL // HEADS),
    "encoder.ffn": 10.0 * 2 * D_MODEL,
    "decoder.self_attn.heads": 4.0 * D_MODEL * (D_MODEL // HEADS),
    "decoder.encoder_attn.heads": 4.0 * D_MODEL * (D_MODEL // HEADS),
    "decoder.ffn": 2.0 * D_MODEL,
}


ROWS = (
    Row("none", PlainOptions(), prunes=False),
    Row("sgl", *sgl()),
    Row("sgl", *sgl(importance="norm", weighting="uniform"), label="norm, uniform"),
    Row("sgl", *sgl(importance="norm", weighting="adaptive"), label="norm, adaptive"),
    Row("sgl", *sgl(grouping="paper"), label="paper grouping"),
    Row(
        "sgl",
        SGLOptions(
            form="squared", lambda_group_encoder=1e-3, lambda_group_decoder=1e-3,
            lambda_l1_encoder=1e-4, lambda_l1_decoder=1e-4,
        ),
        sgl(form="squared")[1],
        label="squared",
    ),
    Row("one_shot", OneShotOptions()),
    Row("one_shot", OneShotOptions(importance="fisher", compare="layer"), label="fisher, layer"),
    Row("one_shot", OneShotOptions(begin=0.5, compare="layer"), label="later, layer"),
    Row("fisher", FisherOptions()),
    Row("low_rank", LowRankOptions(), target=Target(removed=0.4, zeroed=0.0), opened=True),
    Row(
        "any_depth", AnyDepthOptions(fewest=1, whole_share=0.3),
        target=Target(removed=0.15, zeroed=0.05), unit_of_plan=LAYER_WEIGHTS["encoder"],
    ),
    Row("imp", IMPOptions()),
    Row("imp", IMPOptions(rounds=3, importance="fisher", settle=0.9), label="fisher"),
    Row("imp", IMPOptions(rounds=3), label="priced", prices=COSTLY_ENCODER),
    Row("random", RandomOptions()),
    Row("layer_drop", LayerDropOptions(), unit_of_plan=LAYER_WEIGHTS["decoder"]),
    Row(
        "layer_drop", LayerDropOptions(keep_encoder_layers=1), label="encoder",
        target=Target(removed=0.15, zeroed=0.05), unit_of_plan=LAYER_WEIGHTS["encoder"],
    ),
    Row("l0_distill", *l0(coarse_from=0), pressure=expected_open),
    Row("l0_distill", *l0(sublayers=False, layers=False), expected_open, label="units only"),
    Row(
        "l0_distill", *l0(sublayers=False, settle=0.5, coarse_from=0), expected_open,
        label="units and layers",
    ),
    Row("self_pinching", *pinching(), open_units),
    Row("self_pinching", *pinching(granularity="elements"), minus_threshold, label="elements"),
    Row("self_pinching", *pinching(granularity="both"), open_units, label="both"),
    Row(
        "self_pinching", *pinching(granularity="both"), open_units, label="both, priced",
        prices=COSTLY_ENCODER,
    ),
    Row("self_pinching", *pinching(control="penalty"), open_units, label="penalty"),
    Row("self_pinching", *pinching(importance="fisher"), minus_threshold, label="fisher"),
)  # fmt: skip

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name} {row.label}".strip())
