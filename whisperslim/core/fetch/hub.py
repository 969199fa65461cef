"""Whisper weights from the Hugging Face hub, or from the hub library's own cache."""

import io
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelInfo, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling
from tqdm import tqdm

from whisperslim.core.disk.storage import Report, check_sha256, require_space
from whisperslim.core.disk.weight_files import INDEX, SHARD, WEIGHTS, weight_files
from whisperslim.errors import SourceError

# Named one by one: no pickles, and none of the same weights in a second format or precision.
_WANTED = [
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "normalizer.json",
]  # fmt: skip
_TIMEOUT_SECONDS = 4.0


def find_in_hub_cache(model: str) -> Path | None:
    """The snapshot folder the hub library already has, if its weights are safetensors.

    Raises `SourceError` when they are in several files and their index is none.
    """
    wanted = [*_WANTED, WEIGHTS]
    try:
        found = Path(snapshot_download(model, local_files_only=True, allow_patterns=wanted))
    except LocalEntryNotFoundError:
        return None
    files = (found / "config.json", *weight_files(found))
    return found if all(file.is_file() for file in files) else None


def fetch_from_hub(model: str, folder: Path, report: Report) -> str:
    """Download `model` into `folder`, which must exist. Returns the commit it was.

    Raises:
        SourceError: no connection within seconds, no such model, no access to it, no room for it,
            or a checksum that is not the one the hub names.
        OSError: the disk is full or not writable.
    """
    try:
        # Asked first because it takes a time limit; the download itself does not.
        info = HfApi().model_info(model, timeout=_TIMEOUT_SECONDS, files_metadata=True)
        weights = _find_weights(info, folder)
        snapshot_download(
            model,
            revision=info.sha,
            local_dir=folder,
            allow_patterns=[*_WANTED, *(file.rfilename for file in weights)],
            etag_timeout=_TIMEOUT_SECONDS,
            tqdm_class=_reporting_bar(report),
        )
    except GatedRepoError as error:
        raise SourceError(
            f"{model} is gated; accept its conditions on its page, then run `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise SourceError(
            f"it has no model {model}, or a private one: then run `hf auth login`"
        ) from error
    except (HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise SourceError(_first_line(error)) from error
    for file in weights:
        if file.lfs is not None:
            check_sha256(folder / file.rfilename, file.lfs.sha256, report)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the hub library's own notes
    return str(info.sha)


def _find_weights(info: ModelInfo, folder: Path) -> list[RepoSibling]:
    """The weights in one file; else their shards and the index of these."""
    files = {file.rfilename: file for file in info.siblings or ()}
    names = [name for name in files if name == INDEX or SHARD.fullmatch(name)]
    if WEIGHTS in files:
        names = [WEIGHTS]
    elif INDEX not in files:
        raise SourceError(f"there is no {WEIGHTS}; pickled weights are not read")
    require_space(folder, sum(files[name].size or 0 for name in (*_WANTED, *names)
                              if name in files))  # fmt: skip
    return [files[name] for name in names]


def _reporting_bar(report: Report) -> Any:
    """A progress bar class that draws nothing and reports bytes instead."""

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> bool | None:
            drawn = super().update(n)
            if self.unit == "B" and self.total:
                report("downloading", int(self.n), int(self.total))
            return drawn

    return Bar


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
