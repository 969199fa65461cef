"""What a family says of its Hugging Face folder; who writes and opens one knows no family."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from transformers import PreTrainedModel

from whisperslim.core.families.base import UnitGroup
from whisperslim.core.families.factors import factored
from whisperslim.core.families.hearing import Tokens

FEATURES_FILE = "preprocessor_config.json"


@dataclass(frozen=True)
class HfSource:
    """A model to write.

    Attributes:
        model: Whole or cut.
        tokens: Its tokenizer.
        groups: Its units.
        dtype: Weights are stored in it.
        language: The one it was tuned for, or empty.
        folder: To write into; tokenizer files of the model's own folder are there.
    """

    model: PreTrainedModel
    tokens: Tokens
    groups: Sequence[UnitGroup]
    dtype: torch.dtype
    language: str
    folder: Path


@dataclass(frozen=True)
class CardWords:
    """What a model card says of models of one kind.

    Attributes:
        kind: As in "a `kind` model".
        tags: On the hub.
        use: Markdown behind the example.
        reason: Why a cut one needs code of its own.
        license: What is known of the license of such weights.
    """

    kind: str
    tags: tuple[str, ...]
    use: str
    reason: str
    license: str = ""


class HfForm(Protocol):
    """The folders of one family."""

    def words(self, language: str) -> CardWords:
        """For the card of a model tuned for a language, or for none."""
        ...

    def check(self, model: PreTrainedModel) -> None:
        """Raise `ExportError` for a model that transformers has no form of."""
        ...

    def code(self, source: HfSource) -> Path | None:
        """The modeling file that goes with the model; None: stock transformers loads it."""
        ...

    def tables(self, source: HfSource) -> Mapping[str, Mapping[str, Any]]:
        """Name -> contents of the JSON files that are not copied from the model's folder."""
        ...

    def described(self, folder: Path) -> tuple[Any, Any]:
        """Class and configuration of the model in a folder, which may come from anywhere.

        Raises:
            CheckpointError: the configuration is damaged, or has sizes that no such model has.
        """
        ...


class FramesForm(HfForm, Protocol):
    """The folders of a family that scores frames (CTC)."""

    def states(self, model: PreTrainedModel, given: torch.Tensor) -> torch.Tensor:
        """Encoder states of a batch of inputs, by the classes that the folder is loaded with."""
        ...

    def scores(self, model: PreTrainedModel, given: torch.Tensor) -> torch.Tensor:
        """Logits of the frames, likewise."""
        ...


def ranks_table(model: nn.Module) -> dict[str, dict[str, int]]:
    """`ranks` of `config.json`; nothing where no linear layer is stored as two matrices."""
    ranks = factored(model)
    return {"ranks": ranks} if ranks else {}


def config_table(source: HfSource, tokenizer_class: str, **own: object) -> dict[str, object]:
    """`config.json`: the model's configuration but for the name of its folder, and `own`."""
    config: Any = source.model.config
    raw = {key: value for key, value in config.to_dict().items() if key != "_name_or_path"}
    dtype = str(source.dtype).removeprefix("torch.")
    return {**raw, "tokenizer_class": tokenizer_class, "dtype": dtype, **own}
