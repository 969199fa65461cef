"""Messages between us and the process that runs a foreign export, over two pipes.

One message: length of the header and of the payload (big-endian, 4 and 8 bytes), the header as
JSON, and the payload, the float32 values of one array whose shape the header has under `shape`.
Nothing in it is ever run or unpickled: whoever made the export may control the process.
"""

import json
import math
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from whisperslim.core.disk.untrusted import json_of, typed

_LENGTHS = struct.Struct(">IQ")
_FLOAT = np.dtype("<f4")
# Our choice; 30 s of sound are 1 MB of features, and of the widest model 8 MB of states.
MOST_HEADER, MOST_PAYLOAD = 1 << 20, 1 << 26

Message = dict[str, Any]


def send(stream: BinaryIO, message: Mapping[str, Any], array: np.ndarray | None = None) -> None:
    """Write one message. Raises `OSError` when the reader has gone."""
    header, payload = dict(message), b""
    if array is not None:
        header["shape"] = list(array.shape)
        payload = np.ascontiguousarray(array, _FLOAT).tobytes()
    text = json.dumps(header).encode()
    stream.write(_LENGTHS.pack(len(text), len(payload)) + text + payload)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[Message, np.ndarray | None]:
    """Read one message. Its array is writable, which some runtimes require.

    Raises:
        EOFError: the other side has ended.
        ValueError: it is longer than any of ours, or not one.
    """
    lengths = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    if lengths[0] > MOST_HEADER or lengths[1] > MOST_PAYLOAD:
        raise ValueError("a message is too long")
    header = typed(json_of(bytes(_exactly(stream, lengths[0]))), dict)
    payload = _exactly(stream, lengths[1])
    if "shape" not in header:
        return header, None
    shape = [typed(length, int) for length in typed(header["shape"], list)]
    if min(shape, default=1) < 0 or math.prod(shape) * _FLOAT.itemsize != len(payload):
        raise ValueError("an array is not of its shape")
    return header, np.frombuffer(payload, _FLOAT).reshape(shape)


def _exactly(stream: BinaryIO, count: int) -> bytearray:
    found = bytearray()
    while len(found) < count:
        more = stream.read(count - len(found))
        if not more:
            raise EOFError("the other side has ended")
        found += more
    return found
