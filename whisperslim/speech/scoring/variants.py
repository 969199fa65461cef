"""Word error rate where a reference has several accepted forms (OIWER).

Orthographically informed word error rate, arXiv 2603.00941: a reference is a row of places, each
with a list of accepted forms of one word or several. Forms are chosen so that as many words as
possible match, and of those choices one with the fewest errors is taken; the errors are those of an
ordinary alignment with the chosen words. The rate is over the words of the longest form of every
place, so that all systems are scored over equally many. The package voi_oiwer, the scorer of the
Voice of India benchmark, divides by the words of the forms it chose; ours are `chosen_words`.

Forms come with the data, in the column `variations`; none is made here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from whisperslim.errors import DataError
from whisperslim.speech.scoring.normalizer import Normalizer, RawNormalizer
from whisperslim.speech.scoring.wer import no_words, score

COLUMN = "variations"
"""Of a manifest: a list of lists of texts, in a .tsv or .csv written as JSON."""

Places = tuple[tuple[str, ...], ...]
"""Accepted forms of each place of a reference."""

# One number holds matches and errors, so that matches are compared first.
_MATCH = 10**6
_Cell = tuple[int, Any]


@dataclass(frozen=True)
class VariantScore:
    """Of the utterances with a word in their reference, all under one normalizer.

    `wer` is errors / `reference_words`, those of the longest forms. `chosen_words` are those of the
    forms that were chosen. `utterances` has errors and reference words of each, in order, of which
    `with_variants` had a list of forms; the others are scored against their text.
    """

    wer: float
    hits: int
    substitutions: int
    deletions: int
    insertions: int
    reference_words: int
    chosen_words: int
    n: int
    with_variants: int
    normalizer: str
    version: str
    utterances: tuple[tuple[int, int], ...]

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON; the counts of each utterance are left out."""
        return {name: value for name, value in vars(self).items() if name != "utterances"}


def read_variants(cell: str, key: str) -> Places | None:
    """The forms of a manifest's cell; None for an empty one. `key` is the clip's.

    Raises `DataError` for anything but a list of lists of texts.
    """
    if not cell.strip():
        return None
    try:
        places = json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise _not_variants(key, str(error)) from error
    right = isinstance(places, list) and all(
        isinstance(forms, list) and all(isinstance(form, str) for form in forms) for forms in places
    )
    if not right:
        raise _not_variants(key, f"it begins with {cell[:40]!r}")
    return tuple(tuple(forms) for forms in places)


def _not_variants(key: str, why: str) -> DataError:
    return DataError(
        f"clip {key}: its {COLUMN} are not a list of lists of texts ({why}); write "
        '[["हाँ", "हां"], ["दस", "10"]], a list of accepted forms for each place'
    )


def variant_score(
    references: Sequence[str],
    variants: Sequence[Places | None],
    hypotheses: Sequence[str],
    normalizer: Normalizer,
) -> VariantScore:
    """Score every hypothesis against the accepted forms of its reference, all normalized.

    Where there are none, each word of the reference is a place with one form. Words that differ in
    spaces only are two forms here, whatever the normalizer says of compounds. Utterances without a
    reference word take no part. Raises `DataError` when no reference has a word, as `score`.
    """
    chosen, written, longest, given = [], [], [], 0
    for said, forms, heard in zip(references, variants, hypotheses, strict=True):
        places = _normalized(said, forms, normalizer)
        if places:
            words = normalizer(heard).split()
            chosen.append(" ".join(chosen_words(places, words)))
            written.append(" ".join(words))
            longest.append(sum(max(map(len, place)) for place in places))
            given += forms is not None
    if not chosen:
        raise no_words(len(references), normalizer.name)
    plain = score(chosen, written, RawNormalizer())
    errors = [each.errors for each in plain.utterances]
    return VariantScore(
        wer=sum(errors) / sum(longest),
        hits=plain.hits,
        substitutions=plain.substitutions,
        deletions=plain.deletions,
        insertions=plain.insertions,
        reference_words=sum(longest),
        chosen_words=plain.reference_words,
        n=plain.n,
        with_variants=given,
        normalizer=normalizer.name,
        version=normalizer.version,
        utterances=tuple(zip(errors, longest, strict=True)),
    )


def _normalized(
    said: str, forms: Places | None, normalizer: Normalizer
) -> list[list[tuple[str, ...]]]:
    """Places with their forms as words; those of which nothing is left are no place."""
    if forms is None:
        return [[(word,)] for word in normalizer(said).split()]
    written = ([tuple(normalizer(form).split()) for form in place] for place in forms)
    places = ([form for form in dict.fromkeys(place) if form] for place in written)
    return [place for place in places if place]


def chosen_words(places: Sequence[Sequence[tuple[str, ...]]], heard: Sequence[str]) -> list[str]:
    """The words of the forms, one of each place, that match most of the words `heard`."""
    # For each beginning of `heard`: its value, and the forms chosen for it, the last one first.
    row: list[_Cell] = [(-j, None) for j in range(len(heard) + 1)]
    for forms in places:
        rows = []
        for form in forms:
            after = row
            for word in form:
                after = _next_row(after, word, heard)
            rows.append([(value, (form, before)) for value, before in after])
        row = [max(column, key=lambda cell: cell[0]) for column in zip(*rows, strict=True)]
    words, link = list[str](), row[-1][1]
    while link is not None:
        form, link = link
        words += reversed(form)
    return words[::-1]


def _next_row(row: list[_Cell], word: str, heard: Sequence[str]) -> list[_Cell]:
    value, chosen = row[0]
    found: list[_Cell] = [(value - 1, chosen)]
    for j, other in enumerate(heard):
        value, chosen = found[j][0] - 1, found[j][1]
        if row[j + 1][0] - 1 > value:
            value, chosen = row[j + 1][0] - 1, row[j + 1][1]
        beside = row[j][0] + (_MATCH if word == other else -1)
        found.append((beside, row[j][1]) if beside >= value else (value, chosen))
    return found
