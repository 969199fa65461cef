"""Pieces of words as the tokens of a CTC model: text to ids, too."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from whisperslim.core.tokens.table import ByTable, cases, in_cases
from whisperslim.errors import CheckpointError
from whisperslim.exported.pieces import PieceTable, read_pieces
from whisperslim.exported.spelling import TOKENIZER_FILE


@dataclass(frozen=True)
class PieceTokens(ByTable[PieceTable]):
    """What a vocabulary has no piece for, unless it spells byte by byte, is left out of a text.

    Attributes:
        table: The pieces.
        tokenizer: Of the `tokenizers` library, to encode with.
        lead: What is put before a text, so that its first word is as any other.
    """

    tokenizer: Tokenizer
    lead: str = ""

    def encode(self, text: str) -> list[int]:
        """Ids of the text alone."""
        spelled = f"{self.lead}{in_cases(text.strip(), self._cases)}"
        ids = self.tokenizer.encode(spelled, add_special_tokens=False).ids
        unknown = self.table.spelling.unknown
        return [number for number in ids if number < self.blank and number != unknown]

    def check_language(self, language: str) -> None:
        """As the table does."""
        self.table.check_language(language)

    def vocabulary(self) -> Mapping[str, int]:
        """The pieces and the blank."""
        return self.table.vocabulary()

    @cached_property
    def _cases(self) -> tuple[bool, bool]:
        return cases(self.table.texts())


def load_pieces(folder: Path, blank: int, lead: str = "") -> PieceTokens:
    """The pieces of a model folder. Raises `CheckpointError` when they cannot be read."""
    table, file = read_pieces(folder, blank), folder / TOKENIZER_FILE
    try:
        tokenizer = Tokenizer.from_file(str(file))
    # The library raises plain `Exception`, and nothing narrower, for whatever the file is not.
    except Exception as error:
        raise CheckpointError(f"{file} is damaged: {error}; copy the folder again") from error
    return PieceTokens(table, tokenizer, lead)
