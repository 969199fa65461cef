"""Sentences to be read aloud, one a line of a text file."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from whisperslim.errors import DataError, UsageError
from whisperslim.speech.corpus.formats import decode_lines

# Our limits. 300 characters of Hindi take about 25 s to read.
LONGEST_TAKE_SECONDS = 30  # as long as a clip to train on may be
MOST_CHARACTERS = 300
MOST_PROMPTS = 2000
MOST_FILE_BYTES = 1_000_000


def read_prompts(path: Path) -> list[str]:
    """The sentences of a UTF-8 text file. Empty lines and repeated sentences are left out.

    Raises `DataError` when the file is too large, not UTF-8 or holds no sentence, `UsageError`
    naming the line of a sentence that is not accepted.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path.name} cannot be read ({error.strerror})") from error
    if size > MOST_FILE_BYTES:
        raise DataError(f"{path.name} has {size} bytes; up to {MOST_FILE_BYTES} are accepted")
    return check_prompts(list(decode_lines(path)))


def check_prompts(lines: Sequence[object]) -> list[str]:
    """The sentences of these lines, white space made single spaces. Raises as `read_prompts`."""
    if isinstance(lines, str) or not isinstance(lines, Sequence):
        raise UsageError("sentences must be a list of texts")
    cleaned = [_prompt(line, number) for number, line in enumerate(lines, 1)]
    found = list(dict.fromkeys(prompt for prompt in cleaned if prompt))
    if not found:
        raise DataError("there is no sentence to read: write one per line")
    if len(found) > MOST_PROMPTS:
        raise UsageError(f"{len(found)} sentences are too many: {MOST_PROMPTS} are accepted")
    return found


def _prompt(line: object, number: int) -> str:
    if not isinstance(line, str):
        raise UsageError(f"sentence {number} is no text")
    prompt = " ".join(line.split())
    if len(prompt) > MOST_CHARACTERS:
        raise UsageError(
            f"line {number} has {len(prompt)} characters; {MOST_CHARACTERS} are accepted, as a "
            f"sentence must be read within {LONGEST_TAKE_SECONDS} s: write one sentence per line"
        )
    # Joiners are format characters (Cf) and belong to Hindi; control characters (Cc) to no text.
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in prompt):
        raise UsageError(f"line {number} has control characters: save the file as plain text")
    return prompt
