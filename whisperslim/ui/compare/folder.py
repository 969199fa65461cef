"""Two models on every recording of a folder, one clip after another, in a thread of the app.

No page waits for it: pages come and go and read its progress. The texts are on disk after every
clip, beside the other comparisons, so another app can continue where one ended.
"""

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisperslim.core.disk.files import write_text_atomically
from whisperslim.core.disk.untrusted import json_of, read_plain, typed, typed_fields
from whisperslim.errors import DataError, UsageError, WhisperSlimError
from whisperslim.speech.audio.audio import SOUND_SUFFIXES
from whisperslim.ui.compare.record import ROLES
from whisperslim.ui.context.side_choice import SideChoice

if TYPE_CHECKING:  # it imports torch
    from whisperslim.engines.comparison import Comparison

FORMAT = 1
MOST_CLIPS = 500
FOLDER = "folders"
_MOST_BYTES = 20_000_000  # of a record: the texts of `MOST_CLIPS` clips of two minutes

Listen = Callable[[SideChoice, SideChoice, str, str, str | None], "Comparison"]
GiveUp = Callable[[str, SideChoice, SideChoice], None]
Hold = Callable[[Sequence[SideChoice]], AbstractContextManager[None]]


def _hold_nothing(sides: Sequence[SideChoice]) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Clip:
    """One recording; `reference` is its spoken text, or None."""

    key: str
    path: Path
    reference: str | None = None


@dataclass(frozen=True)
class BatchRow:
    """The texts of one clip, times in seconds; `problem` says why there are none.

    `trained` names the sides that were trained on this recording.
    """

    key: str
    reference: str | None
    dense: str = ""
    slim: str = ""
    audio_seconds: float = 0.0
    dense_seconds: float = 0.0
    slim_seconds: float = 0.0
    problem: str = ""
    trained: tuple[str, ...] = ()


@dataclass(frozen=True)
class BatchState:
    """The progress. `names` are the models as chosen; `path` is the file on disk."""

    names: tuple[str, str]
    sides: tuple[SideChoice, SideChoice]
    source: str
    language: str
    total: int
    path: Path
    rows: tuple[BatchRow, ...] = ()
    running: bool = True
    stopping: bool = False
    problem: str = ""

    @property
    def broken_off(self) -> bool:
        """Whether it ended before the last clip."""
        return not self.running and len(self.rows) < self.total


