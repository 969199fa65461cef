"""Score an exported model in its own engine, clip by clip, as people will run it."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisperslim.core.decoding import DecodingOptions
from whisperslim.engines.base import Transcript
from whisperslim.engines.export_record import read_export
from whisperslim.engines.opening import open_transcriber
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.errors import UsageError
from whisperslim.speech.audio_cache import AudioCache
from whisperslim.speech.dataset import Item, manifest_hash
from whisperslim.speech.wer import score_all_ways
from whisperslim.speech.window import WindowPolicy
from whisperslim.train.evaluate import EvalResult


@dataclass(frozen=True)
class OpenExport:
    """An export folder and the engine that runs it."""

    folder: Path
    engine: WindowedTranscriber

    def provenance(self) -> dict[str, Any]:
        """What a figure says of the model: plain values."""
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

    def evaluate(
        self,
        items: Sequence[Item],
        *,
        data: str,
        language: str,
        policy: WindowPolicy,
        cache_folder: Path,
        progress: Callable[[int, int], None] = lambda done, total: None,
        announce: Callable[[str], None] = lambda message: None,
    ) -> EvalResult:
        """Transcribe and score `items` one at a time.

        The loss is NaN: an engine writes text and tells no probabilities of another one.
        """
        cache = AudioCache(cache_folder, announce)
        started, written = time.perf_counter(), list[Transcript]()
        for item in items:
            written.append(self.engine.transcribe(cache.load(item), language))
            progress(len(written), len(items))
        references = [item.text for item in items]
        found = [transcript.text for transcript in written]
        return EvalResult(
            data=data,
            n=len(items),
            scores=score_all_ways(references, found, language),
            loss=math.nan,
            seconds=time.perf_counter() - started,
            audio_seconds=sum(transcript.audio_seconds for transcript in written),
            window=policy.describe(),
            decoding=DecodingOptions().describe(),
            language=language,
            manifest_sha256=manifest_hash(items),
            batch_size=1,
            keys=tuple(item.key for item in items),
            references=tuple(references),
            hypotheses=tuple(found),
        )


def open_for_evaluation(model: str, policy: WindowPolicy, device: str) -> OpenExport:
    """The export folder `model` in its engine.

    Raises:
        UsageError: for a device other than the processor, the only one exports run on.
        ExportError: as `open_transcriber`.
    """
    if device != "cpu":
        raise UsageError(f"an export runs on the processor (device cpu), not on {device!r}")
    folder = Path(model).expanduser()
    return OpenExport(folder, open_transcriber(str(folder), policy))
