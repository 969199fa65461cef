"""Write a model for another engine: refuse what it cannot hold, check what was written, place it.

Everything is written beside its place and renamed there once the check in `parity` passes, so that
a reader never sees half an export, and after a failure what was there before is still there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from safetensors import SafetensorError
from transformers import PreTrainedModel

from whisperslim.core.disk.files import renamed_into_place
from whisperslim.core.disk.storage import file_sha256
from whisperslim.core.families import Family
from whisperslim.core.families.factors import factored
from whisperslim.core.loading import SpeechModel
from whisperslim.core.store.checkpoint import SLIM_FILE, count_parameters, read_record
from whisperslim.engines import registry
from whisperslim.engines.export.parity import ParityVerdict, check_parity
from whisperslim.engines.export.record import ExportRecord, is_export
from whisperslim.engines.export.seal import sealed
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.errors import ExportError, UsageError
from whisperslim.speech.audio.window import WindowPolicy


@dataclass(frozen=True)
class Written:
    """What an exporter wrote.

    Attributes:
        files: Names of the engine's own files in the folder, weights among them; tokenizer and
            other side files are not listed.
        runtime: Package -> version it was written with.
        settings: What only this engine needs to know when it opens the folder; JSON values.
    """

    files: tuple[str, ...]
    runtime: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)


class Exporter(Protocol):
    """What the module named by `EngineSpec.exporter` offers. It imports its runtime at its top.

    An engine that can should fill `Heard.ids` and override `encoder_states`: the parity check
    then compares tokens and numbers, and otherwise texts alone. A module that has a function
    `check_kind(model)` refuses by it, with an `ExportError`, models no cut of which it can hold: it
    is asked before anything is trained, of models without weights.
    """

    def check(self, speech: SpeechModel, quantize: str) -> None:
        """Raise `ExportError` saying why this engine cannot hold the model, and what it can."""
        ...

    def write(self, speech: SpeechModel, folder: Path, quantize: str) -> Written:
        """Engine and tokenizer files into an existing empty folder."""
        ...

    def open_export(
        self, folder: Path, record: ExportRecord, window: WindowPolicy, threads: int
    ) -> WindowedTranscriber:
        """The written model, ready. `threads` 0: as many as the runtime takes by itself."""
        ...


def load_exporter(engine: str) -> Exporter:
    """The exporter of an engine.

    Raises:
        UsageError: there is no such engine, or nothing is exported to it.
        ExportError: a package it needs is missing or broken; the message says what to install.
    """
    if engine not in registry.exported():
        known = ", ".join(registry.exported())
        raise UsageError(f"{engine!r} is not an engine to export to; choose one of: {known}")
    spec = registry.get(engine)
    return cast(Exporter, registry.load_part(spec, spec.exporter))


def check_request(engine: str, quantize: str, out: Path, replace: bool) -> Exporter:
    """Refuse all that can be refused before a model is loaded. Raises as `export`."""
    if quantize not in registry.precisions():
        known = ", ".join(registry.precisions())
        raise UsageError(f"{quantize!r} is not a quantization; choose one of: {known}")
    exporter = load_exporter(engine)
    check_precision(engine, quantize)
    _check_place(out, replace)
    return exporter


def check_precision(engine: str, quantize: str) -> None:
    """Raise `ExportError` when an engine has no such precision; the message says which it has."""
    spec = registry.get(engine)
    if quantize not in spec.precisions:
        raise ExportError(
            f"{spec.title} has no quantization {quantize!r}; choose one of: "
            f"{', '.join(spec.precisions)}"
        )


def export(
    speech: SpeechModel,
    engine: str,
    quantize: str,
    out: Path,
    clips: Sequence[np.ndarray],
    language: str,
    window: WindowPolicy,
    replace: bool = False,
) -> ExportRecord:
    """Write `speech` for `engine` into the folder `out`, checked on `clips`.

    Args:
        speech: The model, in float32.
        engine: One of `registry.exported()`.
        quantize: One of the engine's precisions.
        out: A path where nothing exists yet.
        clips: Recordings, mono float32 at 16 kHz, that both forms must hear alike.
        language: Spoken in them.
        window: They are heard in.
        replace: An export at `out` is replaced by the new one; anything else never is.

    Raises:
        UsageError: an unknown engine or quantization.
        ExportError: the engine cannot hold the family, the shapes or the precision, a package is
            missing, the runtime failed, or the written model is not the same one. Nothing was
            placed or replaced.
    """
    exporter = check_request(engine, quantize, out, replace)
    check_kind(speech.model, speech.family, engine)
    facts = speech.family.export_facts(speech.model, speech.tokens, speech.path)
    exporter.check(speech, quantize)
    try:
        with renamed_into_place(out) as folder:
            written = exporter.write(speech, folder, quantize)
            record = sealed(_record(speech, engine, quantize, folder, written, facts), folder)
            record.write(folder)
            verdict = check_parity(speech, folder, quantize, clips, language, window)
            verdict.write(folder)
            _demand(verdict, engine, out)
    except (OSError, SafetensorError) as error:
        raise ExportError(
            f"{out} could not be written: {error}. Make room, or make the folder writable, and "
            "export again; nothing was written"
        ) from error
    return record


def check_kind(model: PreTrainedModel, family: Family, engine: str) -> None:
    """Raise `ExportError` where an engine can hold no cut of such a model.

    Weights are not looked at. What depends on what is left of the model, `Exporter.check` says.
    """
    spec = registry.get(engine)
    if spec.by_family and engine not in family.engines:
        able = ", ".join(family.engines) or "no engine yet"
        raise ExportError(
            f"{spec.title} does not support models of type {family.model_type}, which can be "
            f"written for: {able}"
        )
    if factored(model) and not spec.factors:
        able = ", ".join(s.name for s in registry.specs() if s.factors and s.exporter)
        raise ExportError(
            f"{spec.title} multiplies with one matrix for each linear layer, and this model has "
            f"layers of two, of low rank; it can be written for: {able}"
        )
    refuse = getattr(load_exporter(engine), "check_kind", None)
    if refuse is not None:
        refuse(model)


def source_name(speech: SpeechModel) -> str:
    """A hub id, or the name of a run or folder: exports are shared, so no path may be in them."""
    if not Path(speech.name).expanduser().is_dir():
        return speech.name
    named_by_run = (speech.path.parent / "recipe.yaml").is_file()
    return speech.path.parent.name if named_by_run else speech.path.name


def tuned_language(speech: SpeechModel) -> str:
    """The language a slim model was tuned for; empty where no record says."""
    slim = (speech.path / SLIM_FILE).is_file()
    return read_record(speech.path).language if slim else ""


def _check_place(out: Path, replace: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not is_export(out):
        raise ExportError(
            f"{out} exists and is not an export, so it is not replaced: give a folder that does "
            "not exist"
        )
    if not replace:
        raise ExportError(
            f"{out} holds an export already; give another folder, or replace it with --force"
        )


def _demand(verdict: ParityVerdict, engine: str, out: Path) -> None:
    if not verdict.ok:
        raise ExportError(
            f"what was written for {engine} is not the same model, so nothing was placed at "
            f"{out}: {verdict.statement}"
        )


def _record(
    speech: SpeechModel,
    engine: str,
    quantize: str,
    folder: Path,
    written: Written,
    facts: Mapping[str, Any],
) -> ExportRecord:
    tokenizer = speech.family.tokenizer_file(speech.model)
    return ExportRecord(
        engine=engine,
        quantize=quantize,
        source=source_name(speech),
        source_sha256=speech.info.weights_sha256,
        parameters=count_parameters(speech.model),
        model_type=speech.family.model_type,
        input_spec=speech.input_spec,
        family=facts,
        language=tuned_language(speech),
        files={name: (folder / name).stat().st_size for name in written.files},
        runtime=dict(written.runtime),
        settings={**written.settings, "tokenizer_sha256": file_sha256(folder / tokenizer)},
        tokenizer=tokenizer,
    )
