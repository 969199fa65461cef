"""Compares a written export with its model: are texts equal, and how far off are its states?

The export runs in a child process. A runtime that is given a shape it does not expect may crash
with a segmentation fault, which is then a finding, with the signal's name, and does not end our
process. Tolerances are our choice.
"""

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np

from whisperslim.core.disk.untrusted import read_json, record_of
from whisperslim.core.loading import SpeechModel
from whisperslim.engines.export.record import PARITY_FILE
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.errors import DataError, ExportError, signal_in_words
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.scoring.normalizer import for_language
from whisperslim.speech.scoring.wer import score


@dataclass(frozen=True)
class Answer:
    """One side's result for a part: text, token ids and encoder states, where they are known."""

    text: str
    ids: tuple[int, ...] | None
    states: np.ndarray | None


Pair = tuple[Answer, Answer]
"""The model's answer, then the export's."""


def same(wanted: Answer, found: Answer) -> bool:
    """Whether both wrote the same tokens, or the same text where one reports no tokens."""
    if wanted.ids is None or found.ids is None:
        return wanted.text == found.text
    return wanted.ids == found.ids


def encoder_error(pairs: Sequence[Pair]) -> float | None:
    """Largest norm of the difference over the norm of the model's own states.

    None when a side shows no states; infinite for another shape, or for NaN.
    """
    errors = []
    for wanted, found in pairs:
        if wanted.states is None or found.states is None:
            return None
        if wanted.states.shape != found.states.shape:
            return math.inf
        difference = np.linalg.norm(found.states.astype(np.float64) - wanted.states)
        errors.append(float(difference / np.linalg.norm(wanted.states.astype(np.float64))))
    return math.inf if any(map(math.isnan, errors)) else max(errors)


def token_agreement(pairs: Sequence[Pair]) -> float | None:
    """Tokens in common, in order, times two, over all written; None when a side reports no
    tokens."""
    common, written = 0, 0
    for wanted, found in pairs:
        if wanted.ids is None or found.ids is None:
            return None
        matcher = SequenceMatcher(None, wanted.ids, found.ids, autojunk=False)
        common += 2 * sum(block.size for block in matcher.get_matching_blocks())
        written += len(wanted.ids) + len(found.ids)
    return common / written if written else 1.0


def word_difference(pairs: Sequence[Pair], language: str) -> float | None:
    """Word errors against the model's own text, over its words; None when it has no word."""
    texts = [wanted.text for wanted, _ in pairs]
    try:
        return score(texts, [found.text for _, found in pairs], for_language(language)).wer
    except DataError:  # the model wrote no word: there is no rate
        return None


def statement(
    quantize: str, agreed: int, parts: int, seconds: float, error: float | None, words: float | None
) -> str:
    """The figures in a sentence."""
    form = "unquantized" if quantize == "none" else quantize
    findings = [f"{form}: the same text for {agreed} of {parts} parts ({seconds:.0f} s of speech)"]
    if error is not None:
        findings.append(f"encoder off by {error:.1e} of its norm")
    if words is not None:
        findings.append(f"{words:.1%} of words differ from the model's own")
    return "; ".join(findings)


# Float kernels of two runtimes differ by about 1e-5 of the norm; a wrong shape by 1e-1.
ENCODER_TOLERANCE = 1e-3
TIMEOUT_SECONDS = 900.0
CHILD = "whisperslim.engines.export.parity_child"
REQUEST_FILE, MELS_FILE, ANSWER_FILE, STATES_FILE = "ask.json", "mels.npz", "answer.json", "out.npz"
_SHOWN = 400  # characters of what a dying child said


