"""A corpus recorded sentence by sentence, which may be interrupted at any moment.

A session is one folder: `session.json` (sentences and speaker, written once), `audio/` with one
FLAC file for each sentence read so far, and `manifest.tsv`, which training takes. The recordings
are the truth: the manifest is written from them, so that a crash between the two loses nothing.
"""

import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from whisperslim.errors import DataError, UsageError
from whisperslim.speech.recording.prompts import check_prompts
from whisperslim.text.languages import language_code

LANGUAGE = "hi"  # of the sentences that come with the project
RATE = 16_000  # Hz: what Whisper listens to; `speech.audio.audio` decodes to it
# Our choice: enough to see whether training helped, few enough to leave most for training.
HELD_OUT_EVERY = 5
MOST_SPEAKER_CHARACTERS = 60
FREE_BYTES = 50_000_000  # kept free, so that a shortage is reported before the disk is full

_SESSION, _MANIFEST, _AUDIO = "session.json", "manifest.tsv", "audio"
_COLUMNS = ("path", "text", "speaker", "duration", "split")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_TAKE = re.compile(r"(\d{4})-(\d{3,})\.flac")


@dataclass(frozen=True)
class Take:
    """The recording of one sentence. `number` counts how often the sentence was read."""

    path: Path
    number: int
    seconds: float


@dataclass(frozen=True)
class RecordingSession:
    """One corpus being recorded; sentences are counted from 0. All of its state is on disk."""

    folder: Path
    prompts: tuple[str, ...]
    speaker: str
    language: str = LANGUAGE

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def manifest(self) -> Path:
        """The list of recordings; there from the first one on."""
        return self.folder / _MANIFEST

    def takes(self) -> dict[int, Take]:
        """Sentence -> its newest recording, except those that are `damaged`."""
        found = {}
        for sentence, (number, path) in self._newest().items():
            # One damaged file must not block the others.
            with suppress(DataError):
                found[sentence] = Take(path, number, _seconds(path))
        return found

    def damaged(self) -> dict[int, str]:
        """Sentence -> what is wrong with its recording, of those whose length cannot be read."""
        found = {}
        for sentence, (_, path) in self._newest().items():
            try:
                _seconds(path)
            except DataError as error:
                found[sentence] = str(error)
        return found

    def save(self, sentence: int, samples: np.ndarray) -> Take:
        """Keep mono float32 samples at 16 kHz as the sentence's recording, in place of any before.

        An earlier recording goes only when the new one is safely there. Raises `UsageError` when
        there is no such sentence, `DataError` when the disk is full or cannot be written to.
        """
        self._check(sentence)
        _check_room(self.folder)
        number = 1 + max((n for s, n, _ in self._files() if s == sentence), default=0)
        path = self.folder / _AUDIO / f"{sentence + 1:04d}-{number:03d}.flac"
        _write(path, _flac(samples))
        self._forget_takes(sentence, before=number)
        self.write_manifest()
        return Take(path, number, len(samples) / RATE)

    def drop(self, sentence: int) -> None:
        """Delete the sentence's recording, if there is one."""
        self._check(sentence)
        self._forget_takes(sentence)
        self.write_manifest()

    def samples(self, sentence: int) -> np.ndarray | None:
        """The sentence's recording as int16 at 16 kHz, None when it was not read yet.

        Raises `DataError` when it is damaged.
        """
        self._check(sentence)
        newest = self._newest().get(sentence)
        return None if newest is None else _read(newest[1])

    def next_open(self, after: int = -1) -> int | None:
        """The first sentence not recorded past `after`, else before it; None when all are."""
        taken = self.takes()
        missing = [number for number in range(len(self.prompts)) if number not in taken]
        later = [number for number in missing if number > after]
        return next(iter(later or missing), None)

    def write_manifest(self) -> None:
        """Write the list of recordings again, unless it is as it should be."""
        wanted = self._manifest_text()
        there = self.manifest.read_text("utf-8") if self.manifest.is_file() else ""
        if wanted != there:
            _write(self.manifest, wanted.encode())

    def _manifest_text(self) -> str:
        rows = ["\t".join(_COLUMNS)]
        for sentence, take in self.takes().items():
            split = split_of(sentence)
            cells = (f"{_AUDIO}/{take.path.name}", self.prompts[sentence], self.speaker)
            rows.append("\t".join((*cells, f"{take.seconds:.3f}", split)))
        return "\n".join(rows) + "\n"

    def _newest(self) -> dict[int, tuple[int, Path]]:
        """Sentence -> number and file of its newest recording, in the order of the sentences."""
        newest: dict[int, tuple[int, Path]] = {}
        for sentence, number, path in self._files():
            if number > newest.get(sentence, (0, path))[0]:
                newest[sentence] = (number, path)
        return dict(sorted(newest.items()))

    def _files(self) -> list[tuple[int, int, Path]]:
        """(sentence, number of the take, file) of every recording, replaced ones included."""
        folder = self.folder / _AUDIO
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        found = [(_TAKE.fullmatch(path.name), path) for path in paths if not path.is_symlink()]
        every = [(int(m[1]) - 1, int(m[2]), path) for m, path in found if m]
        return [each for each in every if 0 <= each[0] < len(self.prompts)]

    def _forget_takes(self, sentence: int, before: int | None = None) -> None:
        for one, number, path in self._files():
            if one == sentence and (before is None or number < before):
                path.unlink(missing_ok=True)

    def _check(self, sentence: int) -> None:
        if not 0 <= sentence < len(self.prompts):
            raise UsageError(
                f"there is no sentence {sentence + 1}: this corpus has 1 to {len(self.prompts)}"
            )


