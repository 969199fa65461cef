"""Offline mode: nothing is fetched, whoever asks. Leaf module.

It travels in the environment, so that the processes that the app starts keep to it, too.
"""

import os

VARIABLE = "WHISPERSLIM_OFFLINE"
_TRUE = {"1", "ON", "YES", "TRUE"}


def is_offline() -> bool:
    """Whether this process must not ask other computers for anything."""
    return os.environ.get(VARIABLE, "").upper() in _TRUE


def go_offline() -> None:
    """From here on, for this process and those it starts. Before the hub's library is imported."""
    os.environ.update({VARIABLE: "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})
