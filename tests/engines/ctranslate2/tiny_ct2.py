"""Exports to CTranslate2 without the check in a child process, for the tests of that engine."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from re import fullmatch

from tests.support.models.narrow import narrow_to
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import keep_everything
from whisperslim.core.store.checkpoint import count_parameters
from whisperslim.core.surgery.shrink import cut
from whisperslim.engines.ctranslate2 import export as ctranslate2_export
from whisperslim.engines.ctranslate2.engine import Ct2Transcriber
from whisperslim.engines.export.record import ExportRecord
from whisperslim.speech.audio.window import WindowPolicy

Keep = Mapping[str, Sequence[int]]
WIDTHS = "widths of heads"


def cut_to(speech: SpeechModel, keep: Keep) -> SpeechModel:
    """A copy of a model with the units `keep` names; its keys are patterns, the last one counts.

    Under `WIDTHS` it has the dimensions of the heads of each attention.
    """
    smaller = replace(speech, model=deepcopy(speech.model))
    if WIDTHS in keep:
        narrow_to(smaller.model, keep[WIDTHS])
    groups = smaller.groups()
    plan = keep_everything(groups)
    chosen = {
        key: next((tuple(k) for p, k in reversed(keep.items()) if fullmatch(p, key)), units)
        for key, units in plan.keep.items()
    }
    cut(smaller.model, groups, replace(plan, keep=chosen))
    return smaller


def exported(
    speech: SpeechModel, folder: Path, quantize: str = "none", window: WindowPolicy | None = None
) -> Ct2Transcriber:
    """The model written into `folder` and opened with one thread."""
    folder.mkdir(parents=True)
    ctranslate2_export.check(speech, quantize)
    written = ctranslate2_export.write(speech, folder, quantize)
    record = ExportRecord(
        engine="ctranslate2",
        quantize=quantize,
        source="tiny",
        source_sha256="",
        parameters=count_parameters(speech.model),
        model_type="whisper",
        input_spec=speech.input_spec,
        family=speech.family.export_facts(speech.model, speech.tokens, speech.path),
        language="hi",
        files={name: (folder / name).stat().st_size for name in written.files},
        runtime=written.runtime,
        settings=written.settings,
        tokenizer=speech.family.tokenizer_file(speech.model),
    )
    return ctranslate2_export.open_export(folder, record, window or WindowPolicy(), threads=1)
