"""Run an exported model in ONNX Runtime, on the CPU."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from whisperslim.core.disk.untrusted import typed
from whisperslim.engines.base import EngineSize
from whisperslim.engines.export.record import ExportRecord, decoder_rules
from whisperslim.engines.onnx.processor import SIGNED_AS_UNSIGNED, signed_is_exact
from whisperslim.engines.onnx.several import SideBySide
from whisperslim.engines.windowed import Heard, WindowedTranscriber
from whisperslim.errors import ExportError, UsageError
from whisperslim.exported.bounds import DecoderRules, DecodingOptions
from whisperslim.exported.ctc import Word
from whisperslim.exported.names import (
    CROSS,
    DECODER_FILE,
    ENCODER_FILE,
    FEATURES,
    FRAMES_FILE,
    LOGITS,
    PAST,
    POSITIONS,
    PRESENT,
    QUERIES,
    STATES,
    TOKENS,
)
from whisperslim.exported.own_script import ScriptMask, mask_for
from whisperslim.exported.tokens import PromptTokens, read_tokens
from whisperslim.exported.word_times import TimingHeads, attention, timed_words, token_starts
from whisperslim.inputs import InputSpec
from whisperslim.machine.heap import give_back
from whisperslim.speech.audio.window import WindowPolicy

# The runtime's errors have no common base of their own.
_REFUSALS = (
    runtime.EPFail, runtime.Fail, runtime.InvalidArgument, runtime.InvalidGraph,
    runtime.InvalidProtobuf, runtime.NoModel, runtime.NoSuchFile, runtime.NotImplemented,
    runtime.RuntimeException,
)  # fmt: skip
_ERRORS_ONLY = 3
_STOP_SPINNING = "session.force_spinning_stop"

Values = dict[str, Any]
"""Name -> `OrtValue`: results stay in the runtime's memory from one call to the next."""


