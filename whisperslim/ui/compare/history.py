"""Earlier comparisons, kept on disk beside the runs with their recordings.

    <runs>/comparisons/<id>/comparison.json   the texts, the figures, the vote
    <runs>/comparisons/<id>/recording.flac    what the models were given: mono, 16 kHz

Nothing here needs torch, so the list is there as soon as the page is.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from whisperslim.core.disk.files import renamed_into_place, write_text_atomically
from whisperslim.core.disk.untrusted import json_of, read_plain
from whisperslim.errors import RunError, UsageError
from whisperslim.ui.compare.record import SAME, Compared, HeardSide, parsed

FOLDER = "comparisons"
_RECORD, _RECORDING = "comparison.json", "recording.flac"
_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")
_MOST_BYTES = 2_000_000  # of a record; we write none that is longer
_MOST_SOUND_BYTES = 8_000_000  # twice the longest recording here: 120 s of 16-bit sound at 16 kHz


@dataclass(frozen=True)
class History:
    """The comparisons beside one folder of runs."""

    runs: Path
    # Key -> state of the file, and the record read from it: the list is read for every result.
    _read: dict[str, tuple[tuple[int, ...], Compared]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self.runs / FOLDER

    def save(self, compared: Compared, recording: Path | str | None, max_seconds: float) -> None:
        """Keep one, and the recording as the models were given it.

        Raises `RunError` when the disk refuses it, `AudioError` without a recording.
        """
        sound = flac_of(recording, max_seconds) if recording else b""
        try:
            with renamed_into_place(self.folder / compared.key) as place:
                if sound:
                    (place / _RECORDING).write_bytes(sound)
                (place / _RECORD).write_text(_json(compared), "utf-8")
        except OSError as error:
            raise RunError(_not_written(self.folder, error)) from error

    def find(self, key: object) -> Compared:
        """One by its key. Raises `RunError` when it is gone or unreadable."""
        try:
            record = read_plain(self._place(key) / _RECORD, _MOST_BYTES)
            return parsed(json_of(record), str(key))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunError(
                f"the comparison {key!r} is gone or cannot be read; choose another from the list"
            ) from error

    def recording(self, key: object) -> bytes:
        """Its recording as FLAC; empty when there is none written by this app."""
        try:
            return read_plain(self._place(key) / _RECORDING, _MOST_SOUND_BYTES)
        except (OSError, ValueError):
            return b""

    def listed(self) -> list[Compared]:
        """All that can be read, newest first."""
        if not self.folder.is_dir():
            return []
        keys = sorted((path.name for path in self.folder.iterdir()), reverse=True)
        found = []
        for key in keys:
            try:
                found.append(self._known(key))
            except RunError:  # being written, or written by something else
                continue
        for gone in set(self._read).difference(keys):
            self._read.pop(gone, None)
        return found

    def _known(self, key: str) -> Compared:
        """As `find`; a record that has not changed since is not read again."""
        try:
            stat = (self._place(key) / _RECORD).lstat()
        except OSError:
            return self.find(key)  # which says what is wrong
        state = (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)
        known = self._read.get(key)
        if known is None or known[0] != state:
            known = self._read[key] = (state, self.find(key))
        return known[1]

    def vote(self, key: object, choice: object) -> Compared:
        """Keep a vote: a role, `A` or `B` when they are hidden, or `SAME`.

        A vote on hidden sides is final: afterwards the names are known. Raises `UsageError` for any
        other choice or a second blind vote, `RunError` when it cannot be kept.
        """
        found = self.find(key)
        if found.blind and found.vote is not None:
            raise UsageError(
                "a vote on this comparison was cast already; a blind vote cannot be changed"
            )
        return self._write(replace(found, vote=_role_of(found, choice)))

    def add_times(self, key: object, sides: Mapping[str, HeardSide]) -> Compared:
        """Keep when words were said, by role: nothing else of `sides` is taken.

        Raises `RunError`.
        """
        found = self.find(key)
        timed = tuple(
            replace(side, times=sides[side.role].times, untimed=sides[side.role].untimed)
            for side in found.sides
        )
        return self._write(replace(found, sides=timed))

    def delete(self, key: object) -> None:
        """Delete one with its recording and vote. Raises `RunError`."""
        self.find(key)
        try:
            shutil.rmtree(self._place(key))
        except OSError as error:
            raise RunError(f"{self._place(key)} could not be removed: {error.strerror}") from error

    def _write(self, compared: Compared) -> Compared:
        try:
            write_text_atomically(self._place(compared.key) / _RECORD, _json(compared))
        except OSError as error:
            raise RunError(_not_written(self.folder, error)) from error
        return compared

    def _place(self, key: object) -> Path:
        if not isinstance(key, str) or not _ID.fullmatch(key):
            raise RunError("no comparison is chosen; choose one from the list")
        place = self.folder / key
        # A link would let a record outside be read, voted on or removed.
        if place.is_symlink() or self.folder.is_symlink():
            raise RunError(f"the comparison {key} is a link; replace it with a copy of the folder")
        return place


def _role_of(compared: Compared, choice: object) -> str:
    names = {side.role: side.role for side in compared.sides}
    if compared.blind:
        names = dict(zip("AB", compared.blind, strict=True))
    names[SAME] = SAME
    if not isinstance(choice, str) or choice not in names:
        raise UsageError(f"{choice!r} is not a vote here; accepted: {', '.join(names)}")
    return names[choice]


def flac_of(recording: Path | str, max_seconds: float) -> bytes:
    """A recording as the models are given it, in a FLAC file. Raises `AudioError`."""
    import io

    import soundfile

    from whisperslim.speech.audio.audio import SAMPLE_RATE
    from whisperslim.speech.audio.decoding import decode

    into = io.BytesIO()
    soundfile.write(into, decode(recording, max_seconds=max_seconds), SAMPLE_RATE, format="FLAC")
    return into.getvalue()


def _json(compared: Compared) -> str:
    return json.dumps(compared.to_record(), ensure_ascii=False, indent=1)


def _not_written(folder: Path, error: OSError) -> str:
    return (
        f"the comparison could not be kept in {folder}: {error.strerror}; make room there, or "
        "start the app with another --runs folder"
    )
