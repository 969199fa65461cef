"""The form of messages between us and a foreign export's process."""

import io
import struct

import numpy as np
import pytest

from whisperslim.engines.foreign.messages import MOST_HEADER, MOST_PAYLOAD, receive, send


def sent(message: dict, array: np.ndarray | None = None) -> bytes:
    stream = io.BytesIO()
    send(stream, message, array)
    return stream.getvalue()


def test_what_is_sent_is_received() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3) / 7
    stream = io.BytesIO(sent({"text": "घर"}) + sent({"a": 1}, array.T) + sent({}, array[:0]))
    assert receive(stream) == ({"text": "घर"}, None)
    message, found = receive(stream)
    assert message["a"] == 1 and found is not None and np.array_equal(found, array.T)
    assert found.flags.writeable
    empty = receive(stream)[1]
    assert empty is not None and empty.shape == (0, 3)
    with pytest.raises(EOFError):
        receive(stream)


def test_its_bytes_are_lengths_then_json_then_little_endian_floats() -> None:
    text = b'{"shape": [1]}'
    wanted = struct.pack(">IQ", len(text), 4) + text + struct.pack("<f", 0.5)
    assert sent({}, np.array([0.5], np.float32)) == wanted


@pytest.mark.parametrize(
    "content",
    [
        struct.pack(">IQ", MOST_HEADER + 1, 0),
        struct.pack(">IQ", 2, MOST_PAYLOAD + 1) + b"{}",
        struct.pack(">IQ", 2, 0) + b"[]",
        struct.pack(">IQ", 14, 0) + b'{"shape": [1]}',
        struct.pack(">IQ", 17, 4) + b'{"shape": [-1,-1]' + bytes(4),
        struct.pack(">IQ", 3, 0) + b"\xff{}",
    ],
)
def test_what_is_no_message_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        receive(io.BytesIO(content))


def test_half_a_message_is_an_end() -> None:
    with pytest.raises(EOFError):
        receive(io.BytesIO(sent({"a": 1}, np.zeros(3, np.float32))[:-1]))
