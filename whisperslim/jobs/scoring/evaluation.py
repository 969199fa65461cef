"""Score one model on one data set, with all conditions of the figures.

An exported model is scored in its own engine, clip by clip as in use, unless more are asked for.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whisperslim.boxed import local_name
from whisperslim.core.disk.weight_files import weights_bytes
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.store.checkpoint import count_parameters
from whisperslim.engines.base import Transcript
from whisperslim.engines.export.record import is_export, read_export
from whisperslim.engines.opening import open_transcriber
from whisperslim.engines.together import heard_in_groups
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.errors import AudioError, DataError, UsageError
from whisperslim.exported.search import Search
from whisperslim.inputs import InputSpec
from whisperslim.jobs.run.disk import require_writable, write_text_checked
from whisperslim.jobs.run.environment import describe
from whisperslim.jobs.scoring.origin import is_untuned, training_clips
from whisperslim.jobs.scoring.texts import texts_of
from whisperslim.machine.places import audio_cache
from whisperslim.speech.audio.window import WindowPolicy, hearing_window, parse_window
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.dataset import Item, load_items
from whisperslim.speech.corpus.report import UNUSABLE, examine, usable
from whisperslim.speech.corpus.source import parse_source
from whisperslim.speech.scoring.verdict import Verdict, judge_set, set_verdict
from whisperslim.speech.scoring.wer import all_ways
from whisperslim.train.evaluate import EvalResult, Heard, accepted_forms, hear, loss_note, scored


@dataclass(frozen=True)
class OpenExport:
    """An export folder and the engine that runs it, which hears `batch_size` clips together."""

    folder: Path
    engine: WindowedTranscriber
    batch_size: int = 1

    def searching(self, search: Search) -> "OpenExport":
        """The same, which looks for the likeliest text."""
        return replace(self, engine=self.engine.searching(search))

    def in_own_script(self) -> "OpenExport":
        """The same, with texts limited to the script of their language."""
        return replace(self, engine=self.engine.in_own_script())

    @property
    def input_spec(self) -> InputSpec:
        """Its input from a recording."""
        return self.engine.input_spec

    @property
    def decoding(self) -> str:
        """How texts are read off it."""
        return self.engine.describe_decoding()

    def provenance(self) -> dict[str, Any]:
        """The conditions of a figure: plain values."""
        record = read_export(self.folder)
        return {
            "model": str(self.folder),
            "model_kind": f"export of {record.source}",
            "weights_sha256": record.source_sha256,
            "parameters": record.parameters,
            "bytes_on_disk": record.weights_bytes,
            "engine": record.engine,
            "quantize": record.quantize,
            "device": "cpu",
        }

    def hear(
        self,
        items: Sequence[Item],
        *,
        language: str,
        policy: WindowPolicy,
        cache_folder: Path,
        progress: Callable[[int, int], None] = lambda done, total: None,
        announce: Callable[[str], None] = lambda message: None,
    ) -> Heard:
        """Transcribe `items` in the window that the engine was opened with.

        There is no loss: an engine returns text, and no probability of another text.
        """
        cache = AudioCache(cache_folder, announce)
        started, written = time.perf_counter(), list[Transcript]()
        for _, heard in heard_in_groups(self.engine, items, cache.load, language, self.batch_size):
            if isinstance(heard, AudioError):
                raise heard
            written.append(heard)
            progress(len(written), len(items))
        return Heard(
            texts=tuple(transcript.text for transcript in written),
            lost=0.0,
            tokens=0,
            seconds=time.perf_counter() - started,
            audio_seconds=sum(transcript.audio_seconds for transcript in written),
            decoding=self.decoding,
            batch_size=self.batch_size,
        )


@dataclass(frozen=True)
class OpenModel:
    """A model in PyTorch, whose clips are decoded `batch_size` together."""

    speech: SpeechModel
    batch_size: int

    def searching(self, search: Search) -> "OpenModel":
        """The same, which looks for the likeliest text."""
        return replace(self, speech=self.speech.searching(search))

    def in_own_script(self) -> "OpenModel":
        """The same, with texts limited to the script of their language."""
        return replace(self, speech=self.speech.in_own_script())

    @property
    def input_spec(self) -> InputSpec:
        """Its input from a recording."""
        return self.speech.input_spec

    @property
    def decoding(self) -> str:
        """How texts are read off it."""
        return self.speech.family.describe_decoding()

    def provenance(self) -> dict[str, Any]:
        """The conditions of a figure: plain values."""
        speech = self.speech
        return {
            "model": speech.name,
            "model_kind": speech.info.kind,
            "weights_sha256": speech.info.weights_sha256,
            "parameters": count_parameters(speech.model),
            "bytes_on_disk": weights_bytes(speech.path),
            "device": speech.device.type,
            "precision": str(next(speech.model.parameters()).dtype).removeprefix("torch."),
        }

    def hear(self, items: Sequence[Item], **asked: Any) -> Heard:
        """As `train.evaluate.hear`, which takes what is `asked`."""
        return hear(self.speech, items, batch_size=self.batch_size, **asked)


def open_for_evaluation(
    model: str, policy: WindowPolicy, device: str, batch_size: int = 1
) -> OpenExport:
    """The export folder `model` in its engine, which is to hear `batch_size` clips together.

    Raises:
        UsageError: for a device other than the CPU, since exports only run there.
        ExportError: as `open_transcriber`.
    """
    if device != "cpu":
        raise UsageError(f"an export runs on the processor (device cpu), not on {device!r}")
    folder = Path(model).expanduser()
    return OpenExport(folder, open_transcriber(str(folder), policy), batch_size)


SCRIPTS = ("auto", "own", "any")
ALL_CLIPS = "all clips"  # in place of a split, for data scored as a whole
_BATCH_SIZE = 16
_SHOWN = 5  # unusable clips named in the error


@dataclass(frozen=True)
class Evaluation:
    """A score and its conditions.

    Attributes:
        result: Scores and texts.
        provenance: Model, weights hash, machine, versions, subset: plain values.
        skipped: Unusable clips left out: key -> reason.
        trained_on: Keys of clips that the model was trained on.
    """

    result: EvalResult
    provenance: dict[str, Any]
    skipped: dict[str, str]
    trained_on: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON. `wer` and `cer` are those of the language's own normalizer."""
        normalizer, score = list(self.result.scores.items())[-1]
        record = self.result.to_record()
        headline = {"wer": score.wer, "cer": score.cer, "normalizer": normalizer}
        more = {"skipped": self.skipped, "trained_on": list(self.trained_on)}
        return {**self.provenance, **record, **headline, **more}

    def notes(self) -> list[str]:
        """Notes for reading the figures, as sentences."""
        left_out = len(self.result.left_out_of_loss)
        return score_notes(
            self.result.judged.notes(), len(self.trained_on), left_out, self.result.n
        )

    def against(self, path: Path) -> Verdict:
        """This model against an earlier record, by the rules of `speech.scoring.verdict`.

        Raises `UsageError` for a file that `write_record` did not write, or of other clips.
        """
        keys, references, hypotheses = _earlier(path)
        if (keys, references) != _one_line(self.result.keys, self.result.references):
            raise UsageError(
                f"{path} has other clips: a difference is taken clip by clip; score both models "
                "with the same --data, --split, --limit and --skip-problems"
            )
        before = judge_set(references, hypotheses, self.result.language)
        return set_verdict(before, self.result.judged, ("the earlier", "this"))

    def write_record(self, path: Path) -> None:
        """Write the record as JSON and reference and hypothesis of each clip beside it as .tsv.

        Raises `RunError` when it cannot be written; `check_places` reports that before.
        """
        text = json.dumps(self.to_record(), ensure_ascii=False, indent=1, allow_nan=False)
        write_text_checked(path.with_suffix(".tsv"), self.result.rows())
        write_text_checked(path, text + "\n")


