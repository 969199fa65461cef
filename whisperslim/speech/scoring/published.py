"""Normalizers as others have published them, for figures beside theirs; English's also judges.

Each follows its publisher's code; where that code can be installed, it is what runs.
"""

import importlib.metadata
import json
import string
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import regex

from whisperslim.errors import UsageError
from whisperslim.speech.scoring.indic import INDIC, library_rules
from whisperslim.speech.scoring.rules import collapse_spaces

if TYPE_CHECKING:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer


VISTAAR = "vistaar"


@cache
def _transformers() -> str:
    return f"transformers {importlib.metadata.version('transformers')}"


@dataclass(frozen=True)
class WhisperBasicNormalizer:
    """`BasicTextNormalizer` of transformers, as in many published figures.

    `version` is that of transformers, whose rule it is.
    """

    name: str = field(default="whisper-basic", init=False)
    warning: str = field(
        default="deletes vowel signs, virama, anusvara and nukta, so most spelling mistakes in "
        "Indic scripts count as correct; only for comparison with published figures",
        init=False,
    )

    @property
    def version(self) -> str:
        return _transformers()

    def __call__(self, text: str) -> str:
        # Here and not above: importing transformers takes seconds.
        from transformers.models.whisper.english_normalizer import BasicTextNormalizer

        return collapse_spaces(BasicTextNormalizer()(text))


@dataclass(frozen=True)
class WhisperMarksNormalizer:
    """Whisper's rule with marks kept, as `BasicTextNormalizer(preserve_marks=True)` of the package
    whisper_normalizer, from 0.1.13 on.

    It composes compatibly (NFKC), lower-cases, drops what is in brackets, and makes punctuation and
    symbols spaces. Joiners stay, so words that differ in one differ.
    """

    name: str = field(default="whisper-marks", init=False)
    warning: str = field(
        default="keeps हूँ/हूं, हिन्दी/हिंदी and १०/10 apart and drops words in brackets; only for "
        "comparison with published figures",
        init=False,
    )

    @property
    def version(self) -> str:
        return _transformers()

    def __call__(self, text: str) -> str:
        from transformers.models.whisper.english_normalizer import BasicTextNormalizer

        rule = BasicTextNormalizer()
        rule.clean = _remove_symbols
        return collapse_spaces(rule(text))


# British spellings and their American ones, of OpenAI's Whisper (MIT), as it distributes them.
_SPELLINGS = Path(__file__).with_name("english_spellings.json")


@dataclass(frozen=True)
class WhisperEnglishNormalizer:
    """`EnglishTextNormalizer` of transformers with Whisper's list of spellings: English's own.

    It writes contractions out, numbers as digits and British spellings as American ones, and drops
    hesitations (um, uh), diacritics and what is in brackets.
    """

    name: str = field(default="whisper-english", init=False)

    @property
    def version(self) -> str:
        return _transformers()

    def __call__(self, text: str) -> str:
        return collapse_spaces(_english_rule()(text))


@cache
def _english_rule() -> "EnglishTextNormalizer":
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    return EnglishTextNormalizer(json.loads(_SPELLINGS.read_text("utf-8")))


def _remove_symbols(s: str) -> str:
    composed = unicodedata.normalize("NFKC", s)
    return "".join(" " if unicodedata.category(c)[0] in "SP" else c for c in composed)


# What `evaluation.py` of AI4Bharat/vistaar deletes.
_VISTAAR_DELETED = str.maketrans("", "", string.punctuation + "।۔'-॥")
_SPACES = regex.compile(" +")
_NO_RULES = ("ur",)  # Vistaar scores Urdu without the library


@dataclass(frozen=True)
class VistaarNormalizer:
    """The text as AI4Bharat's benchmark Vistaar scores it (github.com/AI4Bharat/vistaar).

    ASCII punctuation and dandas are deleted without a space, then indic-nlp-library's rules for the
    script follow. Curly quotes become straight ones after that and stay, as do the stops of "…".
    Vistaar counts an empty reference as one word; here empty references are scored apart.

    Raises `UsageError` for a language that neither the library has rules for nor Vistaar has.
    """

    language: str = "hi"
    name: str = field(default=VISTAAR, init=False)
    warning: str = field(
        default="deletes hyphens without a space, and keeps हूँ/हूं, १०/10 and OK/ok apart; only for "
        "comparison with published figures",
        init=False,
    )

    def __post_init__(self) -> None:
        known = sorted(("hi", *INDIC, *_NO_RULES))
        if self.language not in known:
            raise UsageError(
                f"vistaar has no rules for the language {self.language!r}; it has them for "
                f"{', '.join(known)}"
            )

    @property
    def version(self) -> str:
        return f"indic-nlp-library {importlib.metadata.version('indic-nlp-library')}"

    def __call__(self, text: str) -> str:
        bare = text.translate(_VISTAAR_DELETED)
        if self.language not in _NO_RULES:
            bare = library_rules(self.language).normalize(bare)
        return collapse_spaces(_SPACES.sub(" ", bare))
