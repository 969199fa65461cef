"""The model of a Hugging Face export, its configuration read within bounds and running no code."""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from whisperslim.core.families.configuration import CONFIG_FILE, read_configuration
from whisperslim.core.families.whisper.folder import check_config
from whisperslim.errors import ExportError


def load_strictly(model_class: Any, folder: Path) -> Any:
    """A model of `model_class` from `folder`, in float32 and evaluation mode.

    Raises:
        ExportError: weights and configuration do not fit.
        CheckpointError: the configuration is damaged, or has sizes that no Whisper has.
    """
    try:
        config = model_class.config_class(**read_configuration(folder))
        check_config(config, folder / CONFIG_FILE)
        model = model_class.from_pretrained(
            folder, config=config, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
    except (
        OSError, ValueError, TypeError, AttributeError, RuntimeError, SafetensorError,
        StrictDataclassError,
    ) as error:  # fmt: skip
        raise ExportError(f"{folder} cannot be loaded: {error}; export the model again") from error
    return model.eval()