@dataclass(frozen=True)
class OnnxTranscriber(SideBySide):
    """An export folder, opened.

    Attributes:
        record: What the folder says of itself.
        rules: What of that bounds the text.
        window: Window policy it listens with.
        tokens: Its tokenizer.
        encoder, decoder: The sessions of the two graphs.
        decoding: Bounds of a text's length.
        timing: Where to read off when words were said; None: they are not timed.
    """

    record: ExportRecord
    rules: DecoderRules
    window: WindowPolicy
    tokens: PromptTokens
    encoder: onnxruntime.InferenceSession
    decoder: onnxruntime.InferenceSession
    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    timing: TimingHeads | None = None

    @property
    def name(self) -> str:
        """The exported model's name, and how it runs."""
        return f"{self.record.source} (ONNX Runtime, {self.record.stored})"

    @property
    def input_spec(self) -> InputSpec:
        """As its record says."""
        return self.record.input_spec

    def size(self) -> EngineSize:
        """Parameters and bytes of the graphs' files.

        The runtime does not report what it holds; the file's bytes stand for the weights loaded. It
        may lay them out again for its products, which a measured peak shows and this does not.
        """
        stored = self.record.weights_bytes
        return EngineSize(self.record.parameters, stored, stored, stored)

    def check_language(self, language: str) -> None:
        """Raise `UsageError` for a language the tokenizer has no token of."""
        self.tokens.prompt(language)

    def in_own_script(self) -> Self:
        """As `WindowedTranscriber.in_own_script`."""
        return replace(self, decoding=replace(self.decoding, own_script=True))

    def hear(self, mel: np.ndarray, seconds: float, language: str) -> Heard:
        """As `WindowedTranscriber.hear`, greedily."""
        started = time.perf_counter()
        prompt = self.tokens.prompt(language)
        limit = self.decoding.limit(seconds, self.rules.positions, len(prompt))
        heard = self._heard(mel)
        ids: list[int] = []
        chances: list[float] = []
        first: float | None = None
        for token, logits in self._written(heard, prompt, limit, language):
            first = time.perf_counter() - started if first is None else first
            if token != self.tokens.end:
                ids.append(token)
                if self.timing:
                    chances.append(_chance(logits, token))
        words = self._timed(heard, prompt, ids, chances, seconds) if self.timing and ids else ()
        at_limit = len(ids) >= limit
        return Heard(self.tokens.decode(ids), len(ids), at_limit, first, tuple(ids), words)

    @property
    def session(self) -> onnxruntime.InferenceSession:
        """As `SideBySide.session`."""
        return self.decoder

    def telling_words(self) -> Self:
        """As `WindowedTranscriber.telling_words`.

        Raises `UsageError` for an export that was made before this could be asked for.
        """
        return replace(self, timing=_timing(self.record, self.decoder))

    def _timed(
        self,
        heard: Values,
        prompt: list[int],
        ids: list[int],
        chances: list[float],
        seconds: float,
    ) -> tuple[Word, ...]:
        """One more pass, over the whole text at once, in which heads show where they attend."""
        assert self.timing is not None
        row = [*prompt, *ids]
        layers = sorted({layer for layer, _ in self.timing.heads})
        given = self._given(row, 0, heard, _empty_caches(self.decoder))
        names = [f"{QUERIES}_{layer}" for layer in layers]
        found = run(self.decoder, names, given)
        queries = {layer: found[f"{QUERIES}_{layer}"].numpy()[0] for layer in layers}
        keys = {layer: heard[f"{CROSS}_keys_{layer}"].numpy()[0] for layer in layers}
        weights = []
        for layer, head in self.timing.heads:
            width = keys[layer].shape[-1]
            # The state at one place predicts the token at the next.
            asked = queries[layer][len(prompt) - 1 :, head * width : (head + 1) * width]
            weights.append(attention(asked, keys[layer][head], self.timing.scale))
        starts = token_starts(np.stack(weights), seconds)
        return timed_words(ids, starts, chances, self.tokens.spelled, self.tokens.decode)

    def describe_decoding(self) -> str:
        """Greedy, within its bounds."""
        return self.decoding.describe()

    def encoder_states(self, mel: np.ndarray) -> np.ndarray:
        """The encoder's states of a segment, `(positions, d_model)` float32."""
        states: np.ndarray = self.encoder.run([STATES], {FEATURES: mel[None]})[0][0]
        return states

    def _written(
        self, heard: Values, prompt: list[int], limit: int, language: str
    ) -> Iterator[tuple[int, np.ndarray]]:
        """At most `limit` tokens, the end token last if it comes, each with all logits."""
        caches = self._no_caches()
        forbidden = self._forbidden()
        at_start = list(self.rules.suppress_at_start)
        script, state = self._script(len(forbidden), language), 0
        ids, position = prompt, 0
        for step in range(limit):
            logits, caches = self._step(ids, position, heard, caches)
            logits = logits + forbidden
            if script is not None:
                logits = logits + script.bias[state]
            if step == 0:
                logits[at_start] = -np.inf
            position += len(ids)
            ids = [int(logits.argmax())]
            state = script.step(state, ids[0]) if script is not None else state
            yield ids[0], logits
            if ids[0] == self.tokens.end:
                return

    def _script(self, size: int, language: str) -> ScriptMask | None:
        """The mask that holds a text to its script, if that is asked for."""
        if not self.decoding.own_script:
            return None
        return mask_for(self.tokens, self.tokens.vocabulary(), self.tokens.end, size, language)

    def _forbidden(self) -> np.ndarray:
        """Minus infinity for what is never written, zero for the rest, `(vocabulary,)`."""
        bias = np.zeros(self._vocabulary(), np.float32)
        bias[list(self.rules.suppress)] = -np.inf
        return bias

    def _vocabulary(self) -> int:
        (size,) = (out.shape[1] for out in self.decoder.get_outputs() if out.name == LOGITS)
        return int(size)

    def _no_caches(self) -> Values:
        return _empty_caches(self.decoder)

    def _heard(self, mel: np.ndarray) -> Values:
        names = [output.name for output in self.encoder.get_outputs() if output.name != STATES]
        features = np.ascontiguousarray(mel[None], dtype=np.float32)
        # Here the most is needed at once. What was freed before, the recording's decoding and other
        # texts, and the states between layers would else stay: some 15 MB, for a millisecond each.
        give_back()
        found = run(self.encoder, names, {FEATURES: value(features)})
        give_back()
        return found

    def _step(
        self, ids: list[int], position: int, heard: Values, caches: Values
    ) -> tuple[np.ndarray, Values]:
        """Logits after `ids`, the first of which is at `position`, and the caches with them in."""
        outputs = [output.name for output in self.decoder.get_outputs()]
        names = [name for name in outputs if not name.startswith(QUERIES)]
        found = run(self.decoder, names, self._given(ids, position, heard, caches))
        logits: np.ndarray = found.pop(LOGITS).numpy()[0]
        return logits, {name.replace(PRESENT, PAST, 1): value for name, value in found.items()}

    def _given(self, ids: list[int], position: int, heard: Values, caches: Values) -> Values:
        tokens = np.array([ids], np.int64)
        places = np.arange(position, position + len(ids), dtype=np.int64)
        return {TOKENS: value(tokens), POSITIONS: value(places), **heard, **caches}


