"""What every stage is given, and what several of them need."""

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch

from whisperslim.core import ranks
from whisperslim.core.disk.untrusted import fitting, typed
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.plan.rules import PlanRules
from whisperslim.engines import registry
from whisperslim.errors import DataError, DeviceError, RunError
from whisperslim.events import Event, Notice, Progress
from whisperslim.jobs.pricing.prices import run_prices
from whisperslim.jobs.recipe.recipe import Recipe
from whisperslim.jobs.run.data_record import DATA_FILE, read_data
from whisperslim.jobs.run.environment import add_facts
from whisperslim.jobs.run.environment import read as read_environment
from whisperslim.jobs.run.folder import RunDir
from whisperslim.machine.places import audio_cache
from whisperslim.speech.audio.window import WindowPolicy, parse_window
from whisperslim.speech.corpus.dataset import Item, load_items
from whisperslim.train.evaluate import EvalResult, evaluate
from whisperslim.train.precision import Precision, bf16_lacking, choose_precision


@dataclass(frozen=True)
class StageContext:
    """One running run. Nothing here outlives the process; the run folder does."""

    run: RunDir
    recipe: Recipe
    emit: Callable[[Event], None]
    _clips: dict[str, Sequence[Item]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _said: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    @cached_property
    def device(self) -> str:
        """`cpu` or `cuda`. Raises `DeviceError` when the recipe's device is not available."""
        wanted = self.recipe.runtime.device
        found = "cuda" if torch.cuda.is_available() else "cpu"
        return found if wanted == "auto" else wanted

    @cached_property
    def precision(self) -> Precision:
        """The arithmetic of training: that of the run's start, or of the recipe.

        Raises `DeviceError` when this machine does not have it.
        """
        begun = read_environment(self.run.environment_path).get("precision")
        try:
            return choose_precision(begun or self.recipe.runtime.precision, self.device)
        except DeviceError as error:
            if not begun or self.recipe.runtime.precision != "auto":
                raise
            raise DeviceError(
                f"the run began in {begun}, and {bf16_lacking(self.device)}; resume it where it "
                "began, or start a new run"
            ) from error

    @property
    def trimmed_path(self) -> Path:
        """The recipe's model without the tokens that its languages do not need."""
        return self.run.path / "trimmed"

    @property
    def headed_path(self) -> Path:
        """The model with the head that the recipe puts on it."""
        return self.run.path / "headed"

    @property
    def prepared_path(self) -> Path:
        """The dense model after its own tuning, when the recipe has that."""
        return self.run.path / "prepared"

    @property
    def narrowed_path(self) -> Path:
        """The model compression starts from, with narrower heads when the recipe wants them."""
        return self.run.path / "narrowed"

    @property
    def base(self) -> str:
        """Name of the model training starts with: the last one made from the recipe's."""
        made = [path for path in (self.headed_path, self.trimmed_path) if path.is_dir()]
        return str(made[0]) if made else self.recipe.model

    @property
    def start(self) -> str:
        """Name of the whole model compression starts from; the teacher called `dense`."""
        return str(self.prepared_path) if self.recipe.prepare.steps else self.base

    @property
    def dense(self) -> str:
        """Name of the model the result is compared with: prepared, or the recipe's, untrimmed."""
        return str(self.prepared_path) if self.recipe.prepare.steps else self.recipe.model

    @property
    def tuned_path(self) -> Path:
        """The tuned model, before any cut."""
        return self.run.path / "tuned"

    @property
    def cut_path(self) -> Path:
        """The cut model, before recovery."""
        return self.run.path / "cut"

    @property
    def window(self) -> WindowPolicy:
        """The window of training and of evaluation."""
        return parse_window(self.recipe.evaluate.window)

    @property
    def audio_cache(self) -> Path:
        """Decoded recordings."""
        return audio_cache()

    def load(self, name: str) -> SpeechModel:
        """A model by name, in float32 on the run's device, with the rules of the run's plans."""
        found = load_model(
            name, device=self.device, announce=lambda message: self.emit(Notice(message=message))
        )
        prices = run_prices(self.run, self.recipe, found)
        return replace(found, rules=PlanRules(registry.get(self.recipe.export.engine).ties, prices))

    def say_once(self, message: str) -> None:
        """A notice, unless this run has given it before."""
        if message not in self._said:
            self._said.add(message)
            self.emit(Notice(message=message))

    def note_origin(self, model: SpeechModel) -> None:
        """Record the device and which weights the run began with."""
        if not ranks.is_first():
            return
        facts = {"device": self.device, "weights_sha256": model.info.weights_sha256}
        add_facts(self.run.environment_path, facts)

    def seed_for(self, stage: str) -> None:
        """Seed torch for a stage, the same whether or not earlier stages ran in this process.

        Processes that train together draw different dropout for their different clips.
        """
        torch.manual_seed(self.recipe.runtime.seed + zlib.crc32(stage.encode()) + ranks.rank())

    def progress(self, stage: str, what: str) -> Callable[[int, int], None]:
        """A callback that reports `done` of `total`, once a second at most, and the end."""
        last = 0.0

        def report(done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if done >= total or now - last >= 1.0:
                last = now
                self.emit(Progress(stage=stage, what=what, done=done, total=total))

        return report

    def evaluate(
        self, stage: str, label: str, speech: SpeechModel, items: Sequence[Item], data: str
    ) -> EvalResult:
        """Transcribe and score as the recipe says, reporting progress."""
        return evaluate(
            speech,
            items,
            data=data,
            language=self.recipe.language,
            policy=self.window,
            cache_folder=self.audio_cache,
            batch_size=self.recipe.evaluate.batch_size,
            progress=self.progress(stage, f"clips transcribed ({label})"),
            announce=self.say_once,
        )

    def clips(self, source: str) -> Sequence[Item]:
        """As `load_all`; each source is read once a run."""
        if source not in self._clips:
            self._clips[source] = tuple(load_all(source))
        return self._clips[source]

    def chosen(self, part: str) -> list[Item]:
        """The clips that stage `data` chose for `train`, `dev` or `test`.

        Of a run whose `data.json` chooses no test clips, all clips of its test sets. Raises
        `DataError` when a chosen clip is no longer in the data.
        """
        data = self.recipe.data
        sources = data.test if part == "test" else (*data.train, *data.dev)
        chosen = self._chosen_keys()
        if part == "test" and part not in chosen:
            return [item for source in sources for item in self.clips(source)]
        return self._found(chosen[part], sources)

    def _chosen_keys(self) -> dict[str, list[str]]:
        try:
            record = typed(read_data(self.run.path), dict)
            found: dict[str, list[str]] = fitting(record["chosen"], dict[str, list[str]])
            for part in ("train", "dev"):
                found[part]
            return found
        except (OSError, ValueError, KeyError) as error:
            raise RunError(
                f"{self.run.path / DATA_FILE} is missing or damaged ({error}); delete "
                "stages/data.done of the run and resume it to examine the data again"
            ) from error

    def test_sets(self) -> dict[str, list[Item]]:
        """Test source -> its clips among the chosen ones, in the order of the recipe."""
        keys = {item.key for item in self.chosen("test")}
        return {
            source: [item for item in self.clips(source) if item.key in keys]
            for source in self.recipe.data.test
        }

    def _found(self, keys: Sequence[str], sources: Sequence[str]) -> list[Item]:
        by_key = {item.key: item for source in sources for item in self.clips(source)}
        missing = [key for key in keys if key not in by_key]
        if missing:
            raise DataError(
                f"{len(missing)} clips of this run are no longer in the data, such as "
                f"{missing[0]}; restore them or start a new run"
            )
        return [by_key[key] for key in keys]

    def dev_subset(self) -> list[Item]:
        """The dev clips used during training; none when there is no dev set."""
        dev, limit = self.chosen("dev"), self.recipe.evaluate.dev_limit
        if not limit or limit >= len(dev):
            return dev
        # At equal distances, so that a set in speaker order is sampled throughout.
        return [dev[place * len(dev) // limit] for place in range(limit)]


@contextmanager
def recipe_threads(recipe: Recipe) -> Iterator[None]:
    """Torch uses the recipe's number of threads inside the block, and its own after it."""
    before = torch.get_num_threads()
    if recipe.runtime.threads:
        torch.set_num_threads(recipe.runtime.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def load_all(source: str) -> list[Item]:
    """Clips of a source, with keys that stay distinct when several sources are joined."""
    items = load_items(source)
    return [replace(item, key=f"{source}:{item.key}") for item in items]
