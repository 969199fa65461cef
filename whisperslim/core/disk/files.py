"""Writing so that a reader sees the old thing or the new thing, never half of one."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_LEFTOVER = re.compile(r"\..+-[a-z0-9_]{8}")  # how tempfile ends the names it makes
_ASIDE = re.compile(r"\.old-(.+)-[a-z0-9_]{8}")


@contextmanager
def renamed_into_place(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` when the block succeeds, and is deleted otherwise.

    All is on the disk before it appears: a power cut leaves the old folder or the whole new one.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield temporary
        # mkdtemp gives 0700; what we publish is as readable as the folder it stands in.
        temporary.chmod(folder.parent.stat().st_mode & 0o777)
        # A rename may reach the disk before the data, which would leave files full of zeros.
        for path in (*temporary.rglob("*"), temporary):
            _flush(path)
        _replace(temporary, folder)
        _flush(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def remove_leftovers(folder: Path) -> list[Path]:
    """Clear away what a killed process left of writing whole files and folders, at any depth.

    A folder that was moved aside and not replaced is moved back. Only for a folder in which no
    other process works, which would lose what it is writing.

    Returns:
        The temporary files and folders that were there.
    """
    found = [path for path in folder.rglob(".*-*") if _LEFTOVER.fullmatch(path.name)]
    stale = [path for path in found if not path.is_symlink() and (path.is_dir() or path.is_file())]
    for path in stale:
        if path.is_file():
            path.unlink(missing_ok=True)
            continue
        aside = _ASIDE.fullmatch(path.name)
        if aside and (path / "old").is_dir() and not path.with_name(aside[1]).exists():
            (path / "old").rename(path.with_name(aside[1]))
        shutil.rmtree(path, ignore_errors=True)
    return stale


def remove_whole(folder: Path) -> None:
    """Delete a folder, so that no reader finds half of it. Raises `OSError`."""
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        folder.rename(aside / "old")
    finally:
        shutil.rmtree(aside)


def write_text_atomically(path: Path, text: str) -> None:
    """Write a file under a temporary name in the same folder, flush it to disk, rename it."""
    write_bytes_atomically(path, text.encode())


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """As `write_text_atomically`, of bytes."""
    with written_atomically(path) as file:
        file.write(content)


@contextmanager
def written_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, in place of `path` once the block ends; after an error `path` stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _flush(path: Path) -> None:
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # not every file system can do this to a folder
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _replace(temporary: Path, folder: Path) -> None:
    # A folder with contents cannot be renamed over; the old one is moved aside first.
    if folder.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".old-{folder.name}-", dir=folder.parent))
        folder.rename(aside / "old")
        temporary.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        temporary.rename(folder)
