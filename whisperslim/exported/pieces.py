"""Pieces of words as a CTC model writes them, as `tokenizer.json` has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from whisperslim.errors import CheckpointError, UsageError
from whisperslim.exported.tokens import TOKENIZER_FILE
from whisperslim.text.scripts import LANGUAGES, SCRIPTS_OF, letters

# How a token says that there is a space before it: byte-level tokenizers, and SentencePiece's.
_SPACES = ("Ġ", "▁")


@dataclass(frozen=True)
class PieceTokens:
    """Pieces below the blank's id are text; the blank and what follows it is not.

    What a vocabulary has no piece for, unless it spells byte by byte, is left out of a text.

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
        spelled = f"{self.lead}{self._form(text.strip())}"
        ids = self.tokenizer.encode(spelled, add_special_tokens=False).ids
        return [number for number in ids if number < self.blank and number != self._unknown]

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
        """Raise `UsageError` when no letter can be spelled that the language is written with."""
        if language not in LANGUAGES:
            raise UsageError(f"{language!r} is not a language code; use a code such as hi")
        written = sorted(each for each in letters([language]) if each.isalpha())
        if not any(self.decode(self.encode(letter)) for letter in written):
            scripts = " or ".join(SCRIPTS_OF[language])
            raise UsageError(
                f"the model's pieces of words spell no letter of {scripts}, in which {language!r} "
                "is written; take a model of that language, or train one with `head: ctc`"
            )

    def vocabulary(self) -> Mapping[str, int]:
        """The pieces and the blank."""
        return {name: number for number, name in self._names.items() if number <= self.blank}

    def _form(self, text: str) -> str:
        """Models made elsewhere may have one case alone."""
        has_lower, has_upper = self._cases
        if has_lower == has_upper:
            return text
        return text.lower() if has_lower else text.upper()

    @cached_property
    def _cases(self) -> tuple[bool, bool]:
        """Whether there are lower, and upper case letters."""
        text = "".join(name for name, number in self.vocabulary().items() if number < self.blank
                       and number != self._unknown)  # fmt: skip
        return any(c.islower() for c in text), any(c.isupper() for c in text)

    @cached_property
    def _unknown(self) -> int | None:
        """Id that stands for what cannot be spelled, of the kinds of model that have one."""
        name = getattr(self.tokenizer.model, "unk_token", None)
        found: int | None = self.tokenizer.token_to_id(name) if name else None
        return found

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
