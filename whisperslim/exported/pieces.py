"""Pieces of words as a CTC model writes them, as `tokenizer.json` has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from whisperslim.errors import CheckpointError, UsageError
from whisperslim.exported.spelling import TOKENIZER_FILE, Spelling, read_spelling
from whisperslim.text.scripts import LANGUAGES, SCRIPTS_OF, letters

# How a token says that there is a space before it: byte-level tokenizers, and SentencePiece's.
_SPACES = ("Ġ", "▁")


@dataclass(frozen=True, eq=False)
class PieceTable:
    """Pieces below the blank's id are text; the blank and what follows it is not.

    Attributes:
        spelling: The tokens.
        blank: Id of the blank.
    """

    spelling: Spelling
    blank: int

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; broken UTF-8 shown as the replacement mark."""
        return self.spelling.decode(ids).strip()

    def is_gap(self, token: int) -> bool:
        """Only what is no text: spaces are part of the pieces."""
        return token > self.blank

    def begins_word(self, token: int) -> bool:
        """Whether there is a space at its head."""
        return (self.spelling.token(token) or "").startswith(_SPACES)

    def check_language(self, language: str) -> None:
        """Raise `UsageError` when no letter can be spelled that the language is written with."""
        if language not in LANGUAGES:
            raise UsageError(f"{language!r} is not a language code; use a code such as hi")
        written = (each for each in letters([language]) if each.isalpha())
        spelled = self.spelling.joining.symbols
        if not any(self._symbols.issuperset(spelled(letter)) for letter in written):
            scripts = " or ".join(SCRIPTS_OF[language])
            raise UsageError(
                f"the model's pieces of words spell no letter of {scripts}, in which {language!r} "
                "is written; take a model of that language, or train one with `head: ctc`"
            )

    def vocabulary(self) -> Mapping[str, int]:
        """The pieces and the blank."""
        return {token: i for token, i in self.spelling.ids.items() if i <= self.blank}

    def texts(self) -> list[str]:
        """The pieces that stand for text, as the tokenizer spells them."""
        dropped = {*self.spelling.control, self.spelling.unknown}
        return [t for t, i in self.spelling.ids.items() if i < self.blank and i not in dropped]

    @cached_property
    def _symbols(self) -> frozenset[str]:
        """Every symbol is a piece, too: that is how both kinds of tokenizer are made."""
        return frozenset("".join(self.texts()))


def read_pieces(folder: Path, blank: int) -> PieceTable:
    """The pieces of a model folder. Raises `CheckpointError` when they cannot be read."""
    spelling = read_spelling(folder)
    if spelling.token(blank) is None:
        raise CheckpointError(
            f"{folder / TOKENIZER_FILE} has no token {blank}, which is the blank of the model: it "
            "belongs to another model; restore the model's own files"
        )
    return PieceTable(spelling, blank)
