"""Two models on the same recordings, and who heard them better: for the command and for Python."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisperslim.boxed import local_name
from whisperslim.engines.comparison import Comparison, compare
from whisperslim.engines.export.record import is_export, read_export
from whisperslim.engines.opening import open_transcriber
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.errors import UsageError
from whisperslim.jobs.scoring.origin import (
    TRAINED,
    TrainingClips,
    described,
    made_from,
    training_clips,
)
from whisperslim.speech.audio.decoding import Recording, sound_of
from whisperslim.speech.audio.window import hearing_window
from whisperslim.speech.scoring.verdict import Verdict, faster, judge_sides
from whisperslim.speech.scoring.wer import all_ways


@dataclass(frozen=True)
class Compared:
    """One recording, heard by a dense and a slim model.

    Attributes:
        comparison: Texts, times, sizes and what differs.
        models: `dense` and `slim`: what each is, in words.
        runs_in: Likewise, engine and precision.
        verdict: Who heard it better, where that can be said.
        notes: What must be known to read the verdict.
        speed: Which is faster, in words.
    """

    comparison: Comparison
    models: Mapping[str, str]
    runs_in: Mapping[str, str]
    verdict: Verdict
    notes: tuple[str, ...]
    speed: str

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **self.comparison.to_record(),
            "models": dict(self.models),
            "runs_in": dict(self.runs_in),
            "verdict": self.verdict.sentence,
            "winner": self.verdict.winner,
            "notes": list(self.notes),
            "speed": self.speed,
        }


def compare_models(
    slim: str,
    recordings: Sequence[Recording],
    dense: str = "",
    *,
    language: str = "hi",
    window: str = "fit",
    reference: str = "",
    script: str = "own",
    normalizers: Sequence[str] = (),
    announce: Callable[[str], None] = lambda message: None,
) -> list[Compared]:
    """Give the same recordings to both models.

    Args:
        slim: The compressed model: whatever `open_transcriber` opens.
        recordings: See `Recording`.
        dense: What to compare with; empty: the model that `slim` was made from.
        language: Whisper's code of the language spoken.
        window: As `runtime.load` takes it.
        reference: What is really said; then both are scored. With one recording only.
        script: `own` holds texts to the language's own script, `any` does not.
        normalizers: Names of further normalizers to score with, where there is a reference.
        announce: Called with what is done to find the models.

    Raises:
        UsageError: an unknown window, script, language or normalizer, a reference for several
            recordings, or no `dense` where it is not known.
        AudioError: a recording cannot be read.
        ExportError, SourceError, CheckpointError: as `open_transcriber`.
    """
    if reference and len(recordings) > 1:
        raise UsageError("a reference is the text of one recording; give one recording")
    if script not in ("own", "any"):
        raise UsageError(f"{script!r} is not a choice for the script; use one of: own, any")
    all_ways(language, normalizers)  # refuses an unknown name before the work
    names = {"dense": local_name(dense or made_from(slim)), "slim": local_name(slim)}
    engines = {role: _opened(name, window, script, announce) for role, name in names.items()}
    clips = {role: training_clips(name) for role, name in names.items()}
    models = {role: described(name) for role, name in names.items()}
    runs_in = {role: _runs_in(name) for role, name in names.items()}
    found = []
    for recording in recordings:
        each = compare(
            engines["dense"],
            engines["slim"],
            sound_of(recording),
            language=language,
            reference=reference or None,
            normalizers=normalizers,
        )
        sides = {"dense": each.dense.transcript, "slim": each.slim.transcript}
        texts = {role: transcript.text for role, transcript in sides.items()}
        verdict = judge_sides(texts, each.reference, each.language)
        notes = (*verdict.notes, *_trained(recording, clips))
        speed = f"slim: {faster(*(transcript.seconds for transcript in sides.values()))}"
        found.append(Compared(each, models, runs_in, verdict, notes, speed))
    return found


def _opened(
    name: str, window: str, script: str, announce: Callable[[str], None]
) -> WindowedTranscriber:
    engine = open_transcriber(name, hearing_window(window), announce=announce)
    return engine.in_own_script() if script == "own" else engine


def _trained(recording: Recording, clips: Mapping[str, TrainingClips]) -> list[str]:
    if not isinstance(recording, (str, Path)):
        return []
    return [f"{role}: {TRAINED}." for role, each in clips.items() if each.holds(Path(recording))]


def _runs_in(model: str) -> str:
    """Engine and precision in words."""
    folder = Path(model).expanduser()
    if not is_export(folder):
        return "PyTorch fp32"
    record = read_export(folder)
    return f"{record.engine} {record.quantize.replace('none', 'fp32')}"
