"""Text normalization before scoring. Every score names the normalizer it went through.

Error rates made with different normalizers are different measures and are never compared: for
Hindi about ten points of WER lie between them. Devanagari vowel signs, virama, anusvara and nukta
are Unicode class M (marks); a rule written for Latin accents deletes them and with them most of
the word. The Hindi normalizer here keeps every mark that carries meaning.
"""

import importlib.metadata
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import regex

from whisperslim.errors import UsageError
from whisperslim.speech.scoring.hindi_numbers import spell_numbers

NUKTA = "\u093c"
CHANDRABINDU = "\u0901"
ANUSVARA = "\u0902"
VISARGA = "\u0903"
VIRAMA = "\u094d"


class Normalizer(Protocol):
    """Maps a text to the form that is scored. Pure; the same text gives the same result."""

    @property
    def name(self) -> str:
        """Shown beside every figure; says which options are on."""

    @property
    def version(self) -> str:
        """Changes whenever the same text may come out differently."""

    def __call__(self, text: str) -> str:
        """The text as it is scored: words separated by single spaces."""


def compose(text: str) -> str:
    """Unicode canonical composition (NFC)."""
    return unicodedata.normalize("NFC", text)


# Invisible by definition (joiners, directional marks, variation selectors, soft hyphen), letters
# such as the Hangul filler excepted; and U+FFFE, which the Indic rules would drop later on.
_INVISIBLE = regex.compile(r"(?V1)[\p{Default_Ignorable_Code_Point}--\p{L}]|\uFFFE")


def remove_zero_width(text: str) -> str:
    """Drop ZWJ, ZWNJ, zero-width space and the like; marks that now touch are composed again."""
    return compose(_INVISIBLE.sub("", text))


# The library turns every colon after a Devanagari character into a visarga. That repairs "दु:ख",
# but breaks "उसने कहा: ...", "१०:३०" and "है।:". So the visarga is written here, for colons inside
# a word and for those that end one of these words, and every other colon is hidden from the
# library.
_VISARGA_WORDS = (
    "अत|छ|पुन|प्रात|प्राय|मूलत|क्रमश|मुख्यत|वस्तुत|विशेषत|संभवत|सम्भवत|सामान्यत"  # often typed with a colon
)
_TYPED_VISARGA = regex.compile(
    r"(?<=[\u0904-\u0939\u093c-\u094c\u0958-\u0963]):(?=[\u0904-\u0939\u0958-\u0961])"
    rf"|(?<=(?<![\p{{L}}\p{{M}}])(?:{_VISARGA_WORDS})):"
)
_COLON_IN_REACH = regex.compile(r"(?<=[\u0900-\u097f]):")


def apply_indic_rules(text: str) -> str:
    """The Devanagari rules of indic-nlp-library: one form of nukta letters, `|` as danda, quotes.

    Nuktas are kept, as separate marks. Which colons become a visarga is our choice, narrower than
    the library's.
    """
    # Here and not above, so that importing this module does not need the library.
    from indicnlp.normalize.indic_normalize import DevanagariNormalizer

    text = _COLON_IN_REACH.sub(" :", _TYPED_VISARGA.sub(VISARGA, text))
    return DevanagariNormalizer("hi").normalize(text)


_LATIN_RUN = regex.compile(r"\p{Latin}[\p{Latin}\p{M}]*")


def lower_case_latin(text: str) -> str:
    """Lower-case runs of Latin letters; other scripts are left alone."""
    return _LATIN_RUN.sub(lambda run: compose(run[0].lower()), text)


_TO_ASCII_DIGITS = {0x0966 + value: str(value) for value in range(10)}
# Indian (1,00,000) and Western (100,000) grouping; the last group has three digits in both.
_GROUPED_NUMBER = regex.compile(r"(?<![0-9])[0-9]{1,3}(?:,[0-9]{2,3})*,[0-9]{3}(?![0-9])")


def unify_digits(text: str) -> str:
    """Devanagari digits to ASCII ones; the commas that group thousands are dropped."""
    ascii_only = text.translate(_TO_ASCII_DIGITS)
    return _GROUPED_NUMBER.sub(lambda number: number[0].replace(",", ""), ascii_only)


# P: punctuation, danda U+0964/65 and U+0970 among it. S: symbols. Me: enclosing marks (keycaps).
_PUNCTUATION = regex.compile(r"[\p{P}\p{S}\p{Me}]")


def remove_punctuation(text: str) -> str:
    """Punctuation and symbols to spaces. Combining marks (Mn, Mc) stay."""
    return _PUNCTUATION.sub(" ", text)


def unify_chandrabindu(text: str) -> str:
    """Chandrabindu to anusvara: हूँ and हूं are one word in practice."""
    return text.replace(CHANDRABINDU, ANUSVARA)


# Nasal, then the stops of its own place of articulation. A nukta under न does not change it.
_HALF_NASALS = tuple(
    regex.compile(f"[{nasals}]{NUKTA}*{VIRAMA}(?=[{stops}])")
    for nasals, stops in (
        ("ङ", "क-घ"),
        ("ञ", "च-झ"),
        ("ण", "ट-ढ"),
        ("न\u0929", "त-ध"),
        ("म", "प-भ"),
    )
)


