"""Work that needs torch, imported late: the page opens before any of it is loaded."""

import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

from whisperslim.engines.export.record import EXPORT_FILE, is_export
from whisperslim.engines.registry import OWN
from whisperslim.jobs.run.folder import RunDir
from whisperslim.machine.places import cache_root
from whisperslim.ui.context.cache import ModelCache
from whisperslim.ui.context.turns import Asked, Turns

if TYPE_CHECKING:
    import numpy as np

    from whisperslim.engines.base import Transcript
    from whisperslim.engines.comparison import Comparison
    from whisperslim.engines.live.session import LiveSession
    from whisperslim.engines.windowed import WindowedTranscriber
    from whisperslim.jobs.sizes.predict import Prediction
    from whisperslim.jobs.sizes.replan import Replan
    from whisperslim.ui.context.side_choice import SideChoice

T = TypeVar("T")
MAX_SECONDS = 120.0  # our choice: longer recordings are for the command line
_PARITY_CLIPS = 6  # demo clips on which the export of a dense model is checked


def load_libraries() -> None:
    """Import torch and transformers, one thread at a time: see `ui.context.heavy`."""
    importlib.import_module("whisperslim.ui.context.heavy")


@dataclass(frozen=True)
class ModelSize:
    """Parameters of a model, and how many of them are prunable weights."""

    parameters: int
    prunable: int


def measure(name: str) -> ModelSize:
    """Counts of a model by name. Raises `SourceError` or `CheckpointError`."""
    load_libraries()
    from whisperslim.core.cost.cost import inspect_model

    report = inspect_model(name)
    # In a slim model, what has been cut out already cannot be cut again.
    return ModelSize(report.parameters, report.prunable - report.removed_weights)


def zeroed_shares(slim: Path) -> Mapping[str, float]:
    """Group key -> share of a slim model's remaining weights that is zero."""
    load_libraries()
    from whisperslim.core.cost.cost import inspect_model

    report = inspect_model(str(slim))
    groups = [row for row in report.rows if row.units and row.kind != "embeddings"]
    return {row.key: row.zeroed / row.parameters for row in groups}


