"""Where things live on a user's machine. Leaf module."""

import os
from pathlib import Path

ASSETS = Path(__file__).resolve().parents[1] / "assets"
"""The demo corpus, style sheet and pictures of the project's folder; not part of the package."""


def cache_root() -> Path:
    """`$WHISPERSLIM_CACHE`, or `whisperslim` under `$XDG_CACHE_HOME` or `~/.cache`."""
    named = os.environ.get("WHISPERSLIM_CACHE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "whisperslim"


def audio_cache() -> Path:
    """Decoded recordings, shared by all runs; safe to delete."""
    return cache_root() / "audio"
