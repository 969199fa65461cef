"""A newcomer's method: one options class, one class, one registration, one row, and no more."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.methods import test_contract
from tests.methods.method_rows import Row
from tests.support.tiny_job import Workshop
from whisperslim import methods
from whisperslim.core.families import UnitSite
from whisperslim.core.plan.plan import PruningPlan, Scores, plan_to_budget
from whisperslim.errors import RecipeError, UsageError
from whisperslim.fields import check, option
from whisperslim.jobs.recipe.recipe import dotted_specs, from_mapping, to_yaml
from whisperslim.methods.base import CompressionMethod, MethodEntry, Target
from whisperslim.methods.sgl.two_pass import with_zeros


@dataclass(frozen=True)
class ToyOptions:
    """Knobs of the toy."""

    favor: float = option(1.0, "How much later units count for.", minimum=0.0, maximum=9.0)

    def __post_init__(self) -> None:
        check(self)


class Toy(CompressionMethod):
    """Drops units in the order they stand."""

    def __init__(self, options: ToyOptions, target: Target) -> None:
        self._options, self._target = options, target
        self._model: nn.Module = nn.Identity()
        self._groups: tuple[UnitSite, ...] = ()

    def attach(self, model: nn.Module, groups: Sequence[UnitSite], total_steps: int) -> None:
        self._model, self._groups = model, tuple(groups)

    def scores(self) -> Scores:
        favor = self._options.favor
        return {g.key: favor * torch.arange(g.count) / g.count for g in self._groups}

    def plan(self, evaluate: Callable[[PruningPlan], float] | None) -> PruningPlan:
        plan = plan_to_budget(self.scores(), self._groups, self._target.removed)
        return with_zeros(self._model, self._groups, plan, self._target.zeroed)


ROW = Row("toy", ToyOptions())


@pytest.fixture
def toy() -> Iterator[None]:
    methods.register("toy", MethodEntry(ToyOptions, Toy, "drops units in the order they stand"))
    yield
    if "toy" in methods.names():
        methods.unregister("toy")


@pytest.fixture(scope="module")
def shared(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return test_contract.shared(shop, tmp_path_factory)


def promises() -> dict[str, Callable[..., None]]:
    """The contract's tests that take a row."""
    return {
        name: value
        for name, value in vars(test_contract).items()
        if name.startswith("test_") and "row" in inspect.signature(value).parameters
    }


def keep(name: str, **given: Any) -> None:
    """Run one of `promises`, with what of `given` it takes."""
    promise, given = promises()[name], {"attention": "sdpa", "stop": 1, **given}
    promise(**{key: given[key] for key in inspect.signature(promise).parameters})


@pytest.mark.parametrize("name", promises())
def test_the_toy_keeps_every_promise(
    name: str, toy: None, shop: Workshop, shared: dict[str, Any], tmp_path: Path
) -> None:
    keep(name, row=ROW, shop=shop, tmp_path=tmp_path, **shared)


def test_recipes_and_forms_know_the_toy_while_it_is_there(toy: None) -> None:
    assert dotted_specs("toy")["method.favor"].maximum == 9.0
    values = {"method": {"name": "toy", "favor": 2.0}, "data": {"train": ["a"]}}
    assert "favor: 2.0" in to_yaml(from_mapping(values))
    wrong = {"method": {"name": "toy", "favor": 10.0}, "data": {"train": ["a"]}}
    with pytest.raises(RecipeError, match=r"method\.favor"):
        from_mapping(wrong)

    methods.unregister("toy")
    with pytest.raises(UsageError, match=r"no method named .toy.; known: .*sgl"):
        methods.get("toy")
    with pytest.raises(RecipeError, match="no method named 'toy'"):
        from_mapping(values)
