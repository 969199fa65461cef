"""The stage that writes the slim model for where it will run."""

from collections.abc import Sequence

import numpy as np

from whisperslim.core.fetch.sources import resolve
from whisperslim.core.store.checkpoint import empty_model, family_in
from whisperslim.engines.export.export import (
    check_kind,
    check_precision,
    export,
    load_exporter,
)
from whisperslim.events import Notice
from whisperslim.jobs.stages.context import StageContext
from whisperslim.speech.corpus.audio_cache import AudioCache

# Clips on which both forms of the model must write the same. Our choice.
CHECKED_CLIPS = 4


def check_engine(context: StageContext) -> None:
    """Raise `ExportError` before any training.

    When the engine's package is missing here, or the engine does not have the precision.
    """
    wanted = context.recipe.export
    if wanted.is_written:
        load_exporter(wanted.engine)
        check_precision(wanted.engine, wanted.quantize)


def check_model(context: StageContext) -> None:
    """Raise `ExportError` before any training when the engine can hold no cut of the model."""
    wanted = context.recipe.export
    if wanted.is_written:
        folder = resolve(context.base).path
        check_kind(empty_model(folder), family_in(folder), wanted.engine)


def write_export(context: StageContext) -> bool:
    """Write `export/<engine>/`, checked against the slim model; nothing if the slim model itself
    will run.
    """
    wanted = context.recipe.export
    if not wanted.is_written:
        return True
    out = context.run.path / "export" / wanted.engine
    record = export(
        context.load(str(context.run.slim_path)),
        wanted.engine,
        wanted.quantize,
        out,
        _clips(context),
        context.recipe.language,
        context.window,
        replace=True,
    )
    megabytes = record.weights_bytes / 1e6
    context.emit(Notice(message=f"written for {wanted.engine}: {out} ({megabytes:.1f} MB)"))
    return True


def _clips(context: StageContext) -> Sequence[np.ndarray]:
    items = context.chosen("dev") or context.chosen("test") or context.chosen("train")
    cache = AudioCache(context.audio_cache)
    return [cache.load(item) for item in items[:CHECKED_CLIPS]]
