"""The recipes that come with the project: their names and files."""

from difflib import get_close_matches
from pathlib import Path

from whisperslim.errors import UsageError
from whisperslim.machine.places import PRESETS


def preset_names() -> tuple[str, ...]:
    """Names of the shipped recipes, sorted."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.yaml")))


def preset_path(name: str) -> Path:
    """The file of a shipped recipe. Raises `UsageError` naming the known ones."""
    if name not in preset_names():
        raise UsageError(f"no preset named {name!r}{suggestion(name, preset_names())}")
    return PRESETS / f"{name}.yaml"


def preset_summary(name: str) -> str:
    """What a preset is for: the first comment line of its file."""
    first = preset_path(name).read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("#").strip()


def suggestion(name: str, known: tuple[str, ...]) -> str:
    """The tail of an "unknown name" message: the nearest known name, then all of them."""
    nearest = get_close_matches(name, known, n=1)
    meant = f"; did you mean {nearest[0]}?" if nearest else ";"
    return f"{meant} known: {', '.join(known) or 'none'}"
