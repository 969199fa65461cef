"""A language model of words, as ARPA files have it, which KenLM's lmplz and SRILM write.

Read here, since the libraries that do are no choice: pyctcdecode, last released in 2023, asks for
numpy before 2, and flashlight-text, of 2024, wants models compiled by KenLM and a word list.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from whisperslim.errors import UsageError

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
_TEN = math.log(10.0)
# They are kept in memory, some 300 bytes each. Our choice.
MOST_GRAMS = 5_000_000
_MOST_ORDER = 9
Words = tuple[str, ...]


@dataclass(frozen=True)
class NGrams:
    """Words and how likely they are after others, with back-off (Katz, 1987).

    Attributes:
        order: Words of the longest entry.
        chances: Entry -> natural logarithm of the probability of its last word after the others.
        backoffs: Entry -> logarithm of what a word costs that was not seen after it.
    """

    order: int
    chances: Mapping[Words, float]
    backoffs: Mapping[Words, float]

    def after(self, context: Words, word: str) -> float:
        """Natural logarithm of the probability of a word after those before it."""
        cost = 0.0
        word = word if (word,) in self.chances else UNKNOWN
        context = self.kept(context)
        while (*context, word) not in self.chances and context:
            cost += self.backoffs.get(context, 0.0)
            context = context[1:]
        return cost + self.chances[(*context, word)]

    def kept(self, context: Words) -> Words:
        """The words that the next one depends on."""
        return context[len(context) - min(len(context), self.order - 1) :]


def read_ngrams(file: Path) -> NGrams:
    """The model in an ARPA file.

    Raises:
        UsageError: it is missing or damaged, too large, or has no entry for unknown words.
    """
    try:
        with file.open(encoding="utf-8") as lines:
            return _read(lines)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{file} cannot be used as a language model: {error}; give an ARPA file, as lmplz of "
            "KenLM writes it"
        ) from error


def _read(lines: Iterator[str]) -> NGrams:
    counts = _head(lines)
    chances: dict[Words, float] = {}
    backoffs: dict[Words, float] = {}
    size, found = 0, dict.fromkeys(counts, 0)
    for line in lines:
        text = line.strip()
        if text == "\\end\\":
            break
        if text.startswith("\\"):
            size = int(text.removeprefix("\\").removesuffix("-grams:"))
        elif text:
            if size not in counts or found[size] == counts[size]:
                raise ValueError(f"there are more {size}-grams than its head says")
            words, chance, backoff = _entry(text, size)
            chances[words] = chance
            if backoff:
                backoffs[words] = backoff
            found[size] += 1
    if found != counts:
        raise ValueError(f"it has {found} entries by their length, and its head says {counts}")
    if (UNKNOWN,) not in chances:
        raise ValueError(f"it has no entry {UNKNOWN}, for words that it does not know")
    return NGrams(max(counts), chances, backoffs)


def _head(lines: Iterator[str]) -> dict[int, int]:
    """Length -> entries, from the lines up to the first empty one behind the counts."""
    if not any(line.strip() == "\\data\\" for line in lines):
        raise ValueError("it has no line \\data\\")
    counts: dict[int, int] = {}
    for line in lines:
        name, _, value = line.strip().partition("=")
        if not name:
            break
        counts[int(name.removeprefix("ngram "))] = int(value)
    if sorted(counts) != list(range(1, len(counts) + 1)) or not 1 <= len(counts) <= _MOST_ORDER:
        raise ValueError(
            f"its head has counts of {sorted(counts)}; 1 to {_MOST_ORDER} are accepted"
        )
    if not 0 < sum(counts.values()) <= MOST_GRAMS or min(counts.values()) < 0:
        raise ValueError(
            f"its head says {sum(counts.values())} entries; up to {MOST_GRAMS} are read"
        )
    return counts


def _entry(text: str, size: int) -> tuple[Words, float, float]:
    parts = text.split()
    if len(parts) not in (size + 1, size + 2):
        raise ValueError(f"the line {text[:40]!r} is no {size}-gram")
    chance, backoff = float(parts[0]), float(parts[size + 1]) if len(parts) > size + 1 else 0.0
    if not (math.isfinite(chance) and chance <= 0.0 and math.isfinite(backoff)):
        raise ValueError(f"the line {text[:40]!r} has no logarithm of a probability")
    return tuple(parts[1 : size + 1]), chance * _TEN, backoff * _TEN
