"""Whisper weights from the Hugging Face hub, or from the hub library's own cache."""

import io
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError
from tqdm.auto import tqdm

from whisperslim.core.wheels import Report

# Named one by one: no pickles, and none of the same weights in a second format or precision.
_WANTED = [
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "normalizer.json", "model.safetensors",
]  # fmt: skip
_TIMEOUT_SECONDS = 4.0


class HubUnavailable(Exception):  # noqa: N818 - a state of the world, the caller goes on
    """The hub did not give the model; the message is the reason."""


def find_in_hub_cache(model: str) -> Path | None:
    """The snapshot folder the hub library already has, if its weights are safetensors."""
    try:
        found = Path(
            snapshot_download(model, local_files_only=True, allow_patterns=list(_WANTED))
        )
    except LocalEntryNotFoundError:
        return None
    complete = (found / "config.json").is_file() and (found / "model.safetensors").is_file()
    return found if complete else None


def fetch_from_hub(model: str, folder: Path, report: Report) -> str:
    """Download `model` into `folder`, which must exist. Returns the commit it was.

    Raises:
        HubUnavailable: no connection within seconds, no such model, or no access to it.
        OSError: the disk is full or not writable.
    """
    try:
        # Asked first because it takes a time limit; the download itself does not.
        info = HfApi().model_info(model, timeout=_TIMEOUT_SECONDS)
        if "model.safetensors" not in {file.rfilename for file in info.siblings or ()}:
            raise HubUnavailable("it has no model.safetensors; pickled weights are not read")
        snapshot_download(
            model,
            revision=info.sha,
            local_dir=folder,
            allow_patterns=list(_WANTED),
            etag_timeout=_TIMEOUT_SECONDS,
            tqdm_class=_reporting_bar(report),
        )
    except (HTTPError, LocalEntryNotFoundError) as error:
        raise HubUnavailable(_first_line(error)) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the hub library's own notes
    return str(info.sha)


def _reporting_bar(report: Report) -> Any:
    """A progress bar class that draws nothing and reports bytes instead."""

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            # The hub library names its bars, which plain tqdm does not know.
            options.pop("name", None)
            super().__init__(*args, **{**options, "file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> bool | None:
            drawn: bool | None = super().update(n)
            if self.unit == "B" and self.total:
                report("downloading", int(self.n), int(self.total))
            return drawn

    return Bar


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
