"""How a byte-level tokenizer spells bytes: one printable character for each of the 256.

GPT-2's way, which Whisper has too: printable bytes stand for themselves, the others
for the characters from U+0100 on, in order.
"""

from functools import cache

from whisperslim.errors import CheckpointError

_PRINTABLE = (range(0x21, 0x7F), range(0xA1, 0xAD), range(0xAE, 0x100))


@cache
def byte_of_symbol() -> dict[str, int]:
    """Symbol -> byte."""
    shown = [byte for part in _PRINTABLE for byte in part]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    named = {chr(byte): byte for byte in shown}
    return named | {chr(0x100 + place): byte for place, byte in enumerate(hidden)}


@cache
def symbol_of_byte() -> dict[int, str]:
    """Byte -> symbol."""
    return {byte: symbol for symbol, byte in byte_of_symbol().items()}


def symbols_of(text: str) -> str:
    """Text as a byte-level tokenizer spells it."""
    spelling = symbol_of_byte()
    return "".join(spelling[byte] for byte in text.encode())


def bytes_of(token: str) -> bytes:
    """The bytes a text token stands for. Raises `CheckpointError` for another kind of tokenizer."""
    table = byte_of_symbol()
    try:
        return bytes(table[symbol] for symbol in token)
    except KeyError as error:
        raise CheckpointError(
            f"the token {token!r} is not spelled in bytes: this needs Whisper's kind of tokenizer"
        ) from error
