"""A strict reader of CTranslate2's `model.bin`.

The layout is the one CTranslate2's own writer uses (`ctranslate2.specs.model_spec`), binary
version 6, all little-endian: version, specification name, its revision, then the variables and
then the aliases, each list led by its length. A text is its length with the closing zero byte,
then the bytes.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whisperslim.errors import CheckpointError

BINARY_VERSION = 6
SPECIFICATION = "WhisperSpec"
REVISION = 3
# By position in CTranslate2's DataType enum. NumPy has no bfloat16 (5).
_DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}


@dataclass(frozen=True)
class Ct2Model:
    """What a `model.bin` holds.

    Attributes:
        tensors: Variable name -> array, read-only, in the file's own precision.
        aliases: Name -> the variable it is another name for.
    """

    tensors: Mapping[str, np.ndarray]
    aliases: Mapping[str, str]


def read_model_bin(path: Path) -> Ct2Model:
    """Read a Whisper `model.bin`.

    Raises:
        CheckpointError: the file is missing, cut short, longer than it says, of another version,
            of another kind of model, or holds a value type that is not read here.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    cursor = _Cursor(path, data)
    _check_header(cursor)
    tensors = dict(_read_tensor(cursor) for _ in range(cursor.number("<I")))
    aliases = dict((cursor.text(), cursor.text()) for _ in range(cursor.number("<I")))
    cursor.expect_end()
    for alias, name in aliases.items():
        if name not in tensors:
            raise cursor.error(f"{alias} stands for {name}, which is not in the file")
    return Ct2Model(tensors, aliases)


class _Cursor:
    """A place in the bytes of a file; every read is checked against what is left."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._path = path
        self._data = memoryview(data)
        self._at = 0

    def error(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self._path} is not a usable Whisper model of CTranslate2: {what} (at byte "
            f"{self._at}); fetch it again, or convert it again with CTranslate2 4"
        )

    def take(self, size: int) -> memoryview:
        left = len(self._data) - self._at
        if size > left:
            raise self.error(f"it is cut short, {size} bytes are wanted and {left} are left")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def text(self) -> str:
        raw = bytes(self.take(self.number("<H")))
        if not raw.endswith(b"\0"):
            raise self.error("a name does not end with a zero byte")
        try:
            return raw[:-1].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error("a name is not text") from error

    def expect_end(self) -> None:
        left = len(self._data) - self._at
        if left:
            raise self.error(f"{left} bytes follow after the end")


def _check_header(cursor: _Cursor) -> None:
    version = cursor.number("<I")
    if version != BINARY_VERSION:
        raise cursor.error(f"binary version {version}, only {BINARY_VERSION} is read")
    name = cursor.text()
    if name != SPECIFICATION:
        raise cursor.error(f"specification {name!r}, only {SPECIFICATION!r} is read")
    revision = cursor.number("<I")
    if revision != REVISION:
        raise cursor.error(f"{name} revision {revision}, only {REVISION} is read")


def _read_tensor(cursor: _Cursor) -> tuple[str, np.ndarray]:
    name = cursor.text()
    shape = tuple(cursor.number("<I") for _ in range(cursor.number("<B")))
    code = cursor.number("<B")
    if code not in _DTYPES:
        raise cursor.error(f"{name} has value type {code}, read are {sorted(_DTYPES)}")
    dtype = np.dtype(_DTYPES[code])
    size, wanted = cursor.number("<I"), math.prod(shape) * dtype.itemsize
    if size != wanted:
        raise cursor.error(f"{name} of shape {shape} has {size} bytes instead of {wanted}")
    return name, np.frombuffer(cursor.take(size), dtype).reshape(shape)
