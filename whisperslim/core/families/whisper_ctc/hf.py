"""A Whisper with a CTC head as a Hugging Face folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from whisperslim.core.families.configuration import CONFIG_FILE
from whisperslim.core.families.hf_remote import modeling_whisper_slim as remote
from whisperslim.core.families.hf_remote.form import (
    FEATURES_FILE,
    CardWords,
    HfSource,
    config_table,
    ranks_table,
)
from whisperslim.core.families.whisper.hf import (
    LICENSE,
    REASON,
    REMOTE_FILE,
    WINDOW,
    checked,
    encode_as_stored,
    features_table,
    head_widths,
)
from whisperslim.core.families.whisper_ctc.architecture import LETTERS
from whisperslim.core.families.whisper_ctc.model import as_whisper_ctc
from whisperslim.errors import ExportError

MODEL_TYPE, MODEL_CLASS = "whisper_slim_ctc", "WhisperSlimForCTC"
CONFIG_CLASS = "WhisperSlimCTCConfig"
_FRAMES = """It has no decoder: a linear head scores the encoder's frames (CTC), and text is read
off them greedily, letter by letter. Cut recordings over 28 s where they are quiet."""


class WhisperCTCForm:
    """Folders of the family, as `FramesForm` has them."""

    def words(self, language: str) -> CardWords:
        """Of Whisper's encoder."""
        return CardWords("Whisper", ("whisper",), f"{_FRAMES}\n\n{WINDOW}", REASON, LICENSE)

    def check(self, model: PreTrainedModel) -> None:
        """Raise `ExportError` for a head over pieces of words."""
        if as_whisper_ctc(model).config.writes != LETTERS:
            raise ExportError(
                "transformers has no tokenizer that reads pieces of words off frames, as this "
                "model writes them; train a head with head.writes letters, or export it for onnx"
            )

    def code(self, source: HfSource) -> Path:
        """Always."""
        return REMOTE_FILE

    def tables(self, source: HfSource) -> Mapping[str, Mapping[str, Any]]:
        """Settings of the model and of its features."""
        return {CONFIG_FILE: ctc_table(source), FEATURES_FILE: features_table(source.model)}

    def described(self, folder: Path) -> tuple[Any, Any]:
        """By this package's own copy of the modeling file."""
        return remote.WhisperSlimForCTC, checked(remote.WhisperSlimCTCConfig, folder)

    def states(self, model: PreTrainedModel, given: torch.Tensor) -> torch.Tensor:
        """As the encoder's own forward pass has them."""
        return encode_as_stored(model, given)

    def scores(self, model: PreTrainedModel, given: torch.Tensor) -> torch.Tensor:
        """As the model's own forward pass has them."""
        logits: torch.Tensor = model(given).logits
        return logits


def ctc_table(source: HfSource) -> dict[str, Any]:
    """`config.json`."""
    config: Any = source.model.config
    counts = {group.key: group.count for group in source.groups}
    layers, module = range(config.encoder_layers), REMOTE_FILE.stem
    return config_table(
        source,
        "Wav2Vec2CTCTokenizer",
        encoder_heads=[counts.get(f"encoder.{i}.self_attn.heads", 0) for i in layers],
        encoder_ffn=[counts.get(f"encoder.{i}.ffn", 0) for i in layers],
        **head_widths(config, source.groups, {("encoder", "self_attn.heads"): "encoder_heads"}),
        **ranks_table(source.model),
        model_type=MODEL_TYPE,
        architectures=[MODEL_CLASS],
        auto_map={
            "AutoConfig": f"{module}.{CONFIG_CLASS}",
            "AutoModelForCTC": f"{module}.{MODEL_CLASS}",
        },
    )
