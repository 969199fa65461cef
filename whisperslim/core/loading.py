"""A model by name, ready to run: weights, tokens, family."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel

from whisperslim.core.families import Family, UnitSite, family_of
from whisperslim.core.families.configuration import left_out
from whisperslim.core.families.hearing import Tokens
from whisperslim.core.fetch.sources import ResolvedModel, resolve
from whisperslim.core.plan.rules import PlanRules
from whisperslim.core.store.checkpoint import load_dense, load_slim
from whisperslim.errors import CheckpointError, DeviceError
from whisperslim.exported.search import Search
from whisperslim.inputs import InputSpec


@dataclass(frozen=True)
class SpeechModel:
    """A loaded model and all that is needed to use it.

    `info` says where the weights came from, `rules` what a plan for it must respect.
    """

    name: str
    path: Path
    model: PreTrainedModel
    tokens: Tokens
    family: Family
    info: ResolvedModel
    rules: PlanRules = field(default_factory=PlanRules)

    @property
    def input_spec(self) -> InputSpec:
        """What the model is given of a recording."""
        return self.family.input_spec(self.model)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def in_own_script(self) -> "SpeechModel":
        """The same model, its texts held to the script of their language where it can do that."""
        return replace(self, family=self.family.in_own_script())

    def searching(self, search: Search) -> "SpeechModel":
        """The same model, which looks for the likeliest text. Raises `UsageError` if it cannot."""
        return replace(self, family=self.family.searching(search))

    def groups(self) -> tuple[UnitSite, ...]:
        """Its removable units, limited and priced by its rules."""
        return self.rules.applied(self.family.unit_groups(self.model))


def load_model(
    name: str,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    announce: Callable[[str], None] = lambda message: None,
    offline: bool = False,
) -> SpeechModel:
    """Resolve, load strictly and move to `device`. The model is in evaluation mode.

    Raises:
        SourceError, CheckpointError: when the name or the folder is no usable model.
        DeviceError: when the device is not there.
    """
    check_device(device)
    info = resolve(name, announce=announce, offline=offline)
    if ignored := left_out(info.path):
        announce(
            f"{name}: its config.json asks for {', '.join(ignored[:5])}, which this package "
            "ignores: a model is data here, and loads no code"
        )
    load = load_slim if info.kind == "slim" else load_dense
    model = load(info.path, dtype)
    torch.nn.Module.to(model, device)
    family = family_of(model)
    tokens = family.load_tokens(info.path)
    check_tokens(tokens, int(model.config.vocab_size), info.path)
    return SpeechModel(name, info.path, model, tokens, family, info)


def check_tokens(tokens: Tokens, rows: int, folder: Path) -> None:
    """Raise `CheckpointError` when the tokenizer writes ids that a model of `rows` has not."""
    highest = max(tokens.vocabulary().values())
    if highest >= rows:
        raise CheckpointError(
            f"the tokenizer in {folder} writes ids up to {highest} and the model has {rows} "
            "tokens: it belongs to another model; restore the model's own files, or export it again"
        )


def check_device(device: str) -> None:
    """Raise `DeviceError` for a device this machine does not have."""
    if device not in ("cpu", "cuda"):
        raise DeviceError(f"unknown device {device!r}; use cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("no CUDA device is available here; use device cpu")