def score_notes(judged: Sequence[str], trained_on: int, left_out: int, n: int) -> list[str]:
    """Notes of a score over `n` clips, as sentences.

    Args:
        judged: What `SetJudgement.notes` says.
        trained_on: Clips that the model was trained on.
        left_out: Clips left out of the loss.
        n: Clips scored.
    """
    found = [f"{note[:1].upper()}{note[1:]}." for note in judged]
    if trained_on:
        found.append(
            f"{trained_on} of {n} clips were used to train the model: the figures say nothing "
            "about speech it was not trained on."
        )
    return [*found, loss_note(left_out, n)] if left_out else found


def check_places(out: Path | None, against: Path | None) -> None:
    """Check the paths of a record and of an earlier one before the work.

    Raises:
        UsageError: `against` has no texts beside it, or `out` would overwrite them or its own
            texts.
        RunError: `out`, or the file of its texts, cannot be written.
    """
    if against is not None:
        _earlier(against)
    if out is None:
        return
    require_writable(out)
    texts = out.with_suffix(".tsv")
    if out == texts:
        raise UsageError(
            f"{out} is the name of the texts beside the record; give the record another ending, as "
            f"in {out.with_suffix('.json')}"
        )
    require_writable(texts)
    if against is not None and texts.resolve() == against.with_suffix(".tsv").resolve():
        raise UsageError(
            f"{out} would overwrite the record to compare with, {against}; give --json another name"
        )


