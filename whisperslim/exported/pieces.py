"""Pieces of words as a CTC model writes them, as `tokenizer.json` has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from whisperslim.errors import CheckpointError
from whisperslim.exported.tokens import TOKENIZER_FILE

# How a token says that there is a space before it: byte-level tokenizers, and SentencePiece's.
_SPACES = ("Ġ", "▁")


@dataclass(frozen=True)
class PieceTokens:
    """Pieces below the blank's id are text; the blank and what follows it is not.

    Attributes:
        tokenizer: Of the `tokenizers` library.
        blank: Id of the blank.
        lead: What is put before a text, so that its first word is as any other.
    """

    tokenizer: Tokenizer
    blank: int
    lead: str = ""

    def encode(self, text: str) -> list[int]:
        """Ids of the text alone."""
        ids = self.tokenizer.encode(f"{self.lead}{text.strip()}", add_special_tokens=False).ids
        return [number for number in ids if number < self.blank]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; broken UTF-8 shown as the replacement mark."""
        return str(self.tokenizer.decode(list(ids))).strip()

    def is_gap(self, token: int) -> bool:
        """Only what is no text: spaces are part of the pieces."""
        return token > self.blank

    def begins_word(self, token: int) -> bool:
        """Whether there is a space at its head."""
        return self._names.get(token, "").startswith(_SPACES)

    def check_language(self, language: str) -> None:
        """Any text can be spelled, byte by byte if need be."""

    def vocabulary(self) -> Mapping[str, int]:
        """The pieces and the blank."""
        return {name: number for number, name in self._names.items() if number <= self.blank}

    @cached_property
    def _names(self) -> dict[int, str]:
        return {number: name for name, number in self.tokenizer.get_vocab().items()}


def load_pieces(folder: Path, blank: int, lead: str = "") -> PieceTokens:
    """The pieces of a model folder. Raises `CheckpointError` when they cannot be read."""
    file = folder / TOKENIZER_FILE
    try:
        tokenizer = Tokenizer.from_str(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    # The library raises plain `Exception`, and nothing narrower, for whatever the file is not.
    except Exception as error:
        raise CheckpointError(f"{file} is damaged: {error}; copy the folder again") from error
    if tokenizer.id_to_token(blank) is None:
        raise CheckpointError(
            f"{file} has no token {blank}, which is the blank of the model: it belongs to another "
            "model; restore the model's own files"
        )
    return PieceTokens(tokenizer, blank, lead)
