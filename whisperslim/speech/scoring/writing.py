"""Which script a text is written in: Whisper writes spoken Hindi in Urdu or Latin letters, too.

A word's script is that of most of its letters, by Unicode's Script property; digits, punctuation
and marks that several scripts share have none.
"""

import unicodedata
from collections import Counter
from functools import lru_cache

import regex

from whisperslim.text.scripts import SCRIPTS_OF

NO_SCRIPT = "none"
OTHER = "other"
MIXED = "mixed"
# Unicode's names of the scripts that are distinguished; a letter of any further one is `OTHER`.
TOLD_APART = ("Devanagari", "Arabic", "Latin")

_OF_SCRIPT = {script: regex.compile(rf"\p{{Script={script}}}") for script in TOLD_APART}


@lru_cache(maxsize=4096)
def _character_script(character: str) -> str:
    if unicodedata.category(character)[0] not in "LM":
        return NO_SCRIPT
    for script, pattern in _OF_SCRIPT.items():
        if pattern.match(character):
            return script
    # A mark of no script of its own goes with the letter under it.
    return OTHER if character.isalpha() else NO_SCRIPT


def word_script(word: str) -> str:
    """One of `TOLD_APART`, `OTHER`, or `NO_SCRIPT` for a word without a letter."""
    counts = Counter(map(_character_script, word))
    del counts[NO_SCRIPT]
    return counts.most_common(1)[0][0] if counts else NO_SCRIPT


def text_script(text: str) -> str:
    """The script of more than half of the words that have one; `MIXED` when none has that many.

    `NO_SCRIPT` for a text without letters, an empty one among them.
    """
    counts = Counter(map(word_script, text.split()))
    del counts[NO_SCRIPT]
    if not counts:
        return NO_SCRIPT
    script, most = counts.most_common(1)[0]
    return script if 2 * most > counts.total() else MIXED


def own_scripts(language: str) -> tuple[str, ...]:
    """Names of the scripts that a language, by Whisper's code, is written in; empty if unknown."""
    return SCRIPTS_OF.get(language, ())
