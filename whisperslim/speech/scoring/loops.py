"""Texts that repeat themselves, as a decoder in a loop writes them.

Hindi doubles words to mean each or very (धीरे धीरे, बार बार, घर घर), and speakers say नहीं नहीं नहीं;
only what repeats more than that counts as a loop. The bounds are our choice.
"""

from dataclasses import dataclass

import regex

from whisperslim.speech.scoring.rules import remove_punctuation

WORD_TIMES = 5  # one word, that often in a row
PHRASE_TIMES = 3  # two words or more
PIECE_TIMES = 6  # a piece of one word: हाहाहा is three

_GRAPHEME = regex.compile(r"\X")
_LONGEST_PIECE = 6  # graphemes


@dataclass(frozen=True)
class Loop:
    """`phrase` occurs `times` times in a row."""

    phrase: str
    times: int

    def describe(self) -> str:
        """For people."""
        return f"repeats itself: “{self.phrase}” {self.times} times in a row"


def find_loop(text: str, reference: str = "") -> Loop | None:
    """The longest loop of a text, or None.

    What is repeated as often in `reference`, what was said, does not count as a loop.
    """
    words = remove_punctuation(text).split()
    found = _of_words(words) or _inside_a_word(words)
    if found is not None and reference:
        said = _of_words(remove_punctuation(reference).split(), found.phrase)
        if said is not None and said.times >= found.times:
            return None
    return found


def _of_words(words: list[str], phrase: str = "") -> Loop | None:
    """The longest run of one phrase, or of `phrase`."""
    best, covered = None, 0
    for length in range(1, len(words) // PHRASE_TIMES + 1):
        run = 0  # positions in a row at which a word equals the one `length` before it
        for place in range(length, len(words) + 1):
            if place < len(words) and words[place] == words[place - length]:
                run += 1
                continue
            found = _run_of(words[place - run - length : place - run], run // length + 1)
            if found and (not phrase or found.phrase == phrase) and run + length > covered:
                best, covered = found, run + length
            run = 0
    return best


def _run_of(phrase: list[str], times: int) -> Loop | None:
    # नहीं six times in a row is not "नहीं नहीं" three times.
    one_word = len(set(phrase)) == 1
    if (one_word and len(phrase) > 1) or times < (WORD_TIMES if one_word else PHRASE_TIMES):
        return None
    return Loop(" ".join(phrase), times)


def _inside_a_word(words: list[str]) -> Loop | None:
    # A number of equal digits is a number.
    for letters in (_GRAPHEME.findall(word) for word in words if not word.isdigit()):
        for length in range(1, min(_LONGEST_PIECE, len(letters) // PIECE_TIMES) + 1):
            for start in range(len(letters) - length * PIECE_TIMES + 1):
                piece = letters[start : start + length]
                if letters[start : start + length * PIECE_TIMES] == piece * PIECE_TIMES:
                    return Loop("".join(piece), _times(letters[start:], piece))
    return None


def _times(letters: list[str], piece: list[str]) -> int:
    count = 0
    while letters[count * len(piece) : (count + 1) * len(piece)] == piece:
        count += 1
    return count