def split_of(sentence: int) -> str:
    """`test` for every fifth sentence, `train` for the others: no sentence is in both."""
    return "test" if (sentence + 1) % HELD_OUT_EVERY == 0 else "train"


def create_session(
    root: Path, name: str, prompts: Sequence[str], speaker: str = "", language: str = LANGUAGE
) -> RecordingSession:
    """Begin a corpus in a new folder under `root`.

    Raises `UsageError` when the name, speaker, language or a sentence is not accepted or the name
    is taken, `DataError` when nothing can be written there.
    """
    folder = root / checked_name(name)
    record = {
        "version": 1, "speaker": _speaker(speaker), "language": language_code(language),
        "prompts": check_prompts(prompts),
    }  # fmt: skip
    if folder.is_symlink() or (folder.exists() and any(folder.iterdir())):
        raise UsageError(f"there is a corpus {name!r} already: choose it, or give another name")
    _check_room(root)
    _write(folder / _SESSION, json.dumps(record, ensure_ascii=False, indent=1).encode())
    return open_session(root, name)


def open_session(root: Path, name: str) -> RecordingSession:
    """The corpus of that name; its manifest is repaired if a crash left it behind.

    Raises `UsageError` for an invalid name, `DataError` when it is missing or damaged.
    """
    folder = root / checked_name(name)
    file = folder / _SESSION
    if folder.is_symlink() or file.is_symlink() or not file.is_file():
        raise DataError(f"there is no corpus {name!r} in {root}; choose one from the list")
    try:
        record = json.loads(file.read_text("utf-8"))
        prompts, speaker = check_prompts(record["prompts"]), _speaker(record["speaker"])
        language = language_code(record.get("language", LANGUAGE))  # earlier ones have none
    except (OSError, ValueError, LookupError, TypeError, UsageError) as error:
        raise DataError(f"{file} is damaged ({error}); restore it from a copy") from error
    session = RecordingSession(folder, tuple(prompts), speaker, language)
    if session.manifest.is_file() or session.takes():
        session.write_manifest()
    return session


def session_names(root: Path) -> list[str]:
    """Corpora under `root`, the one last worked on first."""
    if not root.is_dir():
        return []
    files = [
        path / _SESSION
        for path in root.iterdir()
        if _NAME.fullmatch(path.name) and not path.is_symlink() and (path / _SESSION).is_file()
    ]
    return [file.parent.name for file in sorted(files, key=_last_work, reverse=True)]


def checked_name(name: object) -> str:
    """A corpus' name, which is its folder's. Raises `UsageError`."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(
            f"Enter a name: a–z, 0–9, - or _, up to 40 characters, the first a letter or digit; "
            f"not {str(name)[:60]!r}"
        )
    return name


def _speaker(speaker: object) -> str:
    said = " ".join(str(speaker).split())
    if (
        not isinstance(speaker, str)
        or len(said) > MOST_SPEAKER_CHARACTERS
        or not said.isprintable()
    ):
        raise UsageError(
            f"the speaker's name has up to {MOST_SPEAKER_CHARACTERS} printable characters"
        )
    return said


def _last_work(file: Path) -> tuple[int, str]:
    audio = file.parent / _AUDIO
    times = [path.stat().st_mtime_ns for path in (file, audio) if path.exists()]
    return max(times), file.parent.name


def _check_room(folder: Path) -> None:
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    if free < FREE_BYTES:
        raise DataError(
            f"the disk of {folder} has {free / 1e6:.0f} MB left and {FREE_BYTES / 1e6:.0f} MB stay "
            "free: make room, then record again"
        )


def _flac(samples: np.ndarray) -> bytes:
    whole = np.round(np.clip(samples, -1.0, 1.0) * 32_767).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, whole, RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _seconds(path: Path) -> float:
    try:
        return float(soundfile.info(path).duration)
    except (OSError, soundfile.LibsndfileError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and read it again") from error


def _read(path: Path) -> np.ndarray:
    try:
        samples: np.ndarray = soundfile.read(path, dtype="int16")[0]
    except (OSError, soundfile.LibsndfileError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and read it again") from error
    return samples


def _write(path: Path, content: bytes) -> None:
    """Write under a temporary name, flush, rename: a reader sees the old file or the new one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise DataError(f"{path.parent} cannot be written to ({error.strerror})") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise DataError(f"{path} could not be saved ({error.strerror}): make room") from error
