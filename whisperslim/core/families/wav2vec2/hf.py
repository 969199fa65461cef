"""wav2vec 2.0, HuBERT and Conformers as Hugging Face folders.

What was not cut is a stock model: transformers loads it without code of the folder. A cut one has
in `layer_units`, in its configuration, how many units of each kind every layer has.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from whisperslim.core.families.base import UnitGroup
from whisperslim.core.families.configuration import CONFIG_FILE, read_configuration
from whisperslim.core.families.factors import factored
from whisperslim.core.families.hf_remote import modeling_ctc_slim as remote
from whisperslim.core.families.hf_remote.form import (
    FEATURES_FILE,
    CardWords,
    HfSource,
    config_table,
    ranks_table,
)
from whisperslim.core.families.wav2vec2.model import (
    RATE,
    ConformerFamily,
    HubertFamily,
    Wav2Vec2Family,
)
from whisperslim.errors import CheckpointError

REMOTE_FILE = Path(remote.__file__)
_LISTS = "layer_units"
_USE = """A linear head scores the encoder's frames (CTC), and text is read off them greedily.
Cut recordings over 28 s where they are quiet."""
_REASON = "stock models cannot have layers of different widths"


class LayerForm:
    """Folders of a family whose layers `LayerUnits` knows, as `FramesForm` has them.

    Args:
        family: The family.
        kind: What people call it.
        tag: On the hub.
        cut: Class of cut models, in the modeling file.
    """

    tokenizer_class = "Wav2Vec2CTCTokenizer"

    def __init__(self, family: Any, kind: str, tag: str, cut: Any) -> None:
        self._family, self._kind, self._tag, self._cut = family, kind, tag, cut

    def words(self, language: str) -> CardWords:
        """Of the family."""
        return CardWords(self._kind, (self._tag,), _USE, _REASON)

    def check(self, model: PreTrainedModel) -> None:
        """Every shape is possible."""

    def code(self, source: HfSource) -> Path | None:
        """None for what was not cut."""
        return None if self._is_whole(source) else REMOTE_FILE

    def tables(self, source: HfSource) -> Mapping[str, Mapping[str, Any]]:
        """Settings of the model, and of what it is given of a recording."""
        whole, class_ = self._is_whole(source), self._family.classes()[1]
        own: dict[str, Any] = {"architectures": [class_.__name__]} if whole else self._own(source)
        return {
            CONFIG_FILE: config_table(source, self.tokenizer_class, **own),
            FEATURES_FILE: self.features(source.model),
        }

    def features(self, model: PreTrainedModel) -> dict[str, Any]:
        """Samples, normalized and with a mask where the model was trained so."""
        config: Any = model.config
        return {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "processor_class": "Wav2Vec2Processor",
            "feature_size": 1,
            "sampling_rate": RATE,
            "padding_side": "right",
            "padding_value": 0.0,
            "do_normalize": bool(config.do_normalize),
            "return_attention_mask": config.feat_extract_norm == "layer",
        }

    def described(self, folder: Path) -> tuple[Any, Any]:
        """Stock transformers' class, or of a cut model this package's own copy."""
        if _LISTS not in read_configuration(folder):
            return self._family.classes()[1], self._family.configuration(folder)
        config = self._family.configuration(folder, self._cut.config_class)
        self._check_units(folder, config.layer_units)
        return self._cut, config

    def states(self, model: PreTrainedModel, given: torch.Tensor) -> torch.Tensor:
        """What the family gives to the folder's encoder, and has of it."""
        found: torch.Tensor = self._family.encode(model, given)
        return found

    def scores(self, model: PreTrainedModel, given: torch.Tensor) -> torch.Tensor:
        """Of these states."""
        found: torch.Tensor = self._family.project(model, self.states(model, given))
        return found

    def _is_whole(self, source: HfSource) -> bool:
        before = self._family.unit_groups(self._family.skeleton_of(source.model))
        return _counts(before) == _counts(source.groups) and not factored(source.model)

    def _own(self, source: HfSource) -> dict[str, Any]:
        """What the configuration of a cut model has of its own."""
        counts, module = _counts(source.groups), REMOTE_FILE.stem
        layers = range(len(self._family.modules(source.model)))
        return {
            _LISTS: {
                part.key: [counts.get(f"encoder.{i}.{part.key}", 0) for i in layers]
                for part in self._family.parts(source.model)
            },
            **ranks_table(source.model),
            "model_type": self._cut.config_class.model_type,
            "architectures": [self._cut.__name__],
            "auto_map": {
                "AutoConfig": f"{module}.{self._cut.config_class.__name__}",
                "AutoModelForCTC": f"{module}.{self._cut.__name__}",
            },
        }

    def _check_units(self, folder: Path, found: Any) -> None:
        """Raise `CheckpointError` for other units than the model had, before any is made."""
        model = self._family.skeleton(folder)
        before = _counts(self._family.unit_groups(model))
        layers = range(len(self._family.modules(model)))
        most = {
            part.key: [before[f"encoder.{i}.{part.key}"] for i in layers]
            for part in self._family.parts(model)
        }
        if not _fits(found, most):
            raise CheckpointError(
                f"{folder / CONFIG_FILE} says {_LISTS} {str(found)[:100]}; accepted is for each of "
                f"{', '.join(most)} a list of {len(layers)} numbers of units, at most {most}: "
                "export the model again"
            )


def _fits(found: Any, most: Mapping[str, Sequence[int]]) -> bool:
    if not isinstance(found, dict) or found.keys() != most.keys():
        return False
    return all(
        isinstance(each, list)
        and len(each) == len(bounds)
        and all(type(n) is int and 0 <= n <= m for n, m in zip(each, bounds, strict=True))
        for each, bounds in ((found[kind], most[kind]) for kind in most)
    )


def _counts(groups: Sequence[UnitGroup]) -> dict[str, int]:
    return {group.key: group.count for group in groups}


WAV2VEC2 = LayerForm(Wav2Vec2Family(), "wav2vec 2.0", "wav2vec2", remote.Wav2Vec2SlimForCTC)
HUBERT = LayerForm(HubertFamily(), "HuBERT", "hubert", remote.HubertSlimForCTC)
CONFORMER = LayerForm(
    ConformerFamily(), "wav2vec 2.0 Conformer", "conformer", remote.Wav2Vec2ConformerSlimForCTC
)
