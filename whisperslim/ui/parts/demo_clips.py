"""The recordings that come with the project, for trying Compare without a microphone."""

from pathlib import Path

from whisperslim.errors import DataError
from whisperslim.ui.parts.theme import ASSETS

CLIPS_FOLDER = ASSETS / "demo_hi"


def demo_clips() -> dict[str, str]:
    """Audio path within the demo folder -> its text, test clips first (no run trains on them)."""
    lines = (CLIPS_FOLDER / "manifest.tsv").read_text("utf-8").splitlines()
    names = lines[0].split("\t")
    rows = [dict(zip(names, line.split("\t"), strict=True)) for line in lines[1:]]
    rows.sort(key=lambda row: row["split"] != "test")
    return {row["path"]: row["text"] for row in rows}


def demo_clip(name: object) -> tuple[Path, str]:
    """The file and text of one clip. Raises `DataError` for a name that is not in the list."""
    clips = demo_clips()
    if not isinstance(name, str) or name not in clips:
        raise DataError(f"{name!r} is not one of the demo clips; choose one from the list")
    return CLIPS_FOLDER / name, clips[name]
