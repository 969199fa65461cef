"""Letters as the tokens of a CTC model: those a training set is written with, and text to ids."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from whisperslim.core.tokens.table import ByTable, cases, in_cases
from whisperslim.errors import DataError, UsageError
from whisperslim.exported.letters import (
    SETTINGS_FILE,
    VOCABULARY_FILE,
    LetterTable,
    read_letters,
)
from whisperslim.text.scripts import LANGUAGES, SCRIPTS_OF, letters

BLANK, SPACE = "<pad>", "|"
# In tokenizer_config.json: the normalizer whose texts the letters are of. Only ours has it.
_NORMALIZER = "normalizer"


@dataclass(frozen=True)
class LetterTokens(ByTable[LetterTable]):
    """One token per letter. What the vocabulary has no letter for is left out of a text."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text in the form that the letters are in, spaces between words among them."""
        spelled = " ".join(self._form(text).split())
        ids = (self.table.space if c == " " else self._letters.get(c) for c in spelled)
        return [i for i in ids if i is not None]

    def check_language(self, language: str) -> None:
        """Raise `UsageError` when no letter is of a script that the language is written in."""
        if language not in LANGUAGES:
            raise UsageError(f"{language!r} is not a language code; use a code such as hi")
        written = {letter for letter in self._letters if letter.isalpha()}
        if not written & letters([language]):
            some = "".join(sorted(written)[:8]) or "none"
            raise UsageError(
                f"the model writes the letters {some} and others, none of them "
                f"{' or '.join(SCRIPTS_OF[language])}, in which {language!r} is written; take a "
                "model of that language, or train one with `head: ctc`"
            )

    def vocabulary(self) -> Mapping[str, int]:
        """Letters, blank and space."""
        return self.table.ids

    @cached_property
    def _letters(self) -> dict[str, int]:
        return {c: i for c, i in self.table.ids.items() if i not in self.table.silent}

    def _form(self, text: str) -> str:
        if name := self.table.settings.get(_NORMALIZER):
            # Only now: what normalizes is not installed where exports are only heard.
            from whisperslim.speech.scoring.normalizer import by_name

            return by_name(str(name))(text)
        return in_cases(text, cases(self._letters))


def load_letters(folder: Path) -> LetterTokens:
    """The letters of a model folder. Raises as `read_letters`."""
    return LetterTokens(read_letters(folder))


def write_letters(folder: Path, texts: Iterable[str], language: str) -> LetterTokens:
    """Make a vocabulary of all letters that texts have once normalized, and write its files.

    The blank is 0 and the space 1; letters follow in the order of Unicode. A vowel sign is a letter
    of its own, as are virama and nukta.

    Raises:
        DataError: there is no letter in the texts.
    """
    from whisperslim.speech.scoring.normalizer import for_letters

    normalizer = for_letters(language)
    found = sorted({c for text in texts for c in normalizer(text)} - {" "})
    if not found:
        raise DataError("the training texts have no letter to make a vocabulary of")
    ids = {token: number for number, token in enumerate((BLANK, SPACE, *found))}
    settings = {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "pad_token": BLANK,
        "word_delimiter_token": SPACE,
        "unk_token": None,
        "bos_token": None,
        "eos_token": None,
        "do_lower_case": False,
        _NORMALIZER: normalizer.name,
    }
    for name, values in ((VOCABULARY_FILE, ids), (SETTINGS_FILE, settings)):
        (folder / name).write_text(json.dumps(values, ensure_ascii=False, indent=1), "utf-8")
    return load_letters(folder)
