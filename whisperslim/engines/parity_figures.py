"""How far what an export makes of speech is from what the model makes of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from whisperslim.errors import DataError
from whisperslim.speech.normalise import for_language
from whisperslim.speech.wer import score


@dataclass(frozen=True)
class Answer:
    """What one side made of a part: text, token ids and encoder states, where they are told."""

    text: str
    ids: tuple[int, ...] | None
    states: np.ndarray | None


Pair = tuple[Answer, Answer]
"""The model's answer, then the export's."""


def same(wanted: Answer, found: Answer) -> bool:
    """Whether both wrote the same tokens, or the same text where one tells no tokens."""
    if wanted.ids is None or found.ids is None:
        return wanted.text == found.text
    return wanted.ids == found.ids


def encoder_error(pairs: Sequence[Pair]) -> float | None:
    """Largest norm of the difference over the norm of the model's own states.

    None when a side shows none; infinite for another shape, or what is not a number.
    """
    errors = []
    for wanted, found in pairs:
        if wanted.states is None or found.states is None:
            return None
        if wanted.states.shape != found.states.shape:
            return math.inf
        difference = np.linalg.norm(found.states.astype(np.float64) - wanted.states)
        errors.append(float(difference / np.linalg.norm(wanted.states.astype(np.float64))))
    return math.inf if any(map(math.isnan, errors)) else max(errors)


def token_agreement(pairs: Sequence[Pair]) -> float | None:
    """Tokens in common, in order, times two, over all written. None when a side tells none."""
    common, written = 0, 0
    for wanted, found in pairs:
        if wanted.ids is None or found.ids is None:
            return None
        matcher = SequenceMatcher(None, wanted.ids, found.ids, autojunk=False)
        common += 2 * sum(block.size for block in matcher.get_matching_blocks())
        written += len(wanted.ids) + len(found.ids)
    return common / written if written else 1.0


def word_difference(pairs: Sequence[Pair], language: str) -> float | None:
    """Word errors against the model's own text, over its words; None when it has no word."""
    texts = [wanted.text for wanted, _ in pairs]
    try:
        return score(texts, [found.text for _, found in pairs], for_language(language)).wer
    except DataError:  # the model wrote no word: there is no rate
        return None


def statement(
    quantize: str, agreed: int, parts: int, seconds: float, error: float | None, words: float | None
) -> str:
    """The figures in a sentence."""
    form = "unquantised" if quantize == "none" else quantize
    told = [f"{form}: the same text for {agreed} of {parts} parts ({seconds:.0f} s of speech)"]
    if error is not None:
        told.append(f"encoder off by {error:.1e} of its norm")
    if words is not None:
        told.append(f"{words:.1%} of words differ from the model's own")
    return "; ".join(told)
