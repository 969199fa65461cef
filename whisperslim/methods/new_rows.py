"""Training of new tokens alone, before the model they were put into is trained itself."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from whisperslim.core.families import UnitSite
from whisperslim.core.plan.plan import PruningPlan, Scores, keep_everything
from whisperslim.methods.base import CompressionMethod


class NewRows(CompressionMethod):
    """Trains some rows of the embedding and nothing else. Our choice, for rows that are a guess.

    Everything else is frozen, and the embedding's other rows get no gradient: with AdamW and no
    weight decay they stay as they are to the bit. The model is left frozen.

    Args:
        rows: Ids of the tokens that are trained.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        self._rows = tuple(rows)
        self._groups: tuple[UnitSite, ...] = ()
        self._handle: RemovableHandle | None = None

    def attach(self, model: nn.Module, groups: Sequence[UnitSite], total_steps: int) -> None:
        """Freeze all but those rows."""
        self._groups = tuple(groups)
        model.requires_grad_(False)
        weight = cast(Any, model).get_input_embeddings().weight
        weight.requires_grad_(True)
        trained = torch.zeros(len(weight), 1, device=weight.device)
        trained[list(self._rows)] = 1.0
        self._handle = weight.register_hook(lambda gradient: gradient * trained)

    def scores(self) -> Scores:
        """All units equally important."""
        return {group.key: torch.ones(group.count) for group in self._groups}

    def plan(self, evaluate: Callable[[PruningPlan], float] | None) -> PruningPlan:
        return keep_everything(self._groups)

    def detach(self) -> None:
        if self._handle is not None:
            self._handle.remove()