@dataclass(frozen=True)
class ParityVerdict:
    """What the check of an export found; the contents of `parity.json`.

    Attributes:
        ok: Whether the export may be used as this model.
        statement: All of it in a sentence, for people.
        quantize: How it is quantized. "none" must be the same model; others are measured only.
        parts: Stretches of speech that both heard.
        seconds: Length of these together.
        same_text: Parts with the same tokens, or the same text where the engine reports no tokens.
        token_agreement: Tokens both wrote in the same order, times two, over all that either
            wrote; None where the engine reports no tokens.
        encoder_error: Largest norm of the difference of a part's encoder states over the norm of
            the model's own; None where the engine shows none.
        word_difference: Word errors of the export against the model's own text, over its words;
            None when the model wrote no word.
        normalizer: That `word_difference` was counted with.
        language, window: What both were asked with.
    """

    ok: bool
    statement: str
    quantize: str
    parts: int
    seconds: float
    same_text: int
    token_agreement: float | None
    encoder_error: float | None
    word_difference: float | None
    normalizer: str
    language: str
    window: str

    def write(self, folder: Path) -> None:
        """Store in an export folder."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False)
        (folder / PARITY_FILE).write_text(text + "\n", "utf-8")


@dataclass(frozen=True)
class Part:
    """A stretch of speech: log-mel `(n_mels, frames)` of `seconds` of sound."""

    mel: np.ndarray
    seconds: float


def read_verdict(folder: Path) -> ParityVerdict:
    """The verdict stored in an export folder. Raises `ExportError` when it cannot be read."""
    try:
        verdict: ParityVerdict = record_of(ParityVerdict, read_json(folder / PARITY_FILE))
        return verdict
    except (OSError, ValueError) as error:
        raise ExportError(
            f"{folder / PARITY_FILE} is missing or damaged ({error}): it is not known whether this "
            "export matches its model; export the model again"
        ) from error


def check_parity(
    speech: SpeechModel,
    folder: Path,
    quantize: str,
    clips: Sequence[np.ndarray],
    language: str,
    window: WindowPolicy,
) -> ParityVerdict:
    """Let model and export hear the same features, and compare.

    Args:
        speech: The model the export was made of.
        folder: The export, `export.json` included.
        quantize: As in its record.
        clips: Recordings, mono float32 at 16 kHz.
        language, window: That both listen with.

    Raises:
        DataError: no clip has speech in it.
        ExportError: the child died, took too long, or could not open the export.
    """
    own = TorchTranscriber(speech, window)
    parts = _spoken_parts(own, clips)
    wanted = [_answer(own, part, language) for part in parts]
    found = ask_child(folder, parts, language, window)
    return compare_answers(wanted, found, parts, quantize, language, window.describe())


def ask_child(
    folder: Path,
    parts: Sequence[Part],
    language: str,
    window: WindowPolicy,
    timeout: float = TIMEOUT_SECONDS,
) -> list[Answer]:
    """The results of the export in `folder` for `parts`, from a process of its own.

    Raises `ExportError` for a child that failed; the message names the signal it died of.
    """
    with tempfile.TemporaryDirectory() as name:
        exchange = Path(name)
        _write_request(exchange, folder, parts, language, window)
        run_child(exchange, timeout)
        return _read_answers(exchange, len(parts))


def run_child(exchange: Path, timeout: float) -> None:
    """Run the child on a folder with a request. Raises `ExportError` as `ask_child`."""
    command = [sys.executable, "-m", CHILD, str(exchange)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"the check was stopped after {timeout:g} s: the engine hangs, or the machine is too "
            "slow for so many recordings; give fewer"
        ) from error
    if done.returncode != 0:
        raise ExportError(_death(done.returncode, done.stderr.decode("utf-8", "replace")))


def compare_answers(
    wanted: Sequence[Answer],
    found: Sequence[Answer],
    parts: Sequence[Part],
    quantize: str,
    language: str,
    window: str,
) -> ParityVerdict:
    """The verdict on the answers of an export, against those of the model."""
    pairs = list(zip(wanted, found, strict=True))
    agreed = sum(same(*pair) for pair in pairs)
    error = encoder_error(pairs)
    words = word_difference(pairs, language)
    seconds = sum(part.seconds for part in parts)
    exact = agreed == len(pairs) and (error is None or error <= ENCODER_TOLERANCE)
    finite = error is None or math.isfinite(error)
    return ParityVerdict(
        ok=finite and (exact or quantize != "none"),
        statement=statement(quantize, agreed, len(pairs), seconds, error, words),
        quantize=quantize,
        parts=len(pairs),
        seconds=seconds,
        same_text=agreed,
        token_agreement=token_agreement(pairs),
        encoder_error=error if finite else None,
        word_difference=words,
        normalizer=for_language(language).name,
        language=language,
        window=window,
    )


def _spoken_parts(own: TorchTranscriber, clips: Sequence[np.ndarray]) -> list[Part]:
    parts = []
    for clip in clips:
        features = own.features_for(clip)
        pairs = zip(features.inputs, features.segments, strict=True)
        parts += [Part(mel, segment.seconds) for mel, segment in pairs if mel is not None]
    if not parts:
        raise DataError(
            f"an export is checked on speech, and none of the {len(clips)} recordings has any; "
            "give some with --data"
        )
    return parts


def _answer(own: TorchTranscriber, part: Part, language: str) -> Answer:
    heard = own.hear(part.mel, part.seconds, language)
    return Answer(heard.text, heard.ids, own.encoder_states(part.mel))


def _write_request(
    exchange: Path, folder: Path, parts: Sequence[Part], language: str, window: WindowPolicy
) -> None:
    request = {
        "folder": str(folder.absolute()),
        "language": language,
        "window": asdict(window),
        "seconds": [part.seconds for part in parts],
    }
    (exchange / REQUEST_FILE).write_text(json.dumps(request), "utf-8")
    mels: dict[str, Any] = {str(index): part.mel for index, part in enumerate(parts)}
    np.savez(exchange / MELS_FILE, **mels)


def _read_answers(exchange: Path, count: int) -> list[Answer]:
    findings: dict[str, Any] = json.loads((exchange / ANSWER_FILE).read_text("utf-8"))
    if findings.get("error"):
        raise ExportError(f"the export cannot be used: {findings['error']}")
    with np.load(exchange / STATES_FILE, allow_pickle=False) as stored:
        states = {int(name): stored[name] for name in stored.files}
    return [
        Answer(
            findings["texts"][i],
            None if findings["ids"][i] is None else tuple(findings["ids"][i]),
            states.get(i),
        )
        for i in range(count)
    ]


def _death(code: int, said: str) -> str:
    last = said.strip()[-_SHOWN:] or "nothing"
    if code > 0:
        return f"the engine failed on the first recordings; its last output: {last}"
    return (
        f"the engine's process was ended by {signal_in_words(-code)} on the first recordings. This "
        f"engine cannot run a model of these shapes here; its last output: {last}"
    )
