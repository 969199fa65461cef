"""Run an exported model in CTranslate2, by the same decoding rules as every other engine."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import ctranslate2
import numpy as np

from whisperslim.core.families.whisper.tokens import TokenCodec, load_tokens
from whisperslim.engines.base import EngineSize
from whisperslim.engines.ctranslate2.frames import open_frames, size_of
from whisperslim.engines.export.record import ExportRecord, decoder_rules
from whisperslim.engines.windowed import Heard, WindowedTranscriber
from whisperslim.errors import ExportError
from whisperslim.exported.bounds import DecoderRules, DecodingOptions
from whisperslim.exported.own_script import ScriptMask, mask_for
from whisperslim.inputs import InputSpec
from whisperslim.machine.cores import usable_cores
from whisperslim.speech.audio.window import WindowPolicy

COMPUTE_TYPES = {"none": "float32", "float16": "float32", "int8": "int8"}  # on a processor


@dataclass(frozen=True)
class Ct2Transcriber(WindowedTranscriber):
    """A model in CTranslate2, on the CPU.

    `first_token_seconds` is not known: for Whisper, CTranslate2's `generate` reports nothing before
    its end. The runtime queues concurrent calls itself, so one object serves several threads.

    Attributes:
        folder: The export.
        record: What it says of itself.
        rules: What of that bounds the text.
        runtime: The loaded model.
        tokens: Its tokenizer.
        window: Window policy it listens with.
        decoding: Bounds on the text.
    """

    folder: Path
    record: ExportRecord
    rules: DecoderRules
    runtime: ctranslate2.models.Whisper
    tokens: TokenCodec
    window: WindowPolicy
    decoding: DecodingOptions = field(default_factory=DecodingOptions)

    @property
    def name(self) -> str:
        """The exported model's name, the engine and the precision it computes in."""
        return f"{self.record.source} (CTranslate2 {self.runtime.compute_type})"

    @property
    def input_spec(self) -> InputSpec:
        """As its record says."""
        return self.record.input_spec

    def size(self) -> EngineSize:
        """As `size_of`."""
        return size_of(self.folder, self.record)

    def check_language(self, language: str) -> None:
        """Raise `UsageError` for a language the tokenizer has no token of."""
        self.tokens.prompt(language)

    def in_own_script(self) -> Self:
        """As `WindowedTranscriber.in_own_script`."""
        return replace(self, decoding=replace(self.decoding, own_script=True))

    def hear(self, mel: np.ndarray, seconds: float, language: str) -> Heard:
        """As `WindowedTranscriber.hear`, greedily."""
        prompt = self.tokens.prompt(language)
        limit = self.decoding.limit(seconds, self.rules.positions, len(prompt))
        mask = self._script(language)
        if mask is None:
            found = self._written(_features(mel), prompt, (), limit, self.rules.suppress)
        else:
            states = self.runtime.encode(_features(mel), to_cpu=True)
            found = self._held(states, prompt, limit, mask)
        return Heard(self.tokens.decode(found), len(found), len(found) >= limit, ids=found)

    def _written(
        self,
        given: ctranslate2.StorageView,
        prompt: list[int],
        begun: tuple[int, ...],
        limit: int,
        suppress: Collection[int],
    ) -> tuple[int, ...]:
        """The text from its first token on, at most `limit` of them, of features or states."""
        result = self.runtime.generate(
            given,
            [[*prompt, *begun]],
            beam_size=1,
            max_length=_max_length(limit, prompt),
            suppress_blank=not begun,  # `suppress_ids_begin` of config.json
            suppress_tokens=list(suppress),
        )[0]
        return tuple(result.sequences_ids[0])

    def _held(
        self, states: ctranslate2.StorageView, prompt: list[int], limit: int, mask: ScriptMask
    ) -> tuple[int, ...]:
        """A text in the language's script, as if every step had been masked.

        The runtime takes one list of forbidden tokens for a whole text, while what may follow
        depends on whether a character is incomplete. So only tokens that may follow nowhere are
        forbidden at first; where a token breaks off a character, decoding restarts there, that one
        token with the list of its own state.
        """
        always = {*self.rules.suppress, *mask.never().tolist()} - {self.tokens.end}
        begun: tuple[int, ...] = ()
        while True:
            found = self._written(states, prompt, begun, limit, always)
            good = mask.kept(found)
            ended = len(found) < limit
            if good == len(found) and (not ended or mask.after(found) == 0):
                return found
            begun = found[:good]
            here = always | set(mask.forbidden(mask.after(begun)).tolist())
            begun = self._written(states, prompt, begun, good + 1, here)
            if len(begun) <= good or len(begun) >= limit:  # it ended, or may not go on
                return begun

    def _script(self, language: str) -> ScriptMask | None:
        """The mask that holds a text to its script, if that is asked for."""
        if not self.decoding.own_script:
            return None
        vocabulary = self.tokens.vocabulary()
        size = max(vocabulary.values()) + 1
        return mask_for(self.tokens, vocabulary, self.tokens.end, size, language)

    def describe_decoding(self) -> str:
        """Greedy, within its bounds."""
        return self.decoding.describe()

    def encoder_states(self, mel: np.ndarray) -> np.ndarray:
        """The encoder's states of a segment, `(positions, d_model)` float32."""
        return np.array(self.runtime.encode(_features(mel), to_cpu=True))[0]


def open_export(
    folder: Path, record: ExportRecord, window: WindowPolicy, threads: int
) -> WindowedTranscriber:
    """Load an export. `threads` 0: one for each physical core this process may use.

    Raises:
        ExportError: the runtime refuses the file, or cannot compute in its precision here.
        CheckpointError: the tokenizer is damaged.
    """
    check_precision(record.quantize)
    frames = record.input_spec.kind == "samples"
    kind = ctranslate2.models.Wav2Vec2 if frames else ctranslate2.models.Whisper
    try:
        runtime = kind(
            str(folder),
            device="cpu",
            compute_type=COMPUTE_TYPES[record.quantize],
            inter_threads=1,
            intra_threads=threads or usable_cores(),
        )
    except (RuntimeError, ValueError) as error:
        raise ExportError(
            f"CTranslate2 {ctranslate2.__version__} cannot open {folder}: {error}. It was written "
            f"with {record.runtime.get('ctranslate2', 'another version')}; install that, or "
            "export the model again"
        ) from error
    if frames:
        return open_frames(folder, record, window, runtime)
    return Ct2Transcriber(
        folder, record, decoder_rules(record), runtime, load_tokens(folder), window
    )


def check_precision(quantize: str) -> None:
    """Raise `ExportError` for a quantization that is unknown here or that this processor lacks."""
    if quantize not in COMPUTE_TYPES:
        raise ExportError(
            f"CTranslate2 has no {quantize}; choose one of: {', '.join(COMPUTE_TYPES)}"
        )
    able = ctranslate2.get_supported_compute_types("cpu")
    if COMPUTE_TYPES[quantize] not in able:
        raise ExportError(
            f"CTranslate2 cannot compute in {quantize} on this processor, only in "
            f"{', '.join(sorted(able))}; export with --quantize none"
        )


def _features(mel: np.ndarray) -> ctranslate2.StorageView:
    batch = np.ascontiguousarray(mel[None], dtype=np.float32)
    return ctranslate2.StorageView.from_array(batch)


def _max_length(limit: int, prompt: list[int]) -> int:
    """CTranslate2's `max_length` that lets it write `limit` tokens, its end token among them.

    Whisper may write at most half of it, and the prompt but for its last token counts too.
    """
    return max(2 * limit, limit + len(prompt) - 1)
