"""Pieces of words as the tokens of a CTC model: text to ids, too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from whisperslim.errors import CheckpointError
from whisperslim.exported.pieces import PieceTable, read_pieces
from whisperslim.exported.spelling import TOKENIZER_FILE


@dataclass(frozen=True)
class PieceTokens:
    """What a vocabulary has no piece for, unless it spells byte by byte, is left out of a text.

    Attributes:
        table: The pieces.
        tokenizer: Of the `tokenizers` library, to encode with.
        lead: What is put before a text, so that its first word is as any other.
    """

    table: PieceTable
    tokenizer: Tokenizer
    lead: str = ""

    @property
    def blank(self) -> int:
        """Id of the blank."""
        return self.table.blank

    def encode(self, text: str) -> list[int]:
        """Ids of the text alone."""
        spelled = f"{self.lead}{self._form(text.strip())}"
        ids = self.tokenizer.encode(spelled, add_special_tokens=False).ids
        unknown = self.table.spelling.unknown
        return [number for number in ids if number < self.blank and number != unknown]

    def decode(self, ids: Sequence[int]) -> str:
        """As the table does."""
        return self.table.decode(ids)

    def is_gap(self, token: int) -> bool:
        """As the table does."""
        return self.table.is_gap(token)

    def begins_word(self, token: int) -> bool:
        """As the table does."""
        return self.table.begins_word(token)

    def check_language(self, language: str) -> None:
        """As the table does."""
        self.table.check_language(language)

    def vocabulary(self) -> Mapping[str, int]:
        """The pieces and the blank."""
        return self.table.vocabulary()

    def _form(self, text: str) -> str:
        """Models made elsewhere may have one case alone."""
        has_lower, has_upper = self._cases
        if has_lower == has_upper:
            return text
        return text.lower() if has_lower else text.upper()

    @cached_property
    def _cases(self) -> tuple[bool, bool]:
        """Whether there are lower, and upper case letters."""
        text = "".join(self.table.texts())
        return any(c.islower() for c in text), any(c.isupper() for c in text)


def load_pieces(folder: Path, blank: int, lead: str = "") -> PieceTokens:
    """The pieces of a model folder. Raises `CheckpointError` when they cannot be read."""
    table, file = read_pieces(folder, blank), folder / TOKENIZER_FILE
    try:
        tokenizer = Tokenizer.from_file(str(file))
    # The library raises plain `Exception`, and nothing narrower, for whatever the file is not.
    except Exception as error:
        raise CheckpointError(f"{file} is damaged: {error}; copy the folder again") from error
    return PieceTokens(table, tokenizer, lead)
