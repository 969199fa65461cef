"""Decoding held to the script of the language: which tokens may follow, byte for byte.

A token of byte-level BPE may hold part of a character, so what may come next depends on the bytes
of a character begun before. Allowed is what is, or can still become, text of the script's letters,
its marks and digits, ASCII digits, common punctuation and spaces. Everything is derived from the
vocabulary once, all tokens at a time; a step then is one row of a table. Our choice: Whisper writes
spoken Hindi in Urdu or Latin letters, too, where this leaves it no other than Devanagari.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from whisperslim.exported.symbols import bytes_of
from whisperslim.text.scripts import SCRIPTS_OF, letters

_OUT = -1  # no state: the text would leave the script
_START = 0  # the state between two characters
_JOINERS = "\u200c\u200d"  # Devanagari has them inside words


@dataclass(frozen=True)
class ScriptMask:
    """Which tokens may follow, by the state that those before have led to.

    States are the beginnings of characters: `_START` is between two. Arrays are for reading.

    Attributes:
        following: State after each token, `(states, vocabulary)` int16; -1: it may not follow.
        bias: To be added to logits, `(states, vocabulary)` float32: 0, or minus infinity.
    """

    following: np.ndarray
    bias: np.ndarray

    def after(self, ids: Iterable[int]) -> int:
        """The state after these tokens, from the start of a text; -1 when they leave the script."""
        state = _START
        for token in ids:
            state = int(self.following[state, token])
            if state == _OUT:
                return _OUT
        return state

    def step(self, state: int, token: int) -> int:
        """The state after one more token."""
        return int(self.following[state, token])

    def kept(self, ids: Sequence[int]) -> int:
        """How many of these tokens, from the first on, stay in the script."""
        state = _START
        for place, token in enumerate(ids):
            state = int(self.following[state, token])
            if state == _OUT:
                return place
        return len(ids)

    def forbidden(self, state: int) -> np.ndarray:
        """Tokens that may not follow, as ids."""
        return np.flatnonzero(self.following[state] == _OUT)

    def never(self) -> np.ndarray:
        """Tokens that may follow in no state, as ids."""
        return np.flatnonzero((self.following == _OUT).all(0))


def allowed_characters(language: str) -> frozenset[str]:
    """Characters of a language's own scripts, with digits, common punctuation and the space."""
    common = {chr(code) for code in (*range(0x20, 0x100), *range(0x2000, 0x2070),
                                     *range(0x20A0, 0x20D0))}  # fmt: skip
    kept = {each for each in common if unicodedata.category(each)[0] in "NPSZ"}
    return letters([language]) | kept | set(_JOINERS)


def script_mask(vocabulary: Mapping[str, int], end: int, size: int, language: str) -> ScriptMask:
    """The mask of a vocabulary.

    Args:
        vocabulary: Symbols of every token -> id. From `end` on they are control tokens.
        end: Id of the end token, which may only come between two characters.
        size: Logits of a step.
        language: Code, one of `scripts.SCRIPTS_OF`.

    Raises:
        CheckpointError: for a tokenizer that is not byte-level.
    """
    moves = _moves(character.encode() for character in allowed_characters(language))
    states, out = len(moves), len(moves)
    rows = _token_bytes(vocabulary, end)
    table = np.full((states + 1, 257), out, np.int16)
    table[:states, :256] = np.where(moves == _OUT, out, moves)
    table[:, 256] = np.arange(states + 1)  # after the last byte of a short token
    found = np.repeat(np.arange(states, dtype=np.int16)[:, None], len(rows), axis=1)
    for column in rows.T:
        found = table[found, column]
    following = np.full((states, size), _OUT, np.int16)
    following[:, : len(rows)] = np.where(found == out, _OUT, found)
    # A token of no bytes could be written forever.
    following[:, : len(rows)][:, rows[:, 0] == 256] = _OUT
    following[_START, end] = _START
    _close_dead_ends(following)
    return ScriptMask(following, np.where(following == _OUT, -np.inf, 0).astype(np.float32))


def _moves(characters: Iterable[bytes]) -> np.ndarray:
    """State after each byte, `(states, 256)` int16, for text made of these characters."""
    states: dict[bytes, int] = {b"": _START}
    moves: list[tuple[int, int, int]] = []
    for raw in sorted(set(characters)):
        for place in range(1, len(raw)):
            states.setdefault(raw[:place], len(states))
            moves.append((states[raw[: place - 1]], raw[place - 1], states[raw[:place]]))
        moves.append((states[raw[:-1]], raw[-1], _START))
    found = np.full((len(states), 256), _OUT, np.int16)
    for state, byte, then in moves:
        found[state, byte] = then
    return found


def _token_bytes(vocabulary: Mapping[str, int], end: int) -> np.ndarray:
    """Bytes of each text token, `(end, longest)` int16; 256 beyond its last."""
    raws = {i: bytes_of(symbols) for symbols, i in vocabulary.items() if i < end}
    longest = max((len(raw) for raw in raws.values()), default=1)
    rows = np.full((end, max(1, longest)), 256, np.int16)
    for i, raw in raws.items():
        rows[i, : len(raw)] = np.frombuffer(raw, np.uint8)
    return rows


def _close_dead_ends(following: np.ndarray) -> None:
    """Forbid what leads to a state that no token leads out of: a small vocabulary may lack one."""
    alive = np.zeros(len(following) + 1, bool)  # the last is for -1
    alive[_START] = True
    while True:
        now = alive.copy()
        now[:-1] |= alive[following].any(1)
        if (now == alive).all():
            break
        alive = now
    following[~alive[following]] = _OUT


_MASKS: WeakKeyDictionary[Any, dict[tuple[int, str], ScriptMask]] = WeakKeyDictionary()


def mask_for(
    tokenizer: Any, vocabulary: Mapping[str, int], end: int, size: int, language: str
) -> ScriptMask | None:
    """`script_mask`, made once for a tokenizer; None for a language of which no script is known."""
    if language not in SCRIPTS_OF:
        return None
    made = _MASKS.setdefault(tokenizer, {})
    if (size, language) not in made:
        made[size, language] = script_mask(vocabulary, end, size, language)
    return made[size, language]
