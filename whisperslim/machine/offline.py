"""Offline mode: nothing is fetched. Leaf module.

It is set in the environment, so that it also holds for processes that the app starts.
"""

import os

VARIABLE = "WHISPERSLIM_OFFLINE"
_TRUE = {"1", "ON", "YES", "TRUE"}


def is_offline() -> bool:
    """Whether this process must not ask other computers for anything."""
    return os.environ.get(VARIABLE, "").upper() in _TRUE


def go_offline() -> None:
    """From now on, for this process and those it starts. Call it before the hub's library is
    imported.
    """
    os.environ.update({VARIABLE: "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})
