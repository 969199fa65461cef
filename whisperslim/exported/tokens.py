"""Ids back to text, and the ids of Whisper's prompt, from `tokenizer.json` alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from whisperslim.errors import CheckpointError, UsageError
from whisperslim.text.languages import languages_of, unknown

TOKENIZER_FILE = "tokenizer.json"
# Whisper's order: start, the language between, then what to do.
_START, _AFTER, _END = (
    "<|startoftranscript|>",
    ("<|transcribe|>", "<|notimestamps|>"),
    "<|endoftext|>",
)


@dataclass(frozen=True)
class PromptTokens:
    """A tokenizer for decoding alone; nothing is encoded with it.

    Attributes:
        tokenizer: Of the `tokenizers` library.
        start: Id that begins the prompt.
        after: Ids that follow the language's.
        end: Id that ends a transcript.
    """

    tokenizer: Tokenizer
    start: int
    after: tuple[int, ...]
    end: int

    def prompt(self, language: str) -> list[int]:
        """Ids of start, language, transcribe, no-timestamps. `language` is a code such as `hi`.

        Raises `UsageError` for a language without a token.
        """
        identifier = self.tokenizer.token_to_id(f"<|{language}|>")
        if identifier is None:
            raise UsageError(unknown(language, languages_of(self.vocabulary())))
        return [self.start, identifier, *self.after]

    def vocabulary(self) -> Mapping[str, int]:
        """Every token and its id."""
        found: dict[str, int] = self.tokenizer.get_vocab()
        return found

    def spelled(self, identifier: int) -> str:
        """A token as the tokenizer spells it; empty for an id it has not."""
        return self.tokenizer.id_to_token(identifier) or ""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; control tokens dropped, broken UTF-8 shown as the replacement mark."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()


def read_tokens(folder: Path) -> PromptTokens:
    """The tokenizer in `folder`.

    Raises `CheckpointError` for one that is missing, damaged or not Whisper's.
    """
    file = folder / TOKENIZER_FILE
    try:
        content = file.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    try:
        tokenizer = Tokenizer.from_str(content)
    # The library raises plain `Exception`, and nothing narrower, for whatever the file is not.
    except Exception as error:
        raise CheckpointError(f"{file} is damaged: {error}; copy the folder again") from error
    start, end, *after = [tokenizer.token_to_id(name) for name in (_START, _END, *_AFTER)]
    found = [identifier for identifier in after if identifier is not None]
    if start is None or end is None or len(found) < len(after):
        raise CheckpointError(
            f"{file} lacks one of {', '.join((_START, _END, *_AFTER))}: it is not Whisper's"
        )
    return PromptTokens(tokenizer, start, tuple(found), end)
