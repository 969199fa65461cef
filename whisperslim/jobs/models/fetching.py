"""Fetching a model by name beside the app, and how far it is."""

import re
from dataclasses import dataclass
from pathlib import Path

from whisperslim.errors import SourceError, UsageError
from whisperslim.jobs.models.inventory import downloads
from whisperslim.jobs.process import background
from whisperslim.jobs.run.disk import disk_errors
from whisperslim.machine.offline import is_offline

FETCH = "fetch"
_SHARE = re.compile(r": (\d{1,3}) % of ")


@dataclass(frozen=True)
class FetchDesk:
    """Where the log of what is fetched lies, beside the runs; it is no run."""

    runs: Path
    name: str = "models"

    @property
    def path(self) -> Path:
        """Its folder; the dot keeps it out of the list of runs."""
        return self.runs / ".models"


@dataclass(frozen=True)
class Fetching:
    """The latest fetch. `share` is that of the file at work, from 0 to 1; None when unknown."""

    name: str = ""
    running: bool = False
    said: str = ""
    share: float | None = None

    @property
    def failed(self) -> bool:
        """Whether it ended without a model."""
        return not self.running and "error:" in self.said


def check_fetch(runs: Path, name: object) -> str:
    """The name of a model of the hub that may be fetched now.

    Raises `UsageError` for what is no such name, `SourceError` offline; that one says what is here.
    """
    from whisperslim.core.fetch.sources import hub_name  # it brings the hub's library

    said = name.strip() if isinstance(name, str) else ""
    try:
        hub_name(said)
    except SourceError as error:
        raise UsageError(
            f"{said[:100]!r} is no name on the Hugging Face hub, which is OWNER/NAME, such as "
            "openai/whisper-base"
        ) from error
    if is_offline():
        raise SourceError(f"{said} is not fetched: the app is offline. {without_network(runs)}")
    return said


def without_network(runs: Path) -> str:
    """What can be had without a network, as a sentence."""
    here = [entry.name for entry in downloads(runs) if not entry.problem]
    if not here:
        return "No model was fetched before; a model's folder, copied here, is found by its path."
    return f"Here without a network: {', '.join(here)}."


def prepare(desk: FetchDesk) -> FetchDesk:
    """The desk, its folder made. Raises `RunError` for what the disk refuses."""
    with disk_errors(desk.runs):
        desk.path.mkdir(parents=True, exist_ok=True)
    return desk


def look(desk: FetchDesk) -> Fetching:
    """How far the latest fetch is."""
    found = background.look(desk, FETCH)
    name = found.arguments[1] if len(found.arguments) > 1 else ""
    shares = _SHARE.findall(found.said)
    return Fetching(name, found.running, found.said, int(shares[-1]) / 100 if shares else None)
