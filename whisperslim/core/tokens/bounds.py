"""The files of a tokenizer, checked before libraries read them, which set no bounds.

Bounds are our choice; a Whisper's tokenizer has 52,000 tokens, 50,000 merges and 3 MB.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whisperslim.core.disk.untrusted import read_json, read_plain, typed
from whisperslim.errors import CheckpointError

_LAYOUT, _SETTINGS = "tokenizer.json", "tokenizer_config.json"
_LISTS = ("merges.txt", "chat_template.jinja")
_MOST_BYTES = 32_000_000
# A merge is up to three of the values of a file: a list, and two texts.
_MOST_VALUES = {_LAYOUT: 1_000_000, "vocab.json": 500_000}
_MOST_OTHER_VALUES = 200_000
_OTHERS = (_SETTINGS, "added_tokens.json", "special_tokens_map.json", "normalizer.json")
_MOST_LINES = 500_000
_MOST_ADDED = 20_000
_LONGEST_TEXT = 100_000  # tokens that a text is filled up or cut to


def check_token_files(folder: Path, known_rules: Any = None) -> None:
    """Look at every file of the tokenizer in `folder` that is there.

    Args:
        folder: Of a model.
        known_rules: The `pre_tokenizer` that may have a pattern, if any. Another pattern could make
            it search forever, or need more memory than there is.

    Raises:
        CheckpointError: a file is longer, deeper or fuller than any, or `tokenizer.json` has a
            pattern of its own.
    """
    for name in (*_MOST_VALUES, *_OTHERS, *_LISTS):
        file = folder / name
        if not file.is_file():
            continue
        try:
            _check(file, known_rules)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{file} cannot be used: {error}. Fetch it again, or take that of the model this "
                "one was made from"
            ) from error


def _check(file: Path, known_rules: Any) -> None:
    # A model of the hub library's cache is links; what is read here is not handed on.
    place = file.resolve()
    if file.name in _LISTS:
        if read_plain(place, _MOST_BYTES).count(b"\n") > _MOST_LINES:
            raise ValueError(f"it has over {_MOST_LINES} lines")
        return
    values = _MOST_VALUES.get(file.name, _MOST_OTHER_VALUES)
    found = typed(read_json(place, most=_MOST_BYTES, values=values), dict)
    if file.name == _LAYOUT:
        _check_layout(found, known_rules)
    elif file.name == _SETTINGS and "fast_tokenizer_files" in found:
        # Paths, of which transformers opens one.
        raise ValueError("it names another file as the tokenizer; accepted is tokenizer.json")


def _check_layout(found: dict[str, Any], known_rules: Any) -> None:
    added = found.get("added_tokens") or []
    if len(typed(added, list)) > _MOST_ADDED:
        raise ValueError(f"it adds {len(added)} tokens; accepted are {_MOST_ADDED}")
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        layout = found.get(part)
        if "Regex" in _keys(layout) and layout != known_rules:
            raise ValueError(
                f"its {part} has a pattern of its own; accepted are Whisper's, which has none, and "
                "the one that this package writes"
            )
    for part in ("padding", "truncation"):
        if any(number > _LONGEST_TEXT for number in _numbers(found.get(part))):
            raise ValueError(f"its {part} is beyond {_LONGEST_TEXT} tokens")


def _keys(value: Any) -> Iterator[str]:
    for each in _inside(value):
        if isinstance(each, dict):
            yield from each


def _numbers(value: Any) -> Iterator[float]:
    return (each for each in _inside(value) if isinstance(each, (int, float)))


def _inside(value: Any) -> Iterator[Any]:
    """A value of JSON and all in it, however deep."""
    left = [value]
    while left:
        each = left.pop()
        yield each
        if isinstance(each, dict):
            left += each.values()
        elif isinstance(each, list):
            left += each
