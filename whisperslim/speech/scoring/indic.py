"""Normalizers of the Indian languages beside Hindi whose scripts indic-nlp-library has rules for.

They unify what is one letter in several encodings, digits, joiners and punctuation. Spellings that
a language has two of are left apart: what Hindi's normalizer unifies, such as anusvara and half
nasals, is a rule of Hindi. The library leaves Urdu to another package, and Sinhala and Sindhi have
no rules; these have the neutral normalizer.
"""

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import regex

from whisperslim.speech.scoring.rules import (
    collapse_spaces,
    compose,
    lower_case_latin,
    remove_punctuation,
    remove_zero_width,
    ungroup,
)

if TYPE_CHECKING:
    from indicnlp.normalize.indic_normalize import BaseNormalizer

INDIC = {
    "as": "assamese", "bn": "bengali", "gu": "gujarati", "kn": "kannada", "ml": "malayalam",
    "mr": "marathi", "ne": "nepali", "or": "odia", "pa": "punjabi", "sa": "sanskrit", "ta": "tamil",
    "te": "telugu",
}  # fmt: skip
"""Code -> name, as normalizers have it. Whisper has no Odia; a model of letters may."""

_ASCII_DIGITS = {
    code: str(unicodedata.decimal(chr(code)))
    for code in range(0x0900, 0x0D80)
    if unicodedata.category(chr(code)) == "Nd"
}
# The library makes a visarga of every colon after a letter. Between two letters it is one, as typed
# on keyboards without it; our choice hides every other.
_COLON = regex.compile(r"(?<![\p{L}\p{M}]):|:(?!\p{L})")


@dataclass(frozen=True)
class IndicNormalizer:
    """Text in the language of this code, one of `INDIC`, for scoring: all marks are kept.

    In order: NFC; the library's rules for the script, before joiners go, since Malayalam writes
    letters with them; joiners removed, and the rules once more for what they kept apart; Latin in
    lower case; digits to ASCII, without the commas that group them; punctuation to spaces.
    """

    language: str

    @property
    def name(self) -> str:
        return f"{INDIC[self.language]}-{self.version}"

    @property
    def version(self) -> str:
        return "1"

    def __call__(self, text: str) -> str:
        rules = library_rules(self.language)
        joined = rules.normalize(_COLON.sub(" ", compose(text)))
        plain = lower_case_latin(compose(rules.normalize(remove_zero_width(joined))))
        return collapse_spaces(remove_punctuation(ungroup(plain.translate(_ASCII_DIGITS))))


@cache
def library_rules(language: str) -> "BaseNormalizer":
    """indic-nlp-library's rules for the script of a language, Hindi or one of `INDIC`."""
    # Here and not above, so that importing this module does not need the library.
    from indicnlp.normalize.indic_normalize import IndicNormalizerFactory

    return IndicNormalizerFactory().get_normalizer(language)
