"""What a folder holds that anybody may have filled: files within bounds, values of known kinds."""

import json
import os
import stat
from collections.abc import Container
from pathlib import Path
from typing import Any

_LARGEST_WHOLE = 2**53  # exact in JSON, in a browser and as a float
_LARGEST = 1e18


def read_plain(path: Path, most: int) -> bytes:
    """The contents of a file of at most `most` bytes.

    Raises `OSError` when it is missing, a link or not to be read, `ValueError` when it is longer or
    no file at all, such as a device without end.
    """
    # What is looked at is what is read: nothing can be put in its place in between. A pipe that
    # nobody writes to would wait for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{path} is no plain file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(most + 1)
    finally:
        os.close(descriptor)
    if len(content) > most:
        raise ValueError(f"{path} has over {most} bytes")
    return content


def json_of(content: bytes) -> Any:
    """The value of JSON in UTF-8. Raises `ValueError` for what is none, or is nested too deep."""
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def typed(value: Any, kind: Any) -> Any:
    """`value` when it is of `kind`, which is one of JSON's; a whole number is a float, too.

    Raises `ValueError` when it is not, and for what could not be worked with: whole numbers beyond
    2**53, others from 1e18 on, NaN, and text that is not Unicode.
    """
    if type(value) is int and abs(value) > _LARGEST_WHOLE:
        raise ValueError("a number is too large")
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ValueError(f"there is {type(value).__name__} where {kind.__name__} belongs")
    if kind is float and not abs(value) < _LARGEST:
        raise ValueError("a number is too large, or none")
    if kind is str:
        # JSON can hold half of a pair of UTF-16; no file and no page can. Raises ValueError.
        value.encode()
    return value


def typed_fields(kind: type, record: Any, but: Container[str] = ()) -> dict[str, Any]:
    """Field -> value of `record` for each field of a dataclass of JSON's kinds, `but` some.

    Raises as `typed` does, and `KeyError` for one that is missing.
    """
    kinds = {name: each for name, each in kind.__annotations__.items() if name not in but}
    return {name: typed(record[name], each) for name, each in kinds.items()}
