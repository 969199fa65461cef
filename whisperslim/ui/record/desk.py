"""The logic of the Record tab, without its components: every call reads the disk and checks it.

So a reloaded page, a second tab and a restarted app all see what has been recorded.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from whisperslim.errors import AudioError, DataError, UsageError, WhisperSlimError
from whisperslim.speech.recording.prompts import read_prompts
from whisperslim.speech.recording.session import (
    LANGUAGE,
    RATE,
    RecordingSession,
    Take,
    checked_name,
    create_session,
    open_session,
    session_names,
    split_of,
)
from whisperslim.text.languages import language_code
from whisperslim.ui.context.models import load_libraries
from whisperslim.ui.parts.demo_clips import demo_clips
from whisperslim.ui.parts.markup import bar, note, pill, text
from whisperslim.ui.parts.quantities import duration

if TYPE_CHECKING:
    from whisperslim.speech.recording.take_check import CheckedTake

FOLDER = "recordings"
_LANGUAGE = "hi"  # of the sentences supplied, and of what `hear` is asked for
_UNLIKE = 0.6  # of a prompt's characters wrong; our choice
_RULE = "Every fifth sentence is kept for the test set."


def listen(path: str) -> "CheckedTake":
    """As `take_check.check_take`, which imports torch."""
    load_libraries()
    from whisperslim.speech.recording.take_check import check_take

    return check_take(path)


def nobody(path: str) -> str:
    """Where no model is at hand to hear a recording."""
    return ""


@dataclass(frozen=True)
class RecordingDesk:
    """The corpora recorded here, under `root`.

    `listen` decodes and checks a recording; `hear` is what a model hears in it, empty where there
    is none.
    """

    root: Path
    listen: Callable[[str], "CheckedTake"] = listen
    hear: Callable[[str], str] = nobody
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def choices(self) -> list[tuple[str, str]]:
        """(label, name) of every corpus, the last used first; damaged ones are marked."""
        return [(self._label(name), name) for name in session_names(self.root)]

    def create(
        self, name: object, speaker: object, file: object, language: object = LANGUAGE
    ) -> RecordingSession:
        """Start a corpus with the sentences of a text file, or with the supplied ones when it is
        None.

        The supplied ones are Hindi, whatever the `language`.
        """
        prompts = list(demo_clips().values())
        if file is not None:
            if not isinstance(file, str) or not file:
                raise UsageError("the sentences must be in a text file")
            prompts = read_prompts(Path(file))
        with self._lock:
            wanted = checked_name(str(name).strip())
            spoken = LANGUAGE if file is None else language_code(language)
            return create_session(self.root, wanted, prompts, str(speaker or ""), spoken)

    def open(self, name: object) -> RecordingSession:
        """A corpus by name. Raises `UsageError` or `DataError`."""
        with self._lock:
            return open_session(self.root, checked_name(name))

    def first(self) -> tuple[RecordingSession | None, list[str]]:
        """The last used corpus that can be opened, and what is wrong with newer ones."""
        problems: list[str] = []
        for name in session_names(self.root):
            try:
                return self.open(name), problems
            except WhisperSlimError as error:
                problems.append(str(error))
        return None, problems

    def save(self, name: object, sentence: object, recording: object) -> "tuple[Take, CheckedTake]":
        """Check a recording and keep it as that sentence's. Raises `AudioError` and `DataError`."""
        session, at = self.open(name), whole(sentence)
        if not isinstance(recording, str) or not recording:
            raise AudioError("there is no recording; press Record and read the sentence")
        heard = self.listen(recording)
        with self._lock:
            return session.save(at, heard.samples), heard

    def sounds_like(self, name: object, sentence: object, recording: object) -> str:
        """What to say when a reading is plainly of another sentence; empty otherwise."""
        if not isinstance(recording, str) or not recording:
            return ""
        try:
            session, at = self.open(name), whole(sentence)
            other = other_sentence(session.prompts, at, self.hear(recording))
        except WhisperSlimError:  # it is saved all the same; only this check is left out
            return ""
        if other is None:
            return ""
        return (
            f"Sentence {at + 1} is saved, but the reading sounds like sentence {other + 1}: "
            f"{session.prompts[other]}"
        )

    def drop(self, name: object, sentence: object) -> None:
        """Delete a sentence's recording."""
        session = self.open(name)
        with self._lock:
            session.drop(whole(sentence))

    def _label(self, name: str) -> str:
        try:
            session = self.open(name)
        except WhisperSlimError as error:
            return f"{name} · damaged: {error}"[:120]
        return f"{name} · {len(session.takes())} of {len(session.prompts)}"


