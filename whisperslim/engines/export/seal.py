"""Which exports this installation wrote itself: a seal over the record and every file beside it.

The seal is an HMAC-SHA256 with a key that only this user can read. An export that was copied from
another computer, changed or added to has no valid seal: it is foreign, and runs in a process of its
own.
"""

import hashlib
import hmac
import json
import os
import secrets
import stat
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from whisperslim.boxed import find_boxed
from whisperslim.core.disk.storage import file_sha256
from whisperslim.engines.export.record import EXPORT_FILE, PARITY_FILE, ExportRecord
from whisperslim.errors import ExportError
from whisperslim.machine.places import state_root

KEY_FILE = "export.key"
_KEY_BYTES = 32
# The record holds the seal, and the verdict is written after it; no runtime reads either.
_UNSEALED = {EXPORT_FILE, PARITY_FILE}


def sealed(record: ExportRecord, folder: Path) -> ExportRecord:
    """`record` with the hashes of all files in `folder`, and its seal.

    The key is made when there is none. Where it cannot be kept, there is no seal, and the export
    runs as a foreign one. Raises `OSError` when a file cannot be read.
    """
    hashes = {name: file_sha256(folder / name) for name in sorted(_files(folder))}
    whole = replace(record, sha256=hashes, seal="")
    try:
        key = _own_key() or _new_key()
    except OSError:  # no place of this user's own; said when the export is opened
        return whole
    return replace(whole, seal=_seal(whole, key))


def is_own(folder: Path, record: ExportRecord) -> bool:
    """Whether this installation wrote the export as it stands. Reads all of it if the seal fits."""
    key = _own_key()
    if key is None or not record.seal:
        return False
    try:
        fits = hmac.compare_digest(_seal(record, key).encode(), record.seal.encode())
    except RecursionError:  # settings nested deeper than anything we write
        return False
    if not fits:
        return False
    if _files(folder) != set(record.sha256):
        return False
    return all(file_sha256(folder / name) == wanted for name, wanted in record.sha256.items())


def is_boxed(folder: Path, record: ExportRecord) -> bool:
    """Whether the export is one that comes with the project, as it was when it was made.

    Raises `ExportError` for one at the path of such an export whose files differ.
    """
    boxed = find_boxed(str(folder))
    if boxed is None:
        return False
    hashes = {EXPORT_FILE: boxed.record_sha256, **record.sha256}
    changed = [name for name, wanted in hashes.items() if file_sha256(folder / name) != wanted]
    if changed:
        raise ExportError(
            f"{boxed.name} differs from the published model: {folder / changed[0]} was changed; "
            "take the folder from a checkout of the project again, or give the path of another copy"
        )
    return True


def _files(folder: Path) -> set[str]:
    """Everything in the folder that is not itself a folder, links to folders included."""
    found = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    return found - _UNSEALED


def _seal(record: ExportRecord, key: bytes) -> str:
    plain = {name: value for name, value in asdict(record).items() if name != "seal"}
    # As it is read again: keys that are numbers become text, and sort otherwise.
    read = json.loads(json.dumps(plain))
    text = json.dumps(read, sort_keys=True).encode()
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def _own_key() -> bytes | None:
    """The key; None when there is none, or others could have read it."""
    file = state_root() / KEY_FILE
    try:
        found = file.stat()
        key = file.read_bytes()
    except OSError:
        return None
    return key if _is_private(found) and len(key) == _KEY_BYTES else None


def _is_private(found: os.stat_result) -> bool:
    if not hasattr(os, "getuid"):  # Windows: who may read a user's folder is not in its mode
        return True
    return found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077


def _new_key() -> bytes:
    """Make the key in one step, since another process may read it at the same time.

    Of two made at once the later stays; what was sealed with the other counts as foreign.
    """
    file = state_root() / KEY_FILE
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = secrets.token_bytes(_KEY_BYTES)
    handle, name = tempfile.mkstemp(prefix=f".{KEY_FILE}-", dir=file.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as made:
            made.write(key)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return key
