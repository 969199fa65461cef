"""How a list of recordings is named: `PATH#SPLIT?text=COLUMN&audio=COLUMN`."""

import re
from dataclasses import dataclass
from pathlib import Path

from whisperslim.errors import UsageError
from whisperslim.speech.corpus.hub import hub_name, is_hub
from whisperslim.speech.corpus.remote.mozilla import is_mozilla, mozilla_id

_PAIR = r"(?:text|audio)=[^?&=#]+"
_COLUMNS = re.compile(rf"(?P<before>.+)\?(?P<columns>{_PAIR}(?:&{_PAIR})*)", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """A source taken apart; what it does not name is "".

    Attributes:
        location: A path, `hub:OWNER/NAME[:CONFIG][@REVISION]` or `mdc:ID`.
        split: The part of the data that is asked for.
        text: The column that is the text, whatever other columns there are.
        audio: The column that is the recording, likewise.
    """

    location: str
    split: str = ""
    text: str = ""
    audio: str = ""

    def __str__(self) -> str:
        columns = {"text": self.text, "audio": self.audio}
        asked = "&".join(f"{name}={column}" for name, column in columns.items() if column)
        split = f"#{self.split}" if self.split else ""
        return f"{self.location}{split}" + (f"?{asked}" if asked else "")


def is_remote(source: str) -> bool:
    """Whether a source is fetched and no path of this computer, correctly named or not."""
    return is_hub(source) or is_mozilla(source)


def parse_source(source: str) -> Source:
    """The parts of a source. A file whose name holds `#` or `?` is itself.

    Raises `UsageError` for a source that is malformed. So is one that is fetched unless
    `hub_name` or `mozilla_id` accepts its name, whatever is on the disk.
    """
    if not is_remote(source) and _is_there(source):
        return Source(source)
    found = _COLUMNS.fullmatch(source)
    if not found:
        return Source(*_with_split(source))
    pairs = [pair.split("=") for pair in found["columns"].split("&")]
    columns = dict(pairs)
    if len(columns) < len(pairs):
        raise UsageError(f"{source!r}: text= and audio= can each be given once")
    return Source(*_with_split(found["before"]), **columns)


def _with_split(source: str) -> tuple[str, str]:
    if is_remote(source):
        hub_name(source) if is_hub(source) else mozilla_id(source)
        location, _, split = source.partition("#")
        return location, split
    location, mark, split = source.rpartition("#")
    if not mark or _is_there(source):
        return source, ""
    if not location or not split:
        raise UsageError(f"{source!r}: write PATH or PATH#SPLIT, for example data/hi#train")
    return location, split


def _is_there(source: str) -> bool:
    try:
        return Path(source).exists()
    except ValueError:  # a NUL in it
        return False
