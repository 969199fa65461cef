"""Upload a Hugging Face export to the hub."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, HTTPError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id

from whisperslim.core.disk.untrusted import foreign_part
from whisperslim.engines.export.parity import read_verdict
from whisperslim.engines.export.record import ExportRecord, is_export, read_export
from whisperslim.errors import ExportError, UsageError

_HIDDEN = [".*", "**/.*"]


def check_push(folder: Path, repo_id: str) -> ExportRecord:
    """The record of what would be uploaded, after every check that needs no network.

    Raises:
        ExportError: the folder is not a Hugging Face export, is incomplete, or failed its check.
        UsageError: `repo_id` is not OWNER/NAME.
    """
    if not is_export(folder):
        raise ExportError(
            f"{folder} is not an export; make one with `whisperslim export MODEL --engine hf OUT`"
        )
    record = read_export(folder)
    if (other := foreign_part(folder)) is not None:
        raise ExportError(
            f"{other} is a link or not a file, and could expose other files; nothing is uploaded: "
            "replace it with the file itself, or export the model again"
        )
    if record.engine != "hf":
        raise ExportError(
            f"{folder} is an export for {record.engine}; only Hugging Face folders are uploaded: "
            "export the model with --engine hf"
        )
    if not read_verdict(folder).ok:
        raise ExportError(f"{folder} failed its check; export the model again")
    _check_name(repo_id)
    return record


def push(folder: Path, repo_id: str, *, private: bool = False, api: HfApi | None = None) -> str:
    """Make the repository if there is none, and upload the folder in one commit.

    Args:
        folder: A Hugging Face export.
        repo_id: OWNER/NAME.
        private: Of a repository made now; one that is there stays as it is.
        api: The hub; None is the usual one, with the user's log-in.

    Returns:
        The address of the repository.

    Raises:
        UsageError, ExportError: as `check_push`, or the hub cannot be reached or refuses.
    """
    record = check_push(folder, repo_id)
    hub = api or HfApi()
    try:
        made = hub.create_repo(repo_id, private=private, exist_ok=True)
        hub.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            ignore_patterns=_HIDDEN,
            commit_message=f"{record.source}, exported by WhisperSlim",
        )
    except LocalTokenNotFoundError as error:
        raise ExportError(
            "you are not logged in to the hub; run `hf auth login` and try again"
        ) from error
    except (HTTPError, OSError) as error:
        raise ExportError(
            f"{folder} could not be uploaded to {repo_id}: {_first_line(error)}. Check the network "
            "and `hf auth whoami`, and try again; the repository is unchanged"
        ) from error
    return str(made)


def _check_name(repo_id: str) -> None:
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UsageError(f"{repo_id!r} is not a valid name on the hub: {error}") from error
    if "/" not in repo_id:
        raise UsageError(f"{repo_id!r} names no owner; write OWNER/NAME")


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