def other_sentence(prompts: Sequence[str], at: int, heard: str) -> int | None:
    """The number of the prompt that was read in place of prompt `at`; None where that is not plain.

    By the characters of what a model heard, which may be far off: another prompt must be less than
    half as far away, and this one more than `_UNLIKE` of its length.
    """
    # Only now: it brings the normalizer's libraries with it.
    from whisperslim.speech.scoring.normalizer import for_language
    from whisperslim.speech.scoring.wer import score

    normalizer = for_language(_LANGUAGE)

    def distance(prompt: str) -> float:
        return score([prompt], [heard], normalizer).cer if normalizer(prompt).strip() else 1.0

    if not heard.strip():
        return None
    mine = distance(prompts[at])
    if mine <= _UNLIKE:
        return None
    others = {place: distance(prompt) for place, prompt in enumerate(prompts) if place != at}
    nearest = min(others, key=lambda place: others[place], default=None)
    return nearest if nearest is not None and others[nearest] < mine / 2 else None


def whole(sentence: object) -> int:
    """A number as the page sends it. Raises `UsageError`."""
    if isinstance(sentence, bool) or not isinstance(sentence, int):
        raise UsageError("a sentence is chosen by its number")
    return sentence


def step(session: RecordingSession, sentence: object, by: int) -> int:
    """The sentence `by` further on, limited to the corpus."""
    return min(max(whole(sentence) + by, 0), len(session.prompts) - 1)


def prompt_html(session: RecordingSession, sentence: int) -> str:
    """The sentence to read, large."""
    where = f"Sentence {sentence + 1} of {len(session.prompts)}"
    kept_for = "for the test set" if split_of(sentence) == "test" else "for training"
    said = f'lang="{text(session.language)}">{text(session.prompts[sentence])}'
    return (
        f'<div class="ws-card ws-prompt"><p class="ws-small ws-flat">{where}, {kept_for}. Read '
        f'aloud:</p><p class="ws-prompt-text" {said}</p></div>'
    )


def state_html(session: RecordingSession, sentence: int) -> str:
    """Whether the sentence is recorded, and what is wrong with a damaged recording."""
    try:
        session.samples(sentence)
    except DataError as error:
        return _state(pill("damaged", "bad"), str(error))
    take = session.takes().get(sentence)
    if take is None:
        return _state(pill("not recorded yet", "wait"), f"Sentence {sentence + 1}")
    return _state(pill("recorded", "good"), f"Sentence {sentence + 1}, {duration(take.seconds)}")


def saved_html(sentence: int, take: Take, heard: "CheckedTake") -> str:
    """What was just saved, and any doubts about it."""
    facts = f"Sentence {sentence + 1}, {duration(take.seconds)}, level {heard.level:.0f} dB"
    doubts = "".join(note(f"It is {doubt}. Or keep it.", "wait") for doubt in heard.doubts)
    return _state(pill("saved", "good"), facts) + doubts


def progress_html(session: RecordingSession) -> str:
    """Progress of the corpus, its folder, and the manifest for Compress."""
    takes = session.takes()
    done, every = len(takes), len(session.prompts)
    spoken = sum(take.seconds for take in takes.values())
    facts = f"<span><b>{done}</b> of {every} recorded</span><span><b>{duration(spoken)}</b></span>"
    speaker = f"<span>speaker <b>{text(session.speaker)}</b></span>" if session.speaker else ""
    end = "All sentences are recorded." if done == every else _RULE
    return (
        f'<div class="ws-card">{bar(done / every, "Sentences recorded")}'
        f'<div class="ws-facts">{facts}{speaker}</div>'
        f'<p class="ws-small">{end} Each sentence is saved at once, in</p>'
        f'<p class="ws-small ws-wrap ws-flat"><code>{text(session.manifest)}</code></p></div>'
        f"{_damaged_note(session)}"
    )


def _damaged_note(session: RecordingSession) -> str:
    lines = [f"Sentence {number + 1}: {why}" for number, why in session.damaged().items()]
    return note("\n".join(lines), "bad") if lines else ""


def sources(session: RecordingSession) -> tuple[str, str]:
    """(train, test) as a recipe names them; the second is empty while it has no sentence.

    Raises `UsageError` when there is nothing to train on.
    """
    splits = {split_of(sentence) for sentence in session.takes()}
    if "train" not in splits:
        raise UsageError("nothing is recorded for training yet; read a few sentences first")
    return f"{session.manifest}#train", f"{session.manifest}#test" if "test" in splits else ""


def heard_again(session: RecordingSession, sentence: int) -> tuple[int, np.ndarray] | None:
    """A recording from disk for the page's player; None when there is none to play."""
    try:
        samples = session.samples(sentence)
    except DataError:  # `state_html` shows it
        return None
    return None if samples is None else (RATE, samples)


def _state(mark: str, facts: str) -> str:
    return f'<div class="ws-take" role="status">{mark} <span>{text(facts)}</span></div>'


def no_file() -> UsageError:
    """The message when own sentences are selected and no file is given."""
    return UsageError("choose the text file with your sentences first, one sentence a line")
