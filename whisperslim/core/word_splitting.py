"""How text is split into words before its bytes become tokens."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Regex, pre_tokenizers

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
