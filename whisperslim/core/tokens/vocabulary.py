"""Which tokens of a Whisper tokenizer a language needs.

Whisper's 51,865 tokens serve a hundred languages; Hindi is written with 28 of them beside the
bytes, and its profile keeps 871. What stays for a profile of languages:

* all 256 bytes, so that every Unicode string can still be written;
* every token whose bytes may stand inside text of the languages' scripts, parts of characters
  included: such text is cut into the same pieces as before;
* of what all languages share, a small part: a space with one ASCII character, numbers of up to
  two digits, single punctuation marks, and the `LATIN_PIECES` most frequent pieces of two or more
  Latin letters. Our choice: 250 of 38,000 Latin pieces cost 0.13 M parameters on Whisper-base and
  write English in 2.7 tokens a word instead of 1.3; without them it takes 4.8, with 500 2.3;
* the control tokens, without timestamps and other languages;
* whatever the merges that make these tokens need.

Tokens are spelled in bytes: see `exported.symbols`.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from whisperslim.errors import CheckpointError, UsageError
from whisperslim.exported.symbols import bytes_of
from whisperslim.text.languages import languages_of
from whisperslim.text.languages import unknown as not_known
from whisperslim.text.scripts import LANGUAGES, letters

LATIN_PIECES = 250
_TIMESTAMP = re.compile(r"<\|\d+\.\d\d\|>")
_LANGUAGE = re.compile(r"<\|(\w+)\|>")
_END = "<|endoftext|>"
_DIGITS = 2
_LONGEST_CHARACTER = 4  # bytes of UTF-8

Merge = tuple[str, str]


@dataclass(frozen=True)
class TokenTable:
    """A tokenizer as plain tables.

    Attributes:
        text: Symbols of a text token -> id; see `byte_of_symbol`.
        control: Added token, such as `<|hi|>` -> id.
        merges: Pairs of text tokens, most frequent first.
        rows: Rows of the model's embedding. Ids without a token are timestamps: the tokenizer
            files of some published models leave those out.
    """

    text: Mapping[str, int]
    control: Mapping[str, int]
    merges: tuple[Merge, ...]
    rows: int

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages it has tokens of, sorted."""
        return languages_of(self.control)


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that stay, and what is new.

    Ids are renumbered: kept text tokens in their old order, then new ones, then control tokens in
    their old order, so that `<|endoftext|>` stays the first control token.

    Attributes:
        keep: Old ids that stay, ascending.
        languages: The profile they were chosen for.
        timestamps: Whether timestamps are among them.
        dense_size: Tokens there were.
        first_control: Old id of `<|endoftext|>`; lower ids are text.
        merges: Merges that go before the old ones.
        added: New tokens, in the order of their ids.
        pieces: For each new token, the old ids its text was written with.
    """

    keep: tuple[int, ...]
    languages: tuple[str, ...]
    timestamps: bool
    dense_size: int
    first_control: int
    merges: tuple[Merge, ...] = ()
    added: tuple[str, ...] = ()
    pieces: tuple[tuple[int, ...], ...] = ()

    @property
    def size(self) -> int:
        """Tokens there will be."""
        return len(self.keep) + len(self.added)

    @property
    def changes_nothing(self) -> bool:
        """Whether every token stays and none is new."""
        return self.size == self.dense_size == len(self.keep)

    @property
    def sources(self) -> tuple[tuple[int, ...], ...]:
        """New id -> the old ids it comes of: itself, or the pieces of a new token."""
        text = [(old,) for old in self.keep if old < self.first_control]
        control = [(old,) for old in self.keep if old >= self.first_control]
        return (*text, *self.pieces, *control)

    @property
    def new_ids(self) -> dict[int, int]:
        """Old id -> new id, of the tokens that stay."""
        # A new token has two pieces at least: with one it would be an old token.
        return {old[0]: new for new, old in enumerate(self.sources) if len(old) == 1}

    @property
    def added_ids(self) -> tuple[int, ...]:
        """New ids of the new tokens, in order."""
        return tuple(new for new, old in enumerate(self.sources) if len(old) > 1)

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def vocabulary_from_record(record: Mapping[str, Any]) -> Vocabulary:
    """The way back from `to_record`. Raises `CheckpointError` for anything else."""
    try:
        lists = {
            "keep": tuple(int(i) for i in record["keep"]),
            "languages": tuple(str(code) for code in record["languages"]),
            "merges": tuple((str(a), str(b)) for a, b in record["merges"]),
            "added": tuple(str(token) for token in record["added"]),
            "pieces": tuple(tuple(int(i) for i in ids) for ids in record["pieces"]),
        }
        return Vocabulary(**{**record, **lists})
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"no vocabulary record: {error}; trim the model again") from error


def table_from_layout(layout: Mapping[str, Any], rows: int) -> TokenTable:
    """The tables in the contents of a `tokenizer.json`; `rows` is the model's vocabulary size."""
    control = {entry["content"]: int(entry["id"]) for entry in layout["added_tokens"]}
    text = {k: int(i) for k, i in layout["model"]["vocab"].items() if k not in control}
    return TokenTable(text, control, tuple(map(_merge, layout["model"]["merges"])), rows)


