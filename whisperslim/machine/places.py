"""Folders of the installation and of this user. Leaf module."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
PACKAGE_PARENT = _PACKAGE.parent
"""Where Python finds the package: the project's folder, or `site-packages`."""
_PACKAGED = _PACKAGE / "shipped"
SHIPPED = _PACKAGED if _PACKAGED.is_dir() else PACKAGE_PARENT
"""Holds `presets` and `assets`: the project's folder, or an installed package's copy of both."""
ASSETS = SHIPPED / "assets"
"""The demo corpus, style sheets and fonts."""
PRESETS = SHIPPED / "presets"
"""The recipes that ship."""


def cache_root() -> Path:
    """`$WHISPERSLIM_CACHE`, or `whisperslim` under `$XDG_CACHE_HOME` or `~/.cache`."""
    named = os.environ.get("WHISPERSLIM_CACHE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "whisperslim"


def state_root() -> Path:
    """`$WHISPERSLIM_STATE`, or `whisperslim` under `$XDG_STATE_HOME` or `~/.local/state`.

    For this user's own files, which must not be deleted as a cache may be.
    """
    named = os.environ.get("WHISPERSLIM_STATE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "whisperslim"


def audio_cache() -> Path:
    """Decoded recordings, shared by all runs; safe to delete."""
    return cache_root() / "audio"