@dataclass
class BatchCompare:
    """The one folder that this app compares at a time.

    `give_up` ends what may never end by itself of a recording, named first, in the two models;
    `hold` keeps these from deletion.
    """

    listen: Listen
    folder: Path
    give_up: GiveUp = lambda recording, dense, slim: None
    hold: Hold = _hold_nothing
    _at_work: str = ""
    _state: BatchState | None = None
    _sought: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self) -> BatchState | None:
        """The progress, or that of the newest on disk; None when there was none yet."""
        with self._lock:
            if self._state is None and not self._sought:
                self._sought = True
                self._state = _newest(self.folder / FOLDER)
            return self._state

    def start(
        self,
        names: tuple[str, str],
        sides: tuple[SideChoice, SideChoice],
        source: str,
        clips: list[Clip],
        language: str,
    ) -> None:
        """Start, or continue the last one if it was the same and was broken off.

        Raises `UsageError` while another is running.
        """
        path = self.folder / FOLDER / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
        asked = BatchState(names, sides, source, language, len(clips), path)
        earlier = self.look()
        with self._lock:
            if self._state is not None and self._state.running:
                raise UsageError(
                    "a folder is being compared; wait until it is done, or press Stop first"
                )
            self._state = begun = asked if earlier is None else _gone_on(earlier, asked, clips)
        heard = {row.key for row in begun.rows}
        left = [clip for clip in clips if clip.key not in heard]
        threading.Thread(target=self._work, args=(left,), daemon=True, name="folder").start()

    def stop(self) -> None:
        """End after the clip at work, or at once where that hangs. What was heard stays."""
        self._change(stopping=True)
        state = self._state
        if state is not None and state.running:
            self.give_up(self._at_work, *state.sides)

    def _work(self, clips: list[Clip]) -> None:
        problem = "the comparison ended unexpectedly; the log of the app says why"
        # Imported late: reading manifests loads the data libraries.
        from whisperslim.jobs.scoring.origin import training_clips

        try:
            sides = self._state.sides if self._state is not None else ()
            known = [
                (role, training_clips(side.path)) for role, side in zip(ROLES, sides, strict=False)
            ]
            with self.hold(sides):
                for clip in clips:
                    state = self._state
                    if state is None or state.stopping:
                        break
                    trained = tuple(role for role, taught in known if taught.holds(clip.path))
                    self._at_work = str(clip.path)
                    row = self._hear(state, clip, trained)
                    if row.problem and self._state is not None and self._state.stopping:
                        break  # it was given up, and says nothing of the clip
                    self._add(row)
            problem = ""
        except OSError as error:
            problem = (
                f"{self.folder} cannot be written to: {error.strerror}; make room and start again"
            )
        finally:
            self._change(running=False, problem=problem)

    def _hear(self, state: BatchState, clip: Clip, trained: tuple[str, ...]) -> BatchRow:
        """One clip; if it cannot be transcribed, its row says why, and the next follows."""
        try:
            found = self.listen(*state.sides, str(clip.path), state.language, clip.reference)
        except WhisperSlimError as error:
            return BatchRow(clip.key, clip.reference, problem=str(error))
        dense, slim = found.dense.transcript, found.slim.transcript
        return BatchRow(
            clip.key, clip.reference, dense.text, slim.text,
            dense.audio_seconds, dense.seconds, slim.seconds, trained=trained,
        )  # fmt: skip

    def _add(self, row: BatchRow) -> None:
        with self._lock:
            if self._state is None:
                return
            self._state = replace(self._state, rows=(*self._state.rows, row))
            state = self._state
        write_text_atomically(state.path, json.dumps(record_of(state), ensure_ascii=False))

    def _change(self, **values: Any) -> None:
        with self._lock:
            if self._state is not None:
                self._state = replace(self._state, **values)


def record_of(state: BatchState) -> dict[str, Any]:
    """Plain values for JSON."""
    record = asdict(state)
    for name in ("running", "stopping", "path"):
        del record[name]
    return {"format": FORMAT, "compared": len(state.rows), **record}


def _newest(folder: Path) -> BatchState | None:
    # A link would let records outside be shown and continued.
    if folder.is_symlink() or folder.parent.is_symlink():
        return None
    for path in sorted(folder.glob("*.json"), reverse=True):
        try:
            return _parsed(json_of(read_plain(path, _MOST_BYTES)), path)
        except (OSError, ValueError, TypeError, KeyError):  # damaged, or written by something else
            continue
    return None


def _parsed(record: Any, path: Path) -> BatchState:
    """A record read from disk, every type checked: the folder may hold anything."""
    if typed(record, dict)["format"] != FORMAT:
        raise ValueError("another format")
    rows = typed(record["rows"], list)
    if len(rows) > MOST_CLIPS:
        raise ValueError("more clips than can be compared")
    dense, slim = (typed(name, str) for name in typed(record["names"], list))
    first, second = (
        # In earlier records texts may be in any script.
        SideChoice(**typed_fields(SideChoice, {"script": "any", **typed(side, dict)}))
        for side in typed(record["sides"], list)
    )
    texts = {name: typed(record[name], str) for name in ("source", "language", "problem")}
    return BatchState(
        names=(dense, slim),
        sides=(first, second),
        total=typed(record["total"], int),
        path=path,
        rows=tuple(_parsed_row(row) for row in rows),
        running=False,
        **texts,
    )


def _parsed_row(record: Any) -> BatchRow:
    said = record["reference"]
    trained = tuple(typed(record.get("trained", []), list))  # earlier records do not have it
    if not all(role in ROLES for role in trained):
        raise ValueError("unknown sides")
    values = typed_fields(BatchRow, record, but=("reference", "trained"))
    said = None if said is None else typed(said, str)
    return BatchRow(reference=said, trained=trained, **values)


