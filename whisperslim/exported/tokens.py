"""Ids back to text, and the ids of Whisper's prompt, from `tokenizer.json` alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from whisperslim.errors import CheckpointError, UsageError
from whisperslim.exported.spelling import TOKENIZER_FILE, Spelling, read_spelling
from whisperslim.text.languages import languages_of, unknown

# Whisper's order: start, the language between, then what to do.
_START, _AFTER, _END = (
    "<|startoftranscript|>",
    ("<|transcribe|>", "<|notimestamps|>"),
    "<|endoftext|>",
)


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """Tokens for decoding alone; nothing is encoded with them.

    Attributes:
        spelling: The tokens.
        start: Id that begins the prompt.
        after: Ids that follow the language's.
        end: Id that ends a transcript.
    """

    spelling: Spelling
    start: int
    after: tuple[int, ...]
    end: int

    def prompt(self, language: str) -> list[int]:
        """Ids of start, language, transcribe, no-timestamps. `language` is a code such as `hi`.

        Raises `UsageError` for a language without a token.
        """
        identifier = self.spelling.ids.get(f"<|{language}|>")
        if identifier is None:
            raise UsageError(unknown(language, languages_of(self.vocabulary())))
        return [self.start, identifier, *self.after]

    def vocabulary(self) -> Mapping[str, int]:
        """Every token and its id."""
        return self.spelling.ids

    def spelled(self, identifier: int) -> str:
        """A token as the tokenizer spells it; empty for an id it has not."""
        return self.spelling.token(identifier) or ""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; control tokens dropped, broken UTF-8 shown as the replacement mark."""
        return self.spelling.decode(ids).strip()


def read_tokens(folder: Path) -> PromptTokens:
    """The tokens of the tokenizer in `folder`.

    Raises `CheckpointError` for one that is missing, damaged or not Whisper's.
    """
    spelling = read_spelling(folder)
    start, end, *after = [spelling.ids.get(name) for name in (_START, _END, *_AFTER)]
    found = [identifier for identifier in after if identifier is not None]
    if start is None or end is None or len(found) < len(after):
        raise CheckpointError(
            f"{folder / TOKENIZER_FILE} lacks one of {', '.join((_START, _END, *_AFTER))}: it is "
            "not Whisper's"
        )
    return PromptTokens(spelling, start, tuple(found), end)