@dataclass(frozen=True)
class Listening:
    """Runs models: two or three on one recording, or one on live speech.

    Models run in one lane, one after another, so that a preview never disturbs a measurement.
    Comparisons of the same models that wait at the same time are heard in one pass of each model.
    """

    models: "ModelCache[SideChoice, WindowedTranscriber]" = field(
        default_factory=lambda: ModelCache(transcriber, capacity=3)
    )
    lane: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, "listening"))
    # Names and folders of the models at work for a comparison, each as often as it is.
    _hearing: Counter[str] = field(default_factory=Counter)
    _at_work: list[str] = field(default_factory=list)  # the recordings in the lane
    _turns: Turns = field(default_factory=Turns)
    # Models that have been used here: warming them up again before a comparison would double the
    # wait.
    _worked: "WeakValueDictionary[int, WindowedTranscriber]" = field(
        default_factory=WeakValueDictionary
    )

    def compare(
        self,
        dense: "SideChoice",
        slim: "SideChoice",
        recording: str,
        language: str,
        reference: str | None,
        third: "SideChoice | None" = None,
        *,
        alone: bool = False,
    ) -> "Comparison":
        """The `Comparison` of two models on an audio file, or of three.

        Where others wait for the same models, it is one of several `compare_together`, unless it is
        to be heard `alone`.

        Raises `AudioError`, `SourceError`, `CheckpointError` or `ExportError`.
        """
        from whisperslim.speech.audio.decoding import decode

        audio = decode(recording, max_seconds=MAX_SECONDS)
        sides = tuple(side for side in (dense, slim, third) if side is not None)
        asked = Asked(recording, sides, audio, language, reference, alone)
        with self.holding(sides):
            self._turns.ask(asked)
            self.lane.submit(self._turn)
            finish = asked.result.result()
        return finish()

    def give_up(self, recording: str, *sides: "SideChoice") -> None:
        """End what exports from elsewhere do with that recording: they may never end by themselves.

        Who compares gets an `ExportError`. Models in this process go on to the recording's end.
        """
        from whisperslim.engines.foreign.transcriber import give_up

        if recording in self._at_work:
            for side in sides:
                give_up(Path(side.path))

    @contextmanager
    def holding(self, sides: "Iterable[SideChoice]") -> Iterator[None]:
        """Let these models count as `in_use` in the block."""
        names = [side.path for side in sides]
        self._hearing.update(names)
        try:
            yield
        finally:
            self._hearing.subtract(names)

    def in_use(self) -> tuple[str, ...]:
        """Names and folders of the models that a comparison works with now."""
        return tuple(name for name, count in self._hearing.items() if count > 0)

    def heard(self, side: "SideChoice", recording: str, language: str) -> str:
        """The text of a recording. Raises as `compare` does."""
        from whisperslim.speech.audio.decoding import decode

        audio = decode(recording, max_seconds=MAX_SECONDS)
        return self.lane.submit(
            lambda: str(self._model(side).transcribe(audio, language).text)
        ).result()

    def timed(self, side: "SideChoice", recording: str, language: str) -> "Transcript":
        """A recording heard once more, with the time of each word, while no comparison waits.

        Raises `UsageError` from an engine that does not report them, and as `compare` does.
        """
        from whisperslim.engines.together import tried
        from whisperslim.speech.audio.decoding import decode

        audio = decode(recording, max_seconds=MAX_SECONDS)

        def hear() -> "Transcript":
            return self._model(side).telling_words().transcribe(audio, language)

        heard: Future[Transcript] = Future()
        self._turns.later(lambda: _end(heard, tried(hear)))
        self.lane.submit(self._turn)
        return heard.result()

    def is_here(self, side: "SideChoice") -> bool:
        """Whether a model can be loaded now, without fetching or exporting first."""
        load_libraries()
        from whisperslim.core.fetch.sources import resolve
        from whisperslim.errors import SourceError

        if self.models.holds(side, _version(side.path)) or is_export(Path(side.path)):
            return True
        try:
            resolve(side.path, offline=True)
        except SourceError:
            return False
        return side.engine == OWN

    def get_ready(self, side: "SideChoice", language: str) -> None:
        """Load a model in the lane unless it is loaded. Returns at once.

        Errors are not reported: using the model later raises the same error.
        """
        if not self.models.holds(side, _version(side.path)):
            self.lane.submit(lambda: warm_up(self._model(side), language))

    def preview(self, side: "SideChoice", language: str) -> "LiveSession":
        """A `LiveSession` for one recording. Raises `SourceError` without a voice detector."""
        from whisperslim.engines.live.session import LiveSession
        from whisperslim.engines.live.text import LiveOptions, LiveText
        from whisperslim.engines.live.voice import SileroDetector

        def hear(sound: "np.ndarray") -> str:
            return str(self._model(side).transcribe(sound, language).text)

        live = LiveText(hear, SileroDetector(), LiveOptions(max_seconds=MAX_SECONDS))
        return LiveSession(live, lambda: warm_up(self._model(side), language), self.lane)

    def _turn(self) -> None:
        """One comparison that waits, with those that are like it; else what waits for all."""
        first = self._turns.first()
        if first is None:
            work = self._turns.spare()
            if work is not None:
                work()
            return
        from whisperslim.engines.together import tried

        group = [first]
        self._at_work.append(first.recording)
        try:
            found = tried(lambda: self._compared(group))
        finally:
            self._at_work.clear()
        results = [found] * len(group) if isinstance(found, Exception) else found
        for asked, result in zip(group, results, strict=True):
            _end(asked.result, result)

    def _compared(self, group: list[Asked]) -> "list[Callable[[], Comparison] | Exception]":
        """What makes the comparison in `group`, and of those that it takes into the group."""
        load_libraries()
        from whisperslim.engines.comparison import Recording, compare, compare_together

        (first,) = group
        models = [self._model(side) for side in first.sides]
        dense, slim, *more = models
        third = more[0] if more else None
        beside = self.models.loaded()
        warm = all(self._worked.get(id(model)) is model for model in models)
        # An export from elsewhere is ended by its process, for all that it hears.
        if warm and all(model.process is None for model in models):
            group += self._turns.like(first, max(model.at_once for model in models) - 1)
            self._at_work[:] = [asked.recording for asked in group]
        if len(group) > 1:
            heard = [Recording(asked.audio, asked.reference) for asked in group]
            return compare_together(
                dense, slim, heard, language=first.language, third=third, beside=beside
            )
        found = compare(
            dense, slim, first.audio, language=first.language, reference=first.reference,
            third=third, warm=warm, beside=beside,
        )  # fmt: skip
        self._worked.update({id(model): model for model in models})
        return [lambda: found]

    def _model(self, side: "SideChoice") -> "WindowedTranscriber":
        return self.models.get(side, _version(side.path))