def evaluate_model(
    model: str,
    data: str,
    split: str | None = None,
    language: str = "hi",
    window: str = "fit",
    limit: int = 0,
    batch_size: int | None = None,
    *,
    cache_folder: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    announce: Callable[[str], None] = lambda message: None,
    device: str = "cpu",
    seed: int = 0,
    skip_problems: bool = False,
    script: str = "auto",
    search: Search | None = None,
    normalizers: Sequence[str] = (),
) -> Evaluation:
    """Transcribe a data set with a model and score it.

    Args:
        model: Hub id, folder, a run's slim folder, or an export, which runs in its own engine.
        data: `PATH`, `PATH#SPLIT` or `hub:...`, as `load_items` takes it.
        split: Split of `data` when `data` does not name one; None or empty is all.
        window: `fit` or `30s`; of an export, also `trim`.
        limit: Clips scored, drawn with `seed`; 0 is all.
        batch_size: Clips decoded together; no clip's text depends on it. None: 16, and 1 for an
            export, so that its time is that of use.
        cache_folder: Of decoded recordings; None is the user's own.
        progress: Called with (done, total) clips.
        script: `own` holds texts to the language's own script, `any` does not, `auto` does for a
            model that no run has tuned.
        search: How a model that scores frames (CTC) looks for its texts; None: greedily.
        normalizers: Names of further normalizers to score with, such as `vistaar`.
        skip_problems: Leave out clips that cannot be used, and record them, instead of refusing.

    Raises:
        DataError: for unusable clips, all of them counted and the first named; for accepted forms
            (`variations`) that cannot be read.
        UsageError, SourceError, CheckpointError, DeviceError, ExportError: as loading the
            parts does.
    """
    source = source_of(data, split)
    items = choose(load_items(source), limit, seed)
    prepared = prepare(
        model, source, language, window, batch_size, cache_folder=cache_folder, progress=progress,
        announce=announce, device=device, skip_problems=skip_problems, script=script,
        search=search, normalizers=normalizers,
    )  # fmt: skip
    given = len(items)
    items, skipped = prepared.usable(items)
    if not items:
        raise DataError(f"{source}: none of its {given} clips can be used; nothing to score")
    result = scored(
        prepared.hear(items), items, data=source, language=language, policy=prepared.policy,
        normalizers=normalizers,
    )  # fmt: skip
    return Evaluation(
        result,
        {**prepared.provenance(), **circumstances(limit, seed)},
        skipped,
        prepared.trained_on(items),
    )


@dataclass(frozen=True)
class Prepared:
    """A model that is loaded to hear clips of `source`; other fields as of `evaluate_model`."""

    model: str
    opened: OpenExport | OpenModel
    source: str
    language: str
    policy: WindowPolicy
    cache_folder: Path
    progress: Callable[[int, int], None]
    announce: Callable[[str], None]
    skip_problems: bool
    normalizers: tuple[str, ...]

    def usable(self, items: Sequence[Item]) -> tuple[list[Item], dict[str, str]]:
        """The usable clips, and what is wrong with the others, by key.

        Raises `DataError` for unusable ones unless problems are to be skipped, and for accepted
        forms that cannot be read.
        """
        accepted_forms(items)
        longest = self.opened.input_spec.max_seconds
        cache = AudioCache(self.cache_folder, self.announce)
        return _checked(items, self.source, self.language, longest, cache, self.skip_problems)

    def hear(self, items: Sequence[Item]) -> Heard:
        """Transcribe usable clips."""
        return self.opened.hear(
            items, language=self.language, policy=self.policy, cache_folder=self.cache_folder,
            progress=self.progress, announce=self.announce,
        )  # fmt: skip

    def trained_on(self, items: Sequence[Item]) -> tuple[str, ...]:
        """Keys of the clips that the model was trained on."""
        clips = training_clips(self.model)
        return tuple(item.key for item in items if clips.holds_clip(item))

    def provenance(self) -> dict[str, Any]:
        """Of the model, and which split is scored: plain values."""
        return {**self.opened.provenance(), "split": parse_source(self.source).split or ALL_CLIPS}