def _gone_on(earlier: BatchState, asked: BatchState, clips: list[Clip]) -> BatchState:
    """`asked`, with the texts that an earlier one had of the same clips by the same models."""
    same = all(
        getattr(earlier, name) == getattr(asked, name)
        for name in ("names", "sides", "source", "language")
    )
    files = [*(clip.path for clip in clips), *(Path(side.path) for side in asked.sides)]
    if not (same and earlier.broken_off and _written(files) < _written([earlier.path])):
        return asked
    present = {(clip.key, clip.reference) for clip in clips}
    # Clips that failed are tried again; clips whose reference was corrected are scored again.
    rows = tuple(
        row for row in earlier.rows if (row.key, row.reference) in present and not row.problem
    )
    return replace(asked, rows=rows, path=earlier.path)


def _written(paths: Iterable[Path]) -> float:
    """When the newest of these files, or files in these folders, was written; 0.0 for none."""
    within = [each for path in paths for each in (path, *path.glob("*"))]
    return max((each.stat().st_mtime for each in within if each.exists()), default=0.0)


def clips_of(source: str, most: object, admit: Callable[[object, str], Path]) -> list[Clip]:
    """The recordings of a folder or manifest, `PATH` or `PATH#SPLIT`, the first `most` of them.

    A folder without a manifest gives its sound files, without texts. Every path goes through
    `admit`, also those that a manifest names. Raises `DataError` or `UsageError`.
    """
    if type(most) not in (int, float) or not 1 <= most <= MOST_CLIPS:  # type: ignore[operator]
        raise UsageError(f"{most!r} clips: from 1 to {MOST_CLIPS} can be compared at a time")
    location, mark, split = source.strip().rpartition("#")
    place = admit(location if mark else source.strip(), "folder")
    if not place.exists():
        raise DataError(f"{place}: no such folder or manifest; type its full path")
    found = _listed(place, split if mark else "")[: int(most)]  # type: ignore[call-overload]
    if not found:
        endings = ", ".join(sorted(SOUND_SUFFIXES))
        raise DataError(f"{place} has neither a manifest nor sound files ({endings})")
    return [replace(clip, path=admit(str(clip.path), "recording")) for clip in found]


def clip_of(state: BatchState | None, key: object, admit: Callable[[object, str], Path]) -> Clip:
    """One clip of a folder that was compared, by its key. Raises as `clips_of` does."""
    if state is not None:  # its record may be another's
        for clip in clips_of(check_source(state.source), MOST_CLIPS, admit):
            if clip.key == key:
                return clip
    raise UsageError("this clip is not in the folder any more; choose another")


def _listed(place: Path, split: str) -> list[Clip]:
    bare = place.is_dir() and not any(
        path.suffix.lower() in (".tsv", ".csv", ".jsonl") for path in place.iterdir()
    )
    if bare:
        files = sorted(path for path in place.iterdir() if path.suffix.lower() in SOUND_SUFFIXES)
        return [Clip(path.name, path) for path in files if path.is_file()]
    # Imported late: it loads the data libraries.
    from whisperslim.speech.corpus.dataset import load_items

    items = load_items(f"{place}#{split}" if split else str(place))
    if any(not item.is_file for item in items):
        raise DataError(
            f"{place}: its clips are parts of longer files; only clips that are a file each can be "
            "compared here; whisperslim evaluate scores the others"
        )
    return [Clip(item.key, item.path, item.text.strip() or None) for item in items]


def check_source(source: object) -> str:
    """The text typed. Raises `UsageError` when it is empty or too long."""
    if not isinstance(source, str) or not source.strip() or len(source) > 4096:
        raise UsageError("no folder is given; type the full path of a folder or manifest")
    if source.strip().startswith(("hub:", "mdc:")):
        raise UsageError(
            "only a folder of this computer can be compared here; others are not fetched"
        )
    return source