def _merge(pair: Any) -> Merge:
    left, right = pair.split(" ") if isinstance(pair, str) else pair
    return left, right


def choose(table: TokenTable, languages: Sequence[str], timestamps: bool = False) -> Vocabulary:
    """The tokens `languages` need, all of them known to `table`.

    Raises:
        UsageError: no language, or one the tokenizer has no token of, or timestamps it lacks.
    """
    wanted = tuple(dict.fromkeys(languages))
    _check_known(table, wanted)
    symbols = _with_parts(table, {*_shared(table), *_written_in(table, wanted)})
    kept = {table.text[token] for token in symbols}
    kept |= {i for token, i in table.control.items() if _stays(token, wanted, timestamps)}
    if timestamps:
        kept |= _nameless(table)
    return Vocabulary(
        keep=tuple(sorted(kept)),
        languages=wanted,
        timestamps=timestamps,
        dense_size=table.rows,
        first_control=table.control[_END],
    )


def _check_known(table: TokenTable, languages: Sequence[str]) -> None:
    if not languages:
        raise UsageError("name at least one language to keep, as Whisper's code: hi")
    missing = [code for code in languages if code not in table.languages]
    if missing:
        raise UsageError(not_known(missing[0], table.languages))


def _stays(token: str, languages: Sequence[str], timestamps: bool) -> bool:
    if _TIMESTAMP.fullmatch(token):
        return timestamps
    match = _LANGUAGE.fullmatch(token)
    # Other control tokens look the same; only the table of languages separates them.
    return match is None or match[1] not in LANGUAGES or match[1] in languages


def _nameless(table: TokenTable) -> set[int]:
    named = {*table.text.values(), *table.control.values()}
    return set(range(table.rows)) - named


def _shared(table: TokenTable) -> set[str]:
    """What text of any language has: bytes, small numbers, marks, a few Latin pieces."""
    found, latin = set(), []
    for token in sorted(table.text, key=lambda name: table.text[name]):
        raw = bytes_of(token)
        if len(raw) == 1 or _is_basic(raw):
            found.add(token)
        elif raw.removeprefix(b" ").isalpha():
            latin.append(token)
    return found | set(latin[:LATIN_PIECES])


def _is_basic(raw: bytes) -> bool:
    """A small number or one character, after a space or not."""
    try:
        text = raw.decode().removeprefix(" ")
    except UnicodeDecodeError:
        return False
    if text.isascii():
        return len(text) == 1 or (text.isdigit() and len(text) <= _DIGITS)
    return len(text) == 1 and _is_common_mark(text)


def _is_common_mark(character: str) -> bool:
    # Latin-1, general punctuation, currency signs; other scripts' marks are in their blocks.
    code = ord(character)
    common = code < 0x100 or 0x2010 <= code <= 0x2027 or 0x20A0 <= code <= 0x20CF
    return common and unicodedata.category(character)[0] in "PS"


def _written_in(table: TokenTable, languages: Sequence[str]) -> set[str]:
    alphabet = letters(languages)
    starts, ends = _parts_of_characters(alphabet)
    return {token for token in table.text if _fits_inside(bytes_of(token), alphabet, starts, ends)}


def _parts_of_characters(alphabet: Iterable[str]) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Proper beginnings and endings of the characters' bytes, the empty one among both."""
    coded = [character.encode() for character in alphabet]
    starts = {raw[:n] for raw in coded for n in range(len(raw))}
    ends = {raw[n:] for raw in coded for n in range(1, len(raw) + 1)}
    return frozenset(starts), frozenset(ends)


def _fits_inside(
    raw: bytes, alphabet: frozenset[str], starts: frozenset[bytes], ends: frozenset[bytes]
) -> bool:
    """Whether `raw`, a leading space aside, occurs in the UTF-8 of some text of `alphabet`."""
    body = raw.removeprefix(b" ")
    for head in range(min(_LONGEST_CHARACTER, len(body) + 1)):
        if body[:head] not in ends:
            continue
        for tail in range(min(_LONGEST_CHARACTER, len(body) - head + 1)):
            middle, rest = body[head : len(body) - tail], body[len(body) - tail :]
            if rest in starts and _all_in(middle, alphabet):
                return bool(body)
    return False


def _all_in(raw: bytes, alphabet: frozenset[str]) -> bool:
    try:
        return all(character in alphabet for character in raw.decode())
    except UnicodeDecodeError:
        return False


def _with_parts(table: TokenTable, wanted: set[str]) -> set[str]:
    """`wanted`, and the tokens its merges start from, down to bytes."""
    made_of: dict[str, Merge] = {}
    for left, right in table.merges:
        made_of.setdefault(left + right, (left, right))
    found, left_to_see = set(), list(wanted)
    while left_to_see:
        token = left_to_see.pop()
        if token not in found:
            found.add(token)
            left_to_see.extend(made_of.get(token, ()))
    return found