def prepare(
    model: str,
    source: str,
    language: str = "hi",
    window: str = "fit",
    batch_size: int | None = None,
    *,
    cache_folder: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    announce: Callable[[str], None] = lambda message: None,
    device: str = "cpu",
    skip_problems: bool = False,
    script: str = "auto",
    search: Search | None = None,
    normalizers: Sequence[str] = (),
) -> Prepared:
    """Load a model to score clips of `source` with; arguments and errors as `evaluate_model`."""
    model = local_name(model)
    if script not in SCRIPTS:
        raise UsageError(f"{script!r} is not a choice of script; use one of: {', '.join(SCRIPTS)}")
    all_ways(language, normalizers)  # refuses an unknown name before the work
    held = script == "own" or (script == "auto" and is_untuned(model))
    is_exported = is_export(Path(model).expanduser())
    policy = hearing_window(window) if is_exported else parse_window(window)
    opened: OpenExport | OpenModel = (
        open_for_evaluation(model, policy, device, batch_size or 1)
        if is_exported
        else OpenModel(
            load_model(model, device=device, announce=announce), batch_size or _BATCH_SIZE
        )
    )
    opened = opened.in_own_script() if held else opened
    opened = opened.searching(search) if search else opened
    return Prepared(
        model, opened, source, language, policy, cache_folder or audio_cache(), progress, announce,
        skip_problems, tuple(normalizers),
    )  # fmt: skip


def choose(items: Sequence[Item], limit: int, seed: int) -> list[Item]:
    """At most `limit` items (0: all), drawn with `seed`, in the order of the list.

    Drawn at random, since lists are often in the order of speakers.
    """
    if limit < 0:
        raise UsageError(f"a limit of {limit} clips: 0 (all) or more is accepted")
    if not limit or limit >= len(items):
        return list(items)
    drawn = np.random.default_rng(seed).choice(len(items), limit, replace=False)
    return [items[i] for i in sorted(drawn.tolist())]


def source_of(data: str, split: str | None) -> str:
    """`data` with its split. Raises `UsageError` when it names one, too."""
    if not split:
        return data
    named = parse_source(data).split
    if named:
        raise UsageError(f"{data!r} names the split {named!r} and {split!r} is asked for too")
    return str(replace(parse_source(data), split=split))


def _checked(
    items: Sequence[Item],
    source: str,
    language: str,
    max_seconds: float,
    cache: AudioCache,
    skip: bool,
) -> tuple[list[Item], dict[str, str]]:
    """The usable clips, and what is wrong with the others."""
    report = examine(items, language=language, max_seconds=max_seconds, load=cache.load)
    wrong = {p.key: f"{p.kind}: {p.message}" for p in report.problems if p.kind in UNUSABLE}
    kept = usable(items, report)
    if wrong and not skip:
        shown = "\n".join(f"  {key}: {why}" for key, why in list(wrong.items())[:_SHOWN])
        raise DataError(
            f"{source}: {len(wrong)} of {len(items)} clips cannot be used; fix or remove them, or "
            f"give --skip-problems:\n{shown}"
        )
    return kept, wrong


def _earlier(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Keys, references and hypotheses of an earlier record."""
    try:
        rows = texts_of(path.with_suffix(".tsv"))
        if not rows:
            raise ValueError("its .tsv holds no clip")
        keys, references, hypotheses = (list(column) for column in zip(*rows, strict=True))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} has no texts of an earlier evaluation in a .tsv beside it ({error}); name "
            "the file that --json wrote, and keep both together"
        ) from error
    return keys, references, hypotheses


def _one_line(*columns: Sequence[str]) -> tuple[list[str], ...]:
    """Cells as a .tsv keeps them."""
    return tuple([" ".join(cell.split()) for cell in column] for column in columns)


def circumstances(limit: int = 0, seed: int = 0) -> dict[str, Any]:
    """When, where and of how many clips a score is made: plain values."""
    return {
        "threads": torch.get_num_threads(),
        "limit": limit,
        "seed": seed,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": describe(),
    }
