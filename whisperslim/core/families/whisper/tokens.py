"""Text to Whisper's token ids and back, with the control tokens of one language.

Text is split into words before its bytes become tokens; `WHOLE_WORDS` splits at no vowel sign.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tokenizers import Regex, pre_tokenizers
from transformers import WhisperTokenizer

from whisperslim.core.families.hearing import Tokens
from whisperslim.core.tokens.bounds import check_token_files
from whisperslim.errors import CheckpointError, UsageError
from whisperslim.text.languages import languages_of, unknown

# GPT-2's pattern, which Whisper has too, with marks counted among letters: Whisper's own splits a
# Hindi word at every vowel sign.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}\p{M}]+| ?\p{N}+| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
# As `tokenizer.json` has it.
WHOLE_WORDS: dict[str, Any] = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": _WORDS}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ],
}


def keeps_words_whole(tokenizer_file: Path) -> bool:
    """Whether `tokenizer.json` says so. A folder without it splits as Whisper does."""
    if not tokenizer_file.is_file():
        return False
    layout: dict[str, Any] = json.loads(tokenizer_file.read_text("utf-8"))
    return layout.get("pre_tokenizer") == WHOLE_WORDS


def whole_words() -> pre_tokenizers.PreTokenizer:
    """What `WHOLE_WORDS` describes."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


@dataclass(frozen=True)
class TokenCodec:
    """A tokenizer, with the ids Whisper's prompt is made of looked up once.

    Raises `CheckpointError` at construction when the tokenizer lacks Whisper's control tokens.
    """

    tokenizer: WhisperTokenizer
    start: int
    transcribe: int
    no_timestamps: int
    end: int

    def prompt(self, language: str) -> list[int]:
        """Ids of start, language, transcribe, no-timestamps. `language` is a code such as `hi`."""
        token = f"<|{language}|>"
        identifier = _id(self.tokenizer, token)
        if identifier is None:
            raise UsageError(unknown(language, languages_of(self.vocabulary())))
        return [self.start, identifier, self.transcribe, self.no_timestamps]

    def check_language(self, language: str) -> None:
        """Raise `UsageError` for a language there is no token of."""
        self.prompt(language)

    def vocabulary(self) -> Mapping[str, int]:
        """Every token of the tokenizer; timestamps are missing in some files."""
        return self.tokenizer.get_vocab()

    def save(self, file: Path) -> None:
        """Write `tokenizer.json`."""
        self.tokenizer.backend_tokenizer.save(str(file))

    def layout(self) -> dict[str, Any]:
        """The contents of `tokenizer.json`."""
        found: dict[str, Any] = json.loads(self.tokenizer.backend_tokenizer.to_str())
        return found

    def encode(self, text: str) -> list[int]:
        """Ids of the text alone, with the leading space Whisper was trained with."""
        ids = self.tokenizer(f" {text.strip()}", add_special_tokens=False)["input_ids"]
        return cast(list[int], ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; control tokens dropped, broken UTF-8 shown as the replacement mark."""
        text: Any = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return str(text).strip()


def whisper_tokens(tokens: Tokens) -> TokenCodec:
    """The same tokens. Raises `UsageError` unless they are Whisper's."""
    if not isinstance(tokens, TokenCodec):
        raise UsageError(
            "this needs Whisper's byte-level tokens and the model has others: leave "
            "`vocabulary.languages` empty, and run the model in PyTorch"
        )
    return tokens


def load_tokens(folder: Path) -> TokenCodec:
    """The tokenizer of a model folder.

    Raises `CheckpointError` for one that is missing, damaged, too large or not Whisper's.
    """
    check_token_files(folder, WHOLE_WORDS)
    try:
        tokenizer = WhisperTokenizer.from_pretrained(folder, local_files_only=True)
    # The library beneath raises plain `Exception`, and nothing narrower, for what does not fit.
    except Exception as error:
        raise CheckpointError(f"the tokenizer in {folder} cannot be read: {error}") from error
    if keeps_words_whole(folder / "tokenizer.json"):
        # transformers splits as Whisper does, whatever the file says.
        cast(Any, tokenizer.backend_tokenizer).pre_tokenizer = whole_words()
    wanted = ("<|startoftranscript|>", "<|transcribe|>", "<|notimestamps|>", "<|endoftext|>")
    ids = [_id(tokenizer, token) for token in wanted]
    missing = [token for token, found in zip(wanted, ids, strict=True) if found is None]
    if missing:
        raise CheckpointError(f"the tokenizer in {folder} lacks {', '.join(missing)}")
    return TokenCodec(tokenizer, *cast(list[int], ids))


def _id(tokenizer: WhisperTokenizer, token: str) -> int | None:
    identifier = tokenizer.convert_tokens_to_ids(token)
    # Unknown tokens map to the id of another token, so the way back decides.
    if isinstance(identifier, int) and tokenizer.convert_ids_to_tokens(identifier) == token:
        return identifier
    return None
