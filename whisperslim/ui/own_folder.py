"""The app's own folder for what it keeps for a while: uploads, recordings, files to save."""

from pathlib import Path

KEPT_SECONDS = 3600  # of every file: an upload, a recording chosen, a file to save


def bytes_below(folder: Path) -> int:
    """The sizes of all that lies below `folder`, in bytes."""
    # A file may be cleared away between being listed and being looked at.
    return sum(_bytes_of(path) for path in folder.rglob("*"))


def clear_old(folder: Path, now: float) -> None:
    """Remove the files below `folder` that lay there for `KEPT_SECONDS` at `now`, a Unix time.

    Gradio clears away by itself only what it has a note of, and an upload that broke off is no
    part of that.
    """
    for path in folder.rglob("*"):
        # A copy has the time of its original for its last writing, so that says nothing.
        if not path.is_dir() and now - _changed_at(path, now) > KEPT_SECONDS:
            path.unlink(missing_ok=True)


def _bytes_of(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _changed_at(path: Path, otherwise: float) -> float:
    try:
        return path.lstat().st_ctime
    except FileNotFoundError:
        return otherwise
