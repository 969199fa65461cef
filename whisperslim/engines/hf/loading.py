"""The model of a Hugging Face export, its configuration read within bounds and running no code."""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from whisperslim.core.families.hf_remote.form import HfForm
from whisperslim.errors import ExportError

_UNFIT = ("missing_keys", "unexpected_keys", "mismatched_keys")


def load_strictly(form: HfForm, folder: Path) -> Any:
    """The model in `folder`, in float32 and evaluation mode.

    Raises:
        ExportError: weights and configuration do not fit.
        CheckpointError: the configuration is damaged, or has sizes that no such model has.
    """
    try:
        model_class, config = form.described(folder)
        model, report = model_class.from_pretrained(
            folder, config=config, dtype=torch.float32, local_files_only=True,
            use_safetensors=True, output_loading_info=True,
        )  # fmt: skip
        unfit = [f"{what}: {sorted(report[what])[:3]}" for what in _UNFIT if report.get(what)]
        if unfit:
            raise ValueError(f"the weights do not fit the model, {'; '.join(unfit)}")
    except (
        OSError, ValueError, TypeError, AttributeError, RuntimeError, SafetensorError,
        StrictDataclassError,
    ) as error:  # fmt: skip
        raise ExportError(f"{folder} cannot be loaded: {error}; export the model again") from error
    return model.eval()
