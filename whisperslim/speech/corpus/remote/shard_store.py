"""Files of data sets of the hub, fetched when a recording in them is asked for.

The folder they are in has a limit; those used longest ago go first.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from whisperslim.errors import DataError, UsageError
from whisperslim.machine.places import cache_root
from whisperslim.speech.corpus.remote.http import HttpError, fetch

LIMIT_VARIABLE = "WHISPERSLIM_SHARDS_GB"
_USUAL_LIMIT = "100"  # GB; our choice
_ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class HubShard:
    """A file of a data set at a commit.

    Attributes:
        repository: OWNER/NAME.
        commit: The full hash.
        file: Its path in the repository.
        size: In bytes.
        sha256: Of its bytes, in hex; "" when the hub does not say it.
    """

    repository: str
    commit: str
    file: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The same for the same bytes: a commit's files never change."""
        return f"hub {self.repository} {self.commit} {self.file}"

    @property
    def url(self) -> str:
        """Where it is fetched from."""
        place = f"{self.repository}/resolve/{self.commit}/{quote(self.file)}"
        return f"{endpoint()}/datasets/{place}"

    def local(self) -> Path:
        """Where it is on this disk, once it is fetched."""
        return root() / self.repository.replace("/", "--") / self.commit / self.file

    def fetched(self, announce: Callable[[str], None] = lambda message: None) -> Path:
        """The file, fetched unless it is here, which `announce` is called with.

        Raises `DataError`.
        """
        path = self.local()
        if not path.is_file():
            announce(
                f"{self.repository}: its files are fetched from the hub as their recordings are "
                f"heard, into {root()}; up to {limit() / 1e9:g} GB of them are kept"
            )
            make_room(self.size)
            try:
                fetch(self.url, path, self.size, self.sha256 or None, hub_token())
            except HttpError as error:
                raise explained(error, self.repository) from error
        with suppress(OSError):
            os.utime(path)  # used last
        return path


def root() -> Path:
    """Where files of the hub are kept; safe to delete."""
    return cache_root() / "hub"


def endpoint() -> str:
    """The hub's address: `$HF_ENDPOINT`, or Hugging Face's own."""
    return (os.environ.get("HF_ENDPOINT") or _ENDPOINT).rstrip("/")


def hub_token() -> str:
    """`$HF_TOKEN`, or the one that `hf auth login` has stored; "" for none."""
    from huggingface_hub import get_token

    return os.environ.get("HF_TOKEN") or get_token() or ""


def explained(error: HttpError, repository: str) -> DataError:
    """What the hub has refused, with what to do about it."""
    if error.status in (401, 403):
        has = "the token in HF_TOKEN may not read it" if hub_token() else "there is no token"
        return DataError(
            f"{repository}: is gated or private, and {has}. Accept its conditions on "
            f"{endpoint()}/datasets/{repository}, then set HF_TOKEN to a token of your account"
        )
    if error.status == 404:
        return DataError(
            f"{repository}: the hub has no such data set or revision, or it is private; check the "
            "name, or set HF_TOKEN to a token of your account"
        )
    return DataError(
        f"the hub did not give this data set ({error}). Check the network and try again: what is "
        "here already is kept"
    )


def limit() -> int:
    """Bytes the files may take: `$WHISPERSLIM_SHARDS_GB`, or 100 GB. Raises `UsageError`."""
    text = os.environ.get(LIMIT_VARIABLE) or _USUAL_LIMIT
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0.0 < found < 1e9:
        raise UsageError(f"{LIMIT_VARIABLE} is {text!r}: a number of GB, over 0, is accepted")
    return int(found * 1e9)


def make_room(size: int) -> None:
    """Delete files, those used longest ago first, until there is room for `size` bytes more."""
    found = []
    for path in root().glob("*/*/**/*.parquet"):
        with suppress(FileNotFoundError):  # another process has removed it
            facts = path.stat()
            found.append((facts.st_mtime, facts.st_size, path))
    left = sum(each[1] for each in found)
    for _, bytes_, path in sorted(found):
        if left + size <= limit():
            break
        path.unlink(missing_ok=True)
        left -= bytes_
