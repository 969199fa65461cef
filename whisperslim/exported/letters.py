"""Letters as a CTC model writes them, from the files that Hugging Face keeps them in.

vocab.json               letter -> id; the blank, and `|` for the space, among them
tokenizer_config.json    which tokens are the blank and the space, and which are not text
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from whisperslim.errors import CheckpointError

VOCABULARY_FILE, SETTINGS_FILE = "vocab.json", "tokenizer_config.json"
# As transformers has them where the settings say nothing.
_USUAL = {"pad_token": "<pad>", "word_delimiter_token": "|", "unk_token": "<unk>",
          "bos_token": "<s>", "eos_token": "</s>"}  # fmt: skip


@dataclass(frozen=True)
class LetterTable:
    """Letters and their ids.

    Attributes:
        ids: Letter -> id, with the tokens that are no letters.
        blank: Id of the blank.
        space: Id of the space between words; None where words are not separated.
        silent: Ids that are no text: the blank, the unknown letter, begin and end.
        settings: The rest of the tokenizer's settings.
    """

    ids: Mapping[str, int]
    blank: int
    space: int | None
    silent: frozenset[int]
    settings: Mapping[str, Any]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; what is no text is dropped."""
        spelled = (
            " " if i == self.space else self._letters[i] for i in ids if i not in self.silent
        )
        return " ".join("".join(spelled).split())

    def is_gap(self, token: int) -> bool:
        """The space, and whatever is no text."""
        return token == self.space or token in self.silent

    def begins_word(self, token: int) -> bool:
        """No letter does by itself."""
        return False

    @cached_property
    def _letters(self) -> dict[int, str]:
        return {number: letter for letter, number in self.ids.items()}


def read_letters(folder: Path) -> LetterTable:
    """The letters of a model folder.

    Raises:
        CheckpointError: a file is missing or damaged, there is no blank, ids are given twice, or
            tokens are more than letters.
    """
    ids, settings = _mapping(folder / VOCABULARY_FILE), _settings(folder)
    if any(isinstance(each, dict) for each in ids.values()):
        raise CheckpointError(
            f"{folder / VOCABULARY_FILE} has a vocabulary for each language; keep the one of your "
            "language in it: letters and their ids"
        )
    numbers = [n for n in ids.values() if isinstance(n, int) and not isinstance(n, bool) and n >= 0]
    if not ids or len(numbers) < len(ids) or len(set(numbers)) < len(ids):
        raise CheckpointError(
            f"{folder / VOCABULARY_FILE} must give every letter its own id, 0 or more; restore the "
            "model's own file"
        )
    names = {kind: _token(settings, kind) for kind in _USUAL}
    blank = names["pad_token"]
    if blank not in ids:
        raise CheckpointError(
            f"{folder / VOCABULARY_FILE} has no blank, which is called {blank!r} here: without it "
            "CTC cannot write a letter twice. Add it to the file, and its row to the model's "
            "head; or name the blank as pad_token in tokenizer_config.json"
        )
    delimiter = names.pop("word_delimiter_token")
    silent = {name for name in names.values() if name in ids}
    longer = sorted(letter for letter in set(ids) - silent - {delimiter} if len(letter) != 1)
    if longer:
        raise CheckpointError(
            f"{folder / VOCABULARY_FILE} has tokens that are not single "
            f"letters, {longer[:3]} among "
            "them; only vocabularies of letters can be used"
        )
    space = ids.get(delimiter, ids.get(" "))
    return LetterTable(ids, ids[blank], space, frozenset(ids[name] for name in silent), settings)


def _settings(folder: Path) -> Mapping[str, Any]:
    file = folder / SETTINGS_FILE
    return _mapping(file) if file.is_file() else {}


def _token(settings: Mapping[str, Any], kind: str) -> str:
    named = settings.get(kind) or _USUAL[kind]
    return str(named["content"] if isinstance(named, dict) else named)


def _mapping(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is missing or damaged: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{file} is not a table of names and values")
    return found