def _chance(logits: np.ndarray, token: int) -> float:
    """Probability of a token; what is never written has none."""
    raised = np.exp(logits - logits.max())
    return float(raised[token] / raised.sum())


def _timing(record: ExportRecord, decoder: onnxruntime.InferenceSession) -> TimingHeads:
    """The record's entry on word times, checked: somebody else may have made the folder."""
    heads = {i.name: i.shape[1] for i in decoder.get_inputs() if i.name.startswith(CROSS)}
    shown = {output.name for output in decoder.get_outputs()}
    try:
        found: dict[str, Any] = typed(record.settings["word_times"], dict)
        pairs = tuple((typed(i, int), typed(h, int)) for i, h in typed(found["heads"], list))
        scale = typed(found["scale"], float)
        for layer, head in pairs:
            known = heads[f"{CROSS}_keys_{layer}"]
            if not 0 <= head < known or f"{QUERIES}_{layer}" not in shown:
                raise ValueError(f"head {head} of layer {layer}")
        if not pairs:
            raise ValueError("no head")
    except (KeyError, ValueError, TypeError) as error:
        raise UsageError(
            f"the export of {record.source} cannot give word times ({error}): it was made before "
            "that was possible, or has no attention for it; export the model again"
        ) from error
    return TimingHeads(pairs, scale)


def open_export(
    folder: Path, record: ExportRecord, window: WindowPolicy, threads: int
) -> WindowedTranscriber:
    """The model in `folder`, ready to listen.

    On a CPU without dot products of 8-bit integers the runtime chooses slower kernels by itself;
    nothing has to be refused.

    Args:
        folder: Written by the exporter; `record` is its record, which has been read and checked.
        window: Window policy to listen with.
        threads: Of the processor; 0 is one for each physical core.

    Raises:
        ExportError: a graph is damaged, or needs a later ONNX Runtime.
        CheckpointError: the tokenizer cannot be read.
    """
    if FRAMES_FILE in record.files:
        from whisperslim.engines.onnx.frames import open_frames

        graph = session(folder / FRAMES_FILE, record, threads)
        give_back()
        return open_frames(folder, record, window, graph)
    tokens = read_tokens(folder)
    encoder = session(folder / ENCODER_FILE, record, threads)
    decoder = session(folder / DECODER_FILE, record, threads)
    give_back()  # the files as they were read; else they stay for as long as the process lives
    return OnnxTranscriber(record, decoder_rules(record), window, tokens, encoder, decoder)


def session(file: Path, record: ExportRecord, threads: int) -> onnxruntime.InferenceSession:
    """A graph, ready to run. Raises `ExportError` when the runtime cannot open it."""
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    # It keeps the most that any recording has needed, and doubles what it asks for.
    options.enable_cpu_mem_arena = False
    # Threads wait for each other by spinning. Between two calls that would take time from the rest
    # of the process, the next token's own work among it.
    options.add_session_config_entry(_STOP_SPINNING, "1")
    if not signed_is_exact():
        options.add_session_config_entry(SIGNED_AS_UNSIGNED, "1")
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except _REFUSALS as error:
        wrote = record.runtime.get("onnxruntime", "an unknown version")
        raise ExportError(
            f"ONNX Runtime {onnxruntime.__version__} cannot open {file}: {error}; it was written "
            f"with {wrote}: update onnxruntime, or export the model again"
        ) from error


def run(session: onnxruntime.InferenceSession, names: list[str], given: Values) -> Values:
    """The results of these names."""
    found = session.run_with_ort_values(names, given)
    return dict(zip(names, found, strict=True))


def value(array: np.ndarray) -> Any:
    """An array in the runtime's own form."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


def _empty_caches(decoder: onnxruntime.InferenceSession) -> Values:
    """Caches of no token: the varying length, the only one that is a symbol, is zero."""
    shapes = {i.name: i.shape for i in decoder.get_inputs() if i.name.startswith(PAST)}
    return {
        name: value(np.zeros([n if isinstance(n, int) else 0 for n in shape], np.float32))
        for name, shape in shapes.items()
    }