def _end(waited: "Future[T]", how: T | Exception) -> None:
    """Let who waits have what has been made, or its error."""
    if isinstance(how, Exception):
        waited.set_exception(how)
    else:
        waited.set_result(how)


class Resizing:
    """What `jobs` offers for a run at other sizes."""

    def replan(self, run: RunDir, removed: float, zeroed: float) -> "Replan":
        """As `jobs.sizes.replan.replan`."""
        load_libraries()
        from whisperslim.jobs.sizes.replan import replan

        return replan(run, removed, zeroed)

    def reachable_range(self, run: RunDir) -> tuple[float, float]:
        """As `jobs.sizes.replan.reachable_range`."""
        load_libraries()
        from whisperslim.jobs.sizes.replan import reachable_range

        return reachable_range(run)

    def derive(self, run: RunDir, removed: float, zeroed: float, recover_steps: int) -> RunDir:
        """As `jobs.sizes.derive.derive`."""
        load_libraries()
        from whisperslim.jobs.sizes.derive import derive

        return derive(run, removed, zeroed, recover_steps)

    def prediction(self, run: RunDir, removed: float, zeroed: float) -> "Prediction | None":
        """As `jobs.sizes.predict.stored_prediction`."""
        load_libraries()
        from whisperslim.jobs.sizes.predict import stored_prediction

        return stored_prediction(run, removed, zeroed)


def transcriber(side: "SideChoice") -> "WindowedTranscriber":
    """A model ready to transcribe on this machine's processor, in the given engine."""
    load_libraries()
    from whisperslim.engines.opening import open_transcriber
    from whisperslim.speech.audio.window import parse_window

    made = side.engine != OWN and not is_export(Path(side.path))
    opened = open_transcriber(str(_made(side)) if made else side.path, parse_window(side.window))
    return opened.in_own_script() if side.script == "own" else opened


def warm_up(model: "WindowedTranscriber", language: str) -> None:
    """Run a model on a second of noise: the first pass of all makes filters and buffers."""
    import numpy as np

    noise = np.random.default_rng(0).normal(0.0, 0.05, 16_000).astype(np.float32)
    model.transcribe(noise, language)


def _made(side: "SideChoice") -> Path:
    """The dense model in another engine, exported into the cache unless it is there."""
    load_libraries()
    from whisperslim.core.loading import load_model
    from whisperslim.engines.export.export import export
    from whisperslim.engines.timing.trial import trial_language
    from whisperslim.speech.audio.decoding import decode
    from whisperslim.speech.audio.window import parse_window
    from whisperslim.ui.parts.demo_clips import CLIPS_FOLDER, demo_clips

    speech = load_model(side.path)
    # By the weights, not by the name: a folder may be trained again.
    name = f"{speech.info.weights_sha256[:16]}-{side.engine}-{side.quantize}"
    out = cache_root() / "engines" / name
    if not is_export(out):
        clips = [decode(CLIPS_FOLDER / path) for path in list(demo_clips())[:_PARITY_CLIPS]]
        window = parse_window("30s")  # the one every Whisper was trained in
        export(speech, side.engine, side.quantize, out, clips, trial_language(speech), window)
    return out


def _version(name: str) -> str:
    """Changes when a folder's weights do, so that a model trained again is loaded again."""
    files = [*sorted(Path(name).glob("*.safetensors")), Path(name) / EXPORT_FILE]
    return " ".join(str(file.stat().st_mtime_ns) for file in files if file.is_file())
