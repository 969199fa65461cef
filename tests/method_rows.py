"""The methods that the contract tries: a new method is one row of `ROWS`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.tiny_job import (
    TARGET,
)
from whisperslim.core.loading import SpeechModel
from whisperslim.methods.base import CompressionMethod, Target
from whisperslim.methods.plain import PlainOptions
from whisperslim.methods.sgl_options import SGLOptions
from whisperslim.methods.unit_norms import unit_norms


def sum_of_norms(method: CompressionMethod, speech: SpeechModel) -> float:
    return sum(float(unit_norms(speech.model, group).sum()) for group in speech.groups())


@dataclass(frozen=True)
class Row:
    """One method as the contract tries it.

    Attributes:
        name: As registered.
        gentle: Options under which ten steps on the tiny model still learn.
        strong: Options under which ten steps must move `pressure`; None when nothing presses.
        pressure: Of the method and the student; must fall under `strong`.
        prunes: Whether its plan removes anything.
        label: Tells rows of one method apart.
    """

    name: str
    gentle: Any
    strong: Any = None
    pressure: Callable[[CompressionMethod, SpeechModel], float] = sum_of_norms
    prunes: bool = True
    label: str = ""
    target: Target = field(default=TARGET)


def sgl(**changes: Any) -> tuple[SGLOptions, SGLOptions]:
    """Gentle and strong options of one kind of Sparse Group LASSO."""
    strong = {"lambda_group_encoder": 10.0, "lambda_group_decoder": 10.0}
    return SGLOptions(**changes), SGLOptions(**{**changes, **strong})


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
)  # fmt: skip

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name} {row.label}".strip())