def unify_half_nasals(text: str) -> str:
    """A half nasal before a stop of its own class to anusvara: हिन्दी becomes हिंदी.

    Before any other consonant it stays, so जन्म and सम्मान are untouched.
    """
    for pattern in _HALF_NASALS:
        text = pattern.sub(ANUSVARA, text)
    return text


_WITHOUT_NUKTA = {ord(NUKTA): ""} | {
    code: unicodedata.normalize("NFD", chr(code))[0]
    for code in range(0x0900, 0x0980)
    if unicodedata.decomposition(chr(code)).endswith(f"{ord(NUKTA):04X}")
}


def fold_nukta(text: str) -> str:
    """Drop nuktas: रोज़ and रोज become one, but so do सज़ा (punishment) and सजा (adorned)."""
    return text.translate(_WITHOUT_NUKTA)


def collapse_spaces(text: str) -> str:
    """Any run of white space to one space; none at the ends."""
    return " ".join(text.split())


@dataclass(frozen=True)
class Step:
    """One named rule of a normalizer; `apply` is pure."""

    name: str
    apply: Callable[[str], str]
    on_by_default: bool = True


HINDI_STEPS = (
    Step("nfc", compose),
    Step("zero-width", remove_zero_width),
    Step("indic-rules", apply_indic_rules),
    Step("lower-case", lower_case_latin),
    Step("digits", unify_digits),
    Step("number-words", spell_numbers, on_by_default=False),
    Step("punctuation", remove_punctuation),
    Step("chandrabindu", unify_chandrabindu),
    Step("half-nasals", unify_half_nasals),
    Step("nukta-folding", fold_nukta, on_by_default=False),
    Step("spaces", collapse_spaces),
)
DEFAULT_HINDI_STEPS = tuple(step.name for step in HINDI_STEPS if step.on_by_default)


@dataclass(frozen=True)
class HindiNormalizer:
    """Hindi text for scoring: spelling variants unified, vowel signs and all other marks kept.

    `steps` names the rules that are on. They run in the order of `HINDI_STEPS` whatever order they
    are named in. A word that holds a letter or a digit never becomes empty. Applying it twice
    changes nothing more with the default steps; others, such as number words with folded nuktas,
    may need a second pass. Raises `UsageError` for an unknown step.
    """

    steps: tuple[str, ...] = DEFAULT_HINDI_STEPS

    def __post_init__(self) -> None:
        known = [step.name for step in HINDI_STEPS]
        unknown = sorted(set(self.steps) - set(known))
        if unknown:
            raise UsageError(
                f"unknown step of the Hindi normalizer: {', '.join(unknown)}; "
                f"the steps are {', '.join(known)}"
            )

    @property
    def name(self) -> str:
        """`hindi-1`, then `+step` for every option that is on and `-step` for every rule off."""
        changed = [
            f"{'+' if step.name in self.steps else '-'}{step.name}"
            for step in HINDI_STEPS
            if (step.name in self.steps) != step.on_by_default
        ]
        return "".join([f"hindi-{self.version}", *changed])

    @property
    def version(self) -> str:
        return "1"

    def __call__(self, text: str) -> str:
        for step in HINDI_STEPS:
            if step.name in self.steps:
                text = step.apply(text)
        return text


@dataclass(frozen=True)
class RawNormalizer:
    """The text as written; only white space is collapsed."""

    name: str = field(default="raw", init=False)
    version: str = field(default="1", init=False)

    def __call__(self, text: str) -> str:
        return collapse_spaces(text)


@dataclass(frozen=True)
class NeutralNormalizer:
    """For languages without rules of their own: NFC, lower case, P and S to space, marks kept.

    Apostrophes are punctuation, so "don't" scores as two words, in reference and hypothesis alike.
    """

    name: str = field(default="neutral-1", init=False)
    version: str = field(default="1", init=False)

    def __call__(self, text: str) -> str:
        return collapse_spaces(remove_punctuation(compose(compose(text).lower())))


@dataclass(frozen=True)
class WhisperBasicNormalizer:
    """`BasicTextNormalizer` of transformers, as in many published figures. Never for judging Hindi.

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
        return f"transformers {importlib.metadata.version('transformers')}"

    def __call__(self, text: str) -> str:
        # Here and not above: importing transformers takes seconds.
        from transformers.models.whisper.english_normalizer import BasicTextNormalizer

        return collapse_spaces(BasicTextNormalizer()(text))


def _known() -> dict[str, Normalizer]:
    options: list[Normalizer] = [RawNormalizer(), WhisperBasicNormalizer(), NeutralNormalizer()]
    for extra in ((), ("number-words",), ("nukta-folding",), ("number-words", "nukta-folding")):
        options.append(HindiNormalizer((*DEFAULT_HINDI_STEPS, *extra)))
    return {normalizer.name: normalizer for normalizer in options}


def by_name(name: str) -> Normalizer:
    """The normalizer called `name`. Raises `UsageError` listing the known ones."""
    known = _known()
    if name not in known:
        raise UsageError(f"unknown normalizer {name!r}; choose one of {', '.join(known)}")
    return known[name]


def for_language(language: str) -> Normalizer:
    """The normalizer that judges `language` (Whisper's code or English name, such as "hi").

    Hindi has its own; every other language gets the neutral one.
    """
    return HindiNormalizer() if language.lower() in ("hi", "hindi") else NeutralNormalizer()
