"""ONNX Runtime Web: two files of its npm package, pinned by the package's hash."""

import hashlib
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from whisperslim.core.disk.files import renamed_into_place
from whisperslim.core.disk.storage import storage_errors
from whisperslim.errors import ExportError
from whisperslim.machine.offline import is_offline
from whisperslim.machine.places import cache_root

VERSION = "1.30.0"
SHA512 = (
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
)
ADDRESS = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
_MEMBERS = "package/dist"
_TIMEOUT_SECONDS, _CHUNK = 30, 1 << 20
_MOST_BYTES = 64_000_000  # of the package; it has 33 MB


def runtime_files(cache: Path | None = None) -> Path:
    """The folder that has `FILES`, fetched on first use.

    Raises `ExportError` when it is not here and cannot be fetched, or is another package.
    """
    folder = (cache or cache_root()) / "onnxruntime-web" / VERSION
    if all((folder / name).is_file() for name in FILES):
        return folder
    if is_offline():
        raise ExportError(
            f"ONNX Runtime Web is not on this machine, and offline mode is on. {_by_hand()}"
        )
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with renamed_into_place(folder) as place:
            archive = place / "package.tgz"
            _download(archive)
            _unpack(archive, place)
            archive.unlink()
    return folder


def _download(target: Path) -> None:
    digest, count = hashlib.sha512(), 0
    try:
        with (
            urllib.request.urlopen(ADDRESS, timeout=_TIMEOUT_SECONDS) as answer,
            target.open("wb") as file,
        ):
            while chunk := answer.read(_CHUNK):
                count += len(chunk)
                if count > _MOST_BYTES:
                    raise ExportError(f"{ADDRESS} is larger than the package that is wanted")
                digest.update(chunk)
                file.write(chunk)
    except (urllib.error.URLError, TimeoutError) as error:
        raise ExportError(f"{ADDRESS} cannot be fetched: {error}. {_by_hand()}") from error
    if digest.hexdigest() != SHA512:
        raise ExportError(f"{ADDRESS} is not the expected package: its hash differs")


def _unpack(archive: Path, place: Path) -> None:
    with tarfile.open(archive) as package:
        for name in FILES:
            member = package.extractfile(f"{_MEMBERS}/{name}")
            if member is None:
                raise ExportError(f"{ADDRESS} has no {name}")
            (place / name).write_bytes(member.read())


def _by_hand() -> str:
    place = cache_root() / "onnxruntime-web" / VERSION
    return (
        f"Run again with a network; or take the npm package onnxruntime-web {VERSION} and copy "
        f"{' and '.join(FILES)} from its folder dist to {place}"
    )
