"""The trade-off curve: what its points say, and that nothing is done twice."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest

from tests.jobs.sizes.test_replan import HEAD, PRUNABLE
from tests.support.models.inputs import WHISPERS
from tests.support.tiny_run import copy_of, finished_run, shared_run
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.store.checkpoint import count_parameters
from whisperslim.engines.base import Features, Transcript
from whisperslim.engines.timing.latency import measure_latency
from whisperslim.errors import PlanError, RunError, UsageError
from whisperslim.events import Event, Progress, StageStarted
from whisperslim.exported.bounds import DecodingOptions
from whisperslim.jobs.process.worker import run_worker
from whisperslim.jobs.run.folder import RunDir, list_runs
from whisperslim.jobs.scoring.stored import stored_results
from whisperslim.jobs.sizes import measure as measure_module
from whisperslim.jobs.sizes import sweep as sweep_module
from whisperslim.jobs.sizes.curve import read_sweep
from whisperslim.jobs.sizes.derive import derive, read_derivation
from whisperslim.jobs.sizes.replan import replan
from whisperslim.jobs.sizes.sweep import sweep
from whisperslim.jobs.stages.context import StageContext, load_all
from whisperslim.speech.scoring.normalizer import for_language


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDir]:
    """A run whose curve has been measured once."""
    folder = tmp_path_factory.mktemp("sweep")
    with shared_run(folder) as run:
        sweep(run, [0.5, 0.2], 0)
        yield run


@pytest.fixture
def copied(swept: RunDir, tmp_path: Path) -> RunDir:
    """The run and those derived from it, in a folder of their own."""
    shutil.copytree(swept.path.parent, tmp_path / "runs")
    return RunDir(tmp_path / "runs" / swept.name)


@pytest.fixture
def untouched(swept: RunDir, tmp_path: Path) -> RunDir:
    """The run alone, without curve."""
    run = copy_of(swept, tmp_path)
    (run.path / "sweep.json").unlink()
    return run


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setattr(sweep_module, name, lambda *_, name=name: pytest.fail(f"{name} again"))


def word_counts(tsv: Path) -> list[tuple[int, int]]:
    """(errors, words) of each clip, by jiwer itself."""
    normalize, found = for_language("hi"), []
    for line in tsv.read_text("utf-8").splitlines()[1:]:
        _, reference, hypothesis = line.split("\t")
        result = jiwer.process_words(normalize(reference), normalize(hypothesis))
        wrong = result.substitutions + result.deletions + result.insertions
        found.append((wrong, result.substitutions + result.deletions + result.hits))
    return found


def test_a_curve_begins_with_the_uncut_model(swept: RunDir) -> None:
    found = read_sweep(swept)
    assert found is not None and found.run == swept.name and found.method == "sgl"
    assert [point.target for point in found.points] == [0.0, 0.2, 0.5]
    dense = found.points[0]
    # The method's own penalty has made some zeros before; the uncut model gets no more.
    assert dense.removed == 0.0 and dense.zeroed < 0.01
    assert dense.parameters == count_parameters(
        load_model(str(swept.path.parent.parent / "model")).model
    )
    for point in found.points[1:]:
        assert 0 <= point.removed - point.target < HEAD / PRUNABLE
        assert point.zeroed == pytest.approx(0.2, abs=0.002)


def test_a_point_says_what_its_slim_folder_holds(swept: RunDir) -> None:
    found = read_sweep(swept)
    assert found is not None
    for point in found.points:
        slim = RunDir(swept.path.parent / point.run).slim_path
        planned = replan(swept, point.target, 0.0)
        assert point.parameters == planned.parameters and point.flops == planned.flops
        assert point.bytes == (slim / "model.safetensors").stat().st_size
        assert point.latency_seconds == sorted(point.machine["passes"])[1]
        assert point.machine["threads"] >= 1 and point.machine["cpu"]


def test_rates_and_intervals_are_those_of_the_test_clips(swept: RunDir) -> None:
    found = read_sweep(swept)
    assert found is not None and found.data == swept.recipe().data.test[0]
    for point in found.points:
        run = RunDir(swept.path.parent / point.run)
        counts = np.array(word_counts(run.eval_path("slim").with_suffix(".tsv")))
        assert point.n == len(counts) == 3
        assert point.wer == pytest.approx(counts[:, 0].sum() / counts[:, 1].sum())
        stored = json.loads(run.eval_path("slim").read_text("utf-8"))["sets"][found.data]
        assert point.cer == pytest.approx(stored["scores"][found.normalizer]["cer"])
        # Every one of the 27 ways to redraw three clips, which the bootstrap samples from.
        ways = np.array(np.meshgrid(*[range(3)] * 3)).reshape(3, -1).T
        rates = counts[ways, 0].sum(axis=1) / counts[ways, 1].sum(axis=1)
        assert rates.min() <= point.wer_low <= point.wer <= point.wer_high <= rates.max()
        wanted = np.quantile(np.repeat(rates, 10_000), (0.025, 0.975))
        assert (point.wer_low, point.wer_high) == pytest.approx(wanted, abs=1e-9)


def test_the_dense_model_is_scored_once_for_all_sizes(
    swept: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived = derive(swept, 0.45, 0.0, 0)
    real, loaded = StageContext.load, []

    def load(self: StageContext, name: str) -> SpeechModel:
        loaded.append(name)
        return real(self, name)

    monkeypatch.setattr(StageContext, "load", load)
    assert run_worker(derived) == 0
    assert swept.recipe().model not in loaded and str(derived.slim_path) in loaded
    assert derived.eval_path("dense").read_bytes() == swept.eval_path("dense").read_bytes()
    source = swept.recipe().data.test[0]
    label = json.loads((derived.path / "eval" / "difference.json").read_text("utf-8"))[source]
    dense = np.array(word_counts(swept.eval_path("dense").with_suffix(".tsv")))
    assert label["hindi-1"]["wer_a"] == pytest.approx(dense[:, 0].sum() / dense[:, 1].sum())


@pytest.mark.parametrize(
    "change", ["weights_sha256", "device", "window", "decoding", "clip", "tsv"]
)
def test_other_scores_of_the_dense_model_are_not_reused(
    copied: RunDir, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = StageContext(copied, copied.recipe(), lambda event: None)
    source = copied.recipe().data.test[0]
    items, path = load_all(source), copied.eval_path("dense")
    record = json.loads(path.read_text("utf-8"))
    sha256, decoding = record["weights_sha256"], DecodingOptions(own_script=True).describe()
    assert stored_results(context, "dense", sha256, decoding, {source: items})
    if change in record:
        record[change] = "another"
    elif change in ("window", "decoding"):
        record["sets"][source][change] = "another"
    elif change == "clip":
        items = items[:-1]
    else:
        path.with_suffix(".tsv").unlink()
    path.write_text(json.dumps(record), "utf-8")
    assert stored_results(context, "dense", sha256, decoding, {source: items}) is None


def test_what_qualifies_the_figures_is_stored(swept: RunDir) -> None:
    record = json.loads((swept.path / "sweep.json").read_text("utf-8"))
    assert record["window"].startswith("fit") and record["normalizer"] == "hindi-1"
    assert record["recover_steps"] == 0
    facts = record["provenance"]
    assert facts["flops"] and facts["decoding"] and facts["interval"] and facts["language"] == "hi"
    assert facts["latency"]["clips"] and facts["latency"]["passes"] == 3
    assert all(key in facts for key in ("weights_sha256", "seed", "zeroed_target"))


def test_a_measured_point_is_not_measured_again(
    copied: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_sweep(copied)
    forbid(monkeypatch, "derive", "run_worker", "measure", "take_time")
    assert sweep(copied, [0.2, 0.5], 0) == before
    assert sweep(copied, [0.2], 0) == before  # what was measured stays on the curve


def test_a_new_target_joins_the_curve(copied: RunDir) -> None:
    before = read_sweep(copied)
    after = sweep(copied, [0.35], 0)
    assert before is not None and [p.target for p in after.points] == [0.0, 0.2, 0.35, 0.5]
    assert [p for p in after.points if p.target != 0.35] == list(before.points)
    assert read_sweep(copied) == after


def test_finished_runs_are_measured_without_working_on_them(
    copied: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_sweep(copied)
    (copied.path / "sweep.json").unlink()
    forbid(monkeypatch, "derive", "run_worker")
    after = sweep(copied, [0.2, 0.5], 0)
    assert before is not None
    assert [p.wer for p in after.points] == [p.wer for p in before.points]


def test_times_of_another_machine_are_taken_anew(copied: RunDir) -> None:
    path = copied.path / "sweep.json"
    record = json.loads(path.read_text("utf-8"))
    record["points"][1]["machine"]["cpu"] = "another"
    record["points"][1]["latency_seconds"] = 1e9
    record["points"][2]["latency_seconds"] = 1e9
    path.write_text(json.dumps(record), "utf-8")
    points = sweep(copied, [0.2], 0).points
    assert points[1].latency_seconds < 1e9 and points[1].machine["cpu"] != "another"
    assert points[2].latency_seconds == 1e9


def test_other_recovery_makes_another_curve(copied: RunDir) -> None:
    seen: list[Event] = []
    after = sweep(copied, [0.2], 1, seen.append)
    assert after.recover_steps == 1 and [p.target for p in after.points] == [0.0, 0.2]
    assert any("another way" in getattr(event, "message", "") for event in seen)
    derived = [read_derivation(run) for run in list_runs(copied.path.parent)]
    assert sum(each is not None and each.recover_steps == 1 for each in derived) == 2


def test_a_sweep_stops_on_request_and_goes_on(untouched: RunDir) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, StageStarted) and event.stage == "recover":
            untouched.request_stop()

    assert sweep(untouched, [0.3], 0, stop).points == ()
    (derived,) = [run for run in list_runs(untouched.path.parent) if read_derivation(run)]
    assert derived.stage_done("shrink") and not derived.stage_done("evaluate")
    assert untouched.worker_pid() is None
    after = sweep(untouched, [0.3], 0)
    assert [point.target for point in after.points] == [0.0, 0.3]
    assert after.points[0].run == derived.name


def test_a_killed_sweep_goes_on(untouched: RunDir) -> None:
    def die(event: Event) -> None:
        if isinstance(event, Progress) and event.stage == "sweep" and event.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(untouched, [0.3], 0, die)
    half = read_sweep(untouched)
    assert half is not None and [point.target for point in half.points] == [0.0]
    after = sweep(untouched, [0.3], 0)
    assert after.points[0] == half.points[0] and len(after.points) == 2


def test_unreachable_targets_are_refused_before_anything_is_made(untouched: RunDir) -> None:
    for targets in ([0.2, 0.9], [-0.2], [float("nan")]):
        with pytest.raises(PlanError, match="allows 0 to"):
            sweep(untouched, targets, 0)
    with pytest.raises(UsageError, match="no target"):
        sweep(untouched, [], 0)
    assert len(list_runs(untouched.path.parent)) == 1


def test_one_sweep_of_a_run_at_a_time(untouched: RunDir) -> None:
    with untouched.lock(), pytest.raises(RunError, match="busy"):
        sweep(untouched, [0.2], 0)


def test_a_failed_size_names_its_run(untouched: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "run_worker", lambda *_: 1)
    with pytest.raises(RunError, match="pct failed"):
        sweep(untouched, [0.2], 0)


def test_a_damaged_curve_is_reported(copied: RunDir) -> None:
    (copied.path / "sweep.json").write_text('{"points": [{"target": 1}]}')
    with pytest.raises(RunError, match="sweep again"):
        read_sweep(copied)


def test_without_test_set_the_dev_set_is_scored_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    run = finished_run(tmp_path, data={"test": []})
    found = sweep(run, [0.3])
    dev = len(json.loads((run.path / "data.json").read_text("utf-8"))["chosen"]["dev"])
    assert found.data.startswith("dev set") and all(point.n == dev for point in found.points)
    counts = word_counts(run.path.parent / found.points[1].run / "eval" / "slim-dev.tsv")
    assert found.points[1].wer == pytest.approx(
        sum(wrong for wrong, _ in counts) / sum(words for _, words in counts)
    )


class SlowEngine:
    """An engine whose recordings take the seconds it is given."""

    name, input_spec, window_name = "slow", WHISPERS, "fit"

    def __init__(self, seconds: Sequence[float]) -> None:
        self._seconds = iter(seconds)

    def transcribe_many(self, recordings: Sequence[np.ndarray], language: str) -> Iterator[Any]:
        for audio in recordings:
            length = len(audio) / 16_000
            yield Transcript("", length, next(self._seconds), 0.0, 0, "fit", ())

    def features_for(self, audio: np.ndarray) -> Features:
        raise NotImplementedError


def test_latency_is_the_median_of_the_passes_after_a_warm_up() -> None:
    recordings = [np.zeros(16_000, np.float32), np.zeros(32_000, np.float32)]
    engine: Any = SlowEngine([9, 9, 1, 3, 2, 6, 1, 2])
    found = measure_latency(engine, recordings, "hi", 3)
    # Means of the passes: 2, 4, 1.5; the first two nines are the warm-up.
    assert found.passes == (2.0, 4.0, 1.5) and found.seconds == 2.0
    assert (found.recordings, found.audio_seconds, found.window) == (2, 3.0, "fit")
    with pytest.raises(UsageError, match="one of each"):
        measure_latency(engine, [], "hi")
    with pytest.raises(UsageError, match="one of each"):
        measure_latency(engine, recordings, "hi", 0)


def test_a_time_belongs_to_its_machine() -> None:
    here = measure_module.machine("cpu")
    assert measure_module.same_machine(here, {**here, "time": "later"})
    assert not measure_module.same_machine(here, {**here, "threads": here["threads"] + 1})
    assert not measure_module.same_machine({}, here)
