"""Common Voice at the Mozilla Data Collective: `mdc:ID#SPLIT`, with a key in `MDC_API_KEY`.

The archive of a data set is compressed, so it is unpacked, once, and then deleted.
"""

import os
import re
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

from whisperslim.errors import DataError, UsageError
from whisperslim.machine.places import cache_root
from whisperslim.speech.corpus.parts import MOST_CLIP_BYTES
from whisperslim.speech.corpus.remote.http import HttpError, ask_json, fetch

MOZILLA = "mdc:"
KEY_VARIABLE = "MDC_API_KEY"
_URL_VARIABLE = "MDC_API_URL"
_URL = "https://mozilladatacollective.com/api"
_SITE = "https://mozilladatacollective.com/datasets"
_NAME = re.compile(rf"{MOZILLA}(?P<id>[A-Za-z0-9_-]{{1,64}})(?:#[\w-]{{1,100}})?", re.ASCII)
_MOST_FILES = 5_000_000  # of an archive; our choice
_MOST_TABLE_BYTES = 1 << 32  # of a file that is no recording


def is_mozilla(source: str) -> bool:
    """Whether a source names a data set there, correctly or not."""
    return source.startswith(MOZILLA)


def mozilla_id(source: str) -> str:
    """The id in `mdc:ID[#SPLIT]`. Raises `UsageError` for anything else."""
    found = _NAME.fullmatch(source)
    if not found:
        raise UsageError(
            f"{source!r}: write mdc:ID#SPLIT, with the id at the end of the data set's address at "
            "the Mozilla Data Collective"
        )
    return found["id"]


def mozilla_folder(source: str) -> Path:
    """The release folder of a data set, fetched and unpacked unless it is here.

    Raises `UsageError` for a malformed source, `DataError` without a key, or for what is refused,
    interrupted or damaged; what has come is kept.
    """
    name = mozilla_id(source)
    folder = cache_root() / "mdc" / name
    if not folder.is_dir():
        archive = _fetched(name, folder)
        _unpack(archive, folder)
        archive.unlink()
    found = sorted(path.parent for path in folder.glob("**/clips") if path.is_dir())
    if len(found) != 1:
        raise DataError(
            f"{source}: needs one Common Voice release folder, with clips/ in it, and has "
            f"{len(found)}; give the folder itself, it is in {folder}"
        )
    return found[0]


def _fetched(name: str, folder: Path) -> Path:
    key = os.environ.get(KEY_VARIABLE, "")
    if not key:
        raise DataError(
            f"mdc:{name}: needs a key; make one at the Mozilla Data Collective, set {KEY_VARIABLE} "
            f"to it, and accept the conditions on {_SITE}/{name}"
        )
    server = (os.environ.get(_URL_VARIABLE) or _URL).rstrip("/")
    try:
        plan = ask_json(f"{server}/datasets/{name}/download", key, "POST")
        address, size, checksum = _plan(plan, name)
        archive = folder.with_name(f"{name}-{checksum[:16] or size}.tar.gz")
        # The address is signed, and of another server: the key is not for it.
        fetch(address, archive, size, checksum or None)
    except HttpError as error:
        raise _explained(error, name) from error
    return archive


def _plan(plan: object, name: str) -> tuple[str, int, str]:
    """Address, bytes and SHA-256 ("" when none is stated) of an archive."""
    facts = plan if isinstance(plan, dict) else {}
    address, size = facts.get("downloadUrl"), facts.get("sizeBytes")
    checksum = str(facts.get("checksum") or "").removeprefix("sha256:").lower()
    if not isinstance(address, str) or not str(size).isdecimal():
        raise DataError(f"mdc:{name}: the answer says neither address nor size of the archive")
    if checksum and not re.fullmatch("[0-9a-f]{64}", checksum):
        checksum = ""  # of another kind, which is not said: the size is checked
    return address, int(str(size)), checksum


def _explained(error: HttpError, name: str) -> DataError:
    reasons = {
        401: f"the key in {KEY_VARIABLE} is not valid any more; make another",
        403: f"access is denied; accept the conditions on {_SITE}/{name} with the key's account",
        404: "there is no such data set; check the id, at the end of its address",
        410: "this data set was removed",
        429: "too many requests; try again later",
    }
    reason = reasons.get(error.status, f"{error}. Check the network and try again")
    return DataError(f"mdc:{name}: {reason}")


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack plain files only, none of them outside `folder`, which is there whole or not."""
    made = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=folder.parent))
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for count, info in enumerate(tar):
                tar.members.clear()  # type: ignore[attr-defined]  # it keeps all it has passed
                if count >= _MOST_FILES:
                    raise DataError(f"{archive}: holds over {_MOST_FILES:,} files")
                if not info.isdir():
                    _write(tar, info, made, archive)
        made.replace(folder)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        archive.unlink()
        raise DataError(f"{archive}: is damaged ({error}); try again to fetch it anew") from error
    except OSError as error:
        raise DataError(
            f"{made}: cannot be written ({error.strerror or error}); make room, or set "
            "WHISPERSLIM_CACHE to a folder on another disk"
        ) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write(tar: tarfile.TarFile, info: tarfile.TarInfo, made: Path, archive: Path) -> None:
    path = PurePosixPath(info.name)
    if not info.isreg() or info.issparse() or path.is_absolute() or ".." in path.parts:
        raise DataError(f"{archive}, {info.name!r}: is a link, or leads out of its folder")
    most = _MOST_TABLE_BYTES if path.suffix in (".tsv", ".txt", ".md", "") else MOST_CLIP_BYTES
    if info.size > most:
        raise DataError(f"{archive}, {info.name!r}: has over {most:,} bytes")
    target = made / path
    target.parent.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(info)
    if content is not None:
        with content, target.open("xb") as file:
            shutil.copyfileobj(content, file)
