"""Which languages a model folder knows, read from its tokenizer alone."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from whisperslim.core.disk.untrusted import read_json, typed
from whisperslim.text.languages import languages_of

_LAYOUT, _ADDED = "tokenizer.json", "added_tokens.json"
_MOST_BYTES, _MOST_VALUES = 32_000_000, 1_000_000  # as `tokens.bounds` has them


def known_languages(folder: Path) -> tuple[str, ...] | None:
    """Codes of the languages that a model or an export has tokens of, sorted.

    None when it has no token of any, as a model of letters, or its tokenizer cannot be read: then
    the engine that runs it decides.
    """
    file = folder / _LAYOUT
    if not file.is_file():
        file = folder / _ADDED
    try:
        written = file.stat()
    except OSError:
        return None
    return _known(file, written.st_mtime_ns, written.st_size)


@lru_cache(maxsize=512)
def _known(file: Path, written: int, size: int) -> tuple[str, ...] | None:
    """`written` and `size` say when it must be read again."""
    try:
        # A model of the hub library's cache is links.
        found = read_json(file.resolve(), most=_MOST_BYTES, values=_MOST_VALUES)
        codes = languages_of(_added(typed(found, dict)))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return codes or None


def _added(found: dict[str, Any]) -> list[str]:
    """Texts of the tokens that were added to a tokenizer's own, in either file's form."""
    listed = found.get("added_tokens")
    texts = [entry["content"] for entry in listed] if isinstance(listed, list) else list(found)
    return [typed(text, str) for text in texts]
