"""The recordings that come with the project, for trying Compare without a microphone."""

from pathlib import Path

from whisperslim.errors import DataError
from whisperslim.ui.parts.theme import ASSETS

CLIPS_FOLDER = ASSETS / "demo_hi"


def demo_clips() -> dict[str, str]:
    """Audio path within the demo folder -> its text, test clips first (no run trains on them)."""
    return {row["path"]: row["text"] for row in _rows()}


def demo_training_clips() -> frozenset[str]:
    """Paths of those that the demo trains on."""
    return frozenset(row["path"] for row in _rows() if row["split"] != "test")


def _rows() -> list[dict[str, str]]:
    lines = (CLIPS_FOLDER / "manifest.tsv").read_text("utf-8").splitlines()
    names = lines[0].split("\t")
    rows = [dict(zip(names, line.split("\t"), strict=True)) for line in lines[1:]]
    return sorted(rows, key=lambda row: row["split"] != "test")


def demo_clip(name: object) -> tuple[Path, str]:
    """The file and text of one clip. Raises `DataError` for a name that is not in the list."""
    clips = demo_clips()
    if not isinstance(name, str) or name not in clips:
        raise DataError(f"{name!r} is not a demo clip; choose one from the list")
    return CLIPS_FOLDER / name, clips[name]
