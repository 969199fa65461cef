"""`data.json` of a run: what was found in its data, and which clips are used for what."""

from pathlib import Path
from typing import Any

from whisperslim.core.disk.untrusted import read_json

DATA_FILE = "data.json"
# A million clips, the most that a list may have, with keys of some 200 bytes. Our choice.
_MOST_BYTES = 256_000_000
_MOST_VALUES = 8_000_000


def read_data(run: Path) -> Any:
    """The record in the folder of a run. Raises as `untrusted.read_json`."""
    return read_json(run / DATA_FILE, run, _MOST_BYTES, _MOST_VALUES)
