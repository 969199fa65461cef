"""Text normalization before scoring. Every score names the normalizer it went through.

Error rates made with different normalizers are different measures and are never compared: for
Hindi about ten points of WER lie between them. `rules` has what they are made of, `published` those
of others.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import regex

from whisperslim.errors import UsageError
from whisperslim.speech.scoring.compounds import respaced
from whisperslim.speech.scoring.hindi_numbers import spell_numbers, write_amounts
from whisperslim.speech.scoring.indic import INDIC, IndicNormalizer
from whisperslim.speech.scoring.published import (
    VISTAAR,
    VistaarNormalizer,
    WhisperBasicNormalizer,
    WhisperEnglishNormalizer,
    WhisperMarksNormalizer,
)
from whisperslim.speech.scoring.rules import (
    apply_indic_rules,
    collapse_spaces,
    compose,
    drop_glides,
    fold_candra,
    fold_nukta,
    lower_case_latin,
    remove_punctuation,
    remove_zero_width,
    unify_chandrabindu,
    unify_digits,
    unify_half_nasals,
)
from whisperslim.text.languages import code_of


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
    Step("amounts", write_amounts, on_by_default=False),
    Step("number-words", spell_numbers, on_by_default=False),
    Step("punctuation", remove_punctuation),
    Step("chandrabindu", unify_chandrabindu),
    Step("half-nasals", unify_half_nasals),
    Step("nukta-folding", fold_nukta, on_by_default=False),
    Step("candra", fold_candra, on_by_default=False),
    Step("glides", drop_glides, on_by_default=False),
    Step("spaces", collapse_spaces),
)
DEFAULT_HINDI_STEPS = tuple(step.name for step in HINDI_STEPS if step.on_by_default)
COMPOUNDS = "compounds"


@dataclass(frozen=True)
class HindiNormalizer:
    """Hindi text for scoring: spelling variants unified, vowel signs and all other marks kept.

    `steps` names the rules that are on. They run in the order of `HINDI_STEPS` whatever order they
    are named in. A word that holds a letter or a digit never becomes empty. Applying it twice
    changes nothing more with the default steps; others, such as number words with folded nuktas,
    may need a second pass. With `compounds`, words that differ in spaces only count as one, which
    takes both texts; see `normalized_pair`. Raises `UsageError` for an unknown step.
    """

    steps: tuple[str, ...] = DEFAULT_HINDI_STEPS
    compounds: bool = False

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
        joined = [f"+{COMPOUNDS}"] if self.compounds else []
        return "".join([f"hindi-{self.version}", *changed, *joined])

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


# Those whose name says all.
_PLAIN: tuple[Normalizer, ...] = (
    RawNormalizer(),
    WhisperBasicNormalizer(),
    WhisperMarksNormalizer(),
    WhisperEnglishNormalizer(),
    NeutralNormalizer(),
    *map(IndicNormalizer, INDIC),
)
_HINDI_NAME = regex.compile(
    rf"hindi-1([+-](?:{'|'.join([*(step.name for step in HINDI_STEPS), COMPOUNDS])}))*"
)


def by_name(name: str, language: str = "hi") -> Normalizer:
    """The normalizer called `name`; `language`, Whisper's code, is of the texts.

    Of Hindi's, every name that `HindiNormalizer.name` can give is known. Raises `UsageError`
    listing the known ones.
    """
    for normalizer in _PLAIN:
        if normalizer.name == name:
            return normalizer
    if name == VISTAAR:
        return VistaarNormalizer(language)
    if match := _HINDI_NAME.fullmatch(name):
        changed = match.captures(1)
        off = {step[1:] for step in changed if step[0] == "-"}
        on = [step[1:] for step in changed if step[0] == "+"]
        steps = tuple(step for step in (*DEFAULT_HINDI_STEPS, *on) if step not in off)
        return HindiNormalizer(
            tuple(step for step in steps if step != COMPOUNDS), COMPOUNDS in steps
        )
    known = [*(normalizer.name for normalizer in _PLAIN), VISTAAR, "hindi-1"]
    options = [f"+{step.name}" for step in HINDI_STEPS if not step.on_by_default]
    raise UsageError(
        f"unknown normalizer {name!r}; choose one of {', '.join(known)}; hindi-1 takes "
        f"{', '.join([*options, f'+{COMPOUNDS}'])} behind it, as in hindi-1+nukta-folding"
    )


def normalized_pair(normalizer: Normalizer, reference: str, hypothesis: str) -> tuple[str, str]:
    """Both texts as they are scored against each other.

    They differ from the normalizer's own only in the spaces of the hypothesis, where compounds are
    taken as one word.
    """
    said, heard = normalizer(reference), normalizer(hypothesis)
    joins = isinstance(normalizer, HindiNormalizer) and normalizer.compounds
    return said, respaced(said, heard) if joins else heard


def for_language(language: str) -> Normalizer:
    """The normalizer that judges `language` (Whisper's code or English name, such as "hi").

    Hindi, the languages of `INDIC` and English have their own; every other gets the neutral one.
    """
    code = code_of(language)
    if code == "hi":
        return HindiNormalizer()
    if code == "en":
        return WhisperEnglishNormalizer()
    return IndicNormalizer(code) if code in INDIC else NeutralNormalizer()


def for_letters(language: str) -> Normalizer:
    """The form of texts that a model of letters learns to write.

    That which judges, but for English: its rules write numbers as digits and leave out words, so
    the letters would no longer be those that are heard.
    """
    judge = for_language(language)
    return NeutralNormalizer() if isinstance(judge, WhisperEnglishNormalizer) else judge
