"""What ids stand for, from `tokenizer.json` alone: nothing is encoded, so no tokenizer is needed.

Two ways of joining tokens to text are read, both as the `tokenizers` library has them: bytes that
are spelled in symbols (`ByteLevel`: GPT-2's way, and Whisper's), and words with a sign for the
space before them (`Metaspace`: SentencePiece's).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from whisperslim.errors import CheckpointError
from whisperslim.exported.symbols import byte_of_symbol, symbols_of

TOKENIZER_FILE = "tokenizer.json"
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Joining:
    """How tokens become text, and which symbols spell one.

    Attributes:
        text: Text of tokens.
        symbols: Text in the symbols that tokens are made of.
    """

    text: Callable[[Sequence[str]], str]
    symbols: Callable[[str], str]


@dataclass(frozen=True, eq=False)
class Spelling:
    """The tokens of a tokenizer.

    Attributes:
        ids: Token -> id, control tokens among them.
        control: Ids of the control tokens, which are no text.
        unknown: The token that stands for what cannot be spelled; None where there is none.
        joining: How tokens become text.
    """

    ids: Mapping[str, int]
    control: frozenset[int]
    unknown: int | None
    joining: Joining

    def token(self, identifier: int) -> str | None:
        """As the tokenizer spells it; None for an id that it has not."""
        return self._tokens.get(identifier)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; control tokens and unknown ids are dropped, broken UTF-8 is U+FFFD."""
        tokens = self._tokens
        return self.joining.text([tokens[i] for i in ids if i in tokens and i not in self.control])

    @cached_property
    def _tokens(self) -> dict[int, str]:
        return {identifier: token for token, identifier in self.ids.items()}


def read_spelling(folder: Path) -> Spelling:
    """The tokens of a model folder.

    Raises `CheckpointError` when `tokenizer.json` is missing or damaged, gives a token two ids or
    two tokens one id, or joins tokens in a way that is not read.
    """
    file = folder / TOKENIZER_FILE
    try:
        content = file.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    try:
        layout = json.loads(content)
        ids, control, unknown = _tokens(layout)
        decoder = _part(layout, "decoder", dict)
        kind = _part(decoder, "type", str)
        make = _JOININGS.get(kind)
        joining = make(decoder) if make else None
    # Brackets in brackets without end are a RecursionError.
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is damaged: {error}; copy the folder again") from error
    if joining is None:
        raise CheckpointError(
            f"{file} joins tokens by {kind!r}; accepted are {' and '.join(_JOININGS)}: take a "
            "model whose tokenizer is of one of these kinds"
        )
    return Spelling(ids, control, unknown, joining)


def _tokens(layout: Any) -> tuple[dict[str, int], frozenset[int], int | None]:
    """Every token's id, which are control tokens, and the unknown token's id."""
    model = _part(layout, "model", dict)
    listed = model.get("vocab")
    if isinstance(listed, list):  # pieces with their scores, in the order of their ids
        ids = {_first(each): number for number, each in enumerate(listed)}
        unknown = None if model.get("unk_id") is None else _part(model, "unk_id", int)
    else:
        ids = dict(_part(model, "vocab", dict))
        unknown = ids.get(str(model.get("unk_token")))
    control = set()
    for each in _part(layout, "added_tokens", list):
        token, number = _part(each, "content", str), _part(each, "id", int)
        if ids.setdefault(token, number) != number:
            raise ValueError(f"the token {token!r} has two ids")
        if each.get("special") is True:
            control.add(number)
    if any(type(number) is not int or number < 0 for number in ids.values()):
        raise ValueError("an id is not a number from 0 on")
    if len(set(ids.values())) < len(ids):
        raise ValueError("two tokens have one id")
    "".join(ids).encode()  # raises ValueError for half a surrogate pair, which is no character
    return ids, frozenset(control), unknown


def _first(piece: Any) -> str:
    if not (isinstance(piece, list) and piece and isinstance(piece[0], str)):
        raise ValueError("a piece of its vocabulary has no name")
    return piece[0]


def _part(layout: Any, name: str, kind: type[_Value]) -> _Value:
    found = layout.get(name) if isinstance(layout, dict) else None
    if not isinstance(found, kind):
        raise ValueError(f"{name} is missing, or not a {kind.__name__}")
    return found


def _byte_level(decoder: Mapping[str, Any]) -> Joining:
    return Joining(_of_bytes, symbols_of)


def _of_bytes(tokens: Sequence[str]) -> str:
    table = byte_of_symbol()
    raw = bytearray()
    for token in tokens:
        # One that has other symbols, an added one, stands for itself.
        spelled = all(symbol in table for symbol in token)
        raw += bytes(table[symbol] for symbol in token) if spelled else token.encode()
    return raw.decode("utf-8", "replace")


def _metaspace(decoder: Mapping[str, Any]) -> Joining:
    mark = _part(decoder, "replacement", str)
    # Files of before 2024 say `add_prefix_space`.
    scheme = decoder.get("prepend_scheme", "always")
    keeps_first = scheme == "never" or decoder.get("add_prefix_space") is False

    def text(tokens: Sequence[str]) -> str:
        first = "" if keeps_first else "".join(tokens[:1]).replace(mark, "")
        rest = tokens if keeps_first else tokens[1:]
        return first + "".join(rest).replace(mark, " ")

    return Joining(text, lambda text: text)


_JOININGS: dict[str, Callable[[Mapping[str, Any]], Joining]] = {
    "ByteLevel": _byte_level,
    "Metaspace": _metaspace,
}
