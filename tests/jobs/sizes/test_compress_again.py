"""Compressing a slim model again; and what a killed or strict-minded process leaves on disk."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.sizes.test_replan import HEAD, PRUNABLE
from tests.support.tiny_run import finished_run, tiny_recipe
from whisperslim.core.cost.cost import cost_of
from whisperslim.core.cost.flops import WORKLOADS
from whisperslim.core.disk.files import remove_leftovers
from whisperslim.core.families import prunable_total
from whisperslim.core.loading import load_model
from whisperslim.core.store.checkpoint import count_parameters, read_record
from whisperslim.events import Finished
from whisperslim.jobs.process.worker import run_worker
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.report.sparsity import sparsity_frames
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.derive import derive
from whisperslim.jobs.sizes.planned import read_planned
from whisperslim.jobs.sizes.replan import replan
from whisperslim.jobs.stages.order import work
from whisperslim.ui.sparsity import tab as tab_sparsity
from whisperslim.ui.sparsity.story import kept_shares, replay_html


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("again")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHISPERSLIM_CACHE", str(place / "cache"))
        yield place


@pytest.fixture(scope="module")
def first(folder: Path) -> RunDir:
    return finished_run(folder)


def test_a_slim_model_is_compressed_again(folder: Path, first: RunDir) -> None:
    again = RunDir.create(
        folder / "again", from_mapping(tiny_recipe(folder, model=str(first.slim_path)))
    )
    stop_once = iter([False, True, *[False] * 1000])

    def stop(event: object) -> None:
        if getattr(event, "kind", "") == "step" and next(stop_once):
            again.request_stop()

    work(again, stop)
    again.clear_stop()
    seen: list[object] = []
    work(again, seen.append)
    assert isinstance(seen[-1], Finished)

    dense = load_model(str(folder / "model"))
    start, slim = load_model(str(first.slim_path)), load_model(str(again.path))
    left = prunable_total(slim.groups())
    # 40 % of what the first run left, with less than one head of overshoot.
    taken = prunable_total(start.groups()) - left
    assert 0 <= taken - 0.4 * prunable_total(start.groups()) < HEAD

    record = read_record(again.slim_path)
    assert record.base == str(folder / "model")
    assert record.dense_counts == {group.key: group.count for group in dense.groups()}
    assert record.counts == {group.key: group.count for group in slim.groups()}
    assert record.dense_parameters == count_parameters(dense.model)
    assert record.removed == pytest.approx(1 - left / PRUNABLE)

    report = cost_of(again.slim_path, workloads=WORKLOADS[:1])
    assert report.dense_parameters == count_parameters(dense.model)
    assert report.removed_weights == PRUNABLE - left


def test_a_model_cut_again_can_take_any_size(folder: Path, first: RunDir) -> None:
    again = finished_run(folder, model=str(first.slim_path), name="more")
    found = replan(again, 0.2, 0.0)
    dense = load_model(str(folder / "model"))
    assert found.dense_parameters == count_parameters(dense.model)
    derived = derive(again, 0.2, 0.0, 0)
    assert run_worker(derived) == 0
    report = cost_of(derived.slim_path, workloads=WORKLOADS[:1])
    assert report.parameters == found.parameters
    assert report.workloads[0].flops == found.flops
    assert report.workloads[0].flops_dense == found.dense_flops


def test_a_model_cut_again_is_not_called_dense(folder: Path, first: RunDir) -> None:
    again = finished_run(folder, model=str(first.slim_path), name="named")
    planned = read_planned(again)
    before = prunable_total(load_model(str(first.slim_path)).groups())
    left = prunable_total(load_model(str(again.path)).groups())
    assert left < before < PRUNABLE
    another = replan(again, 0.5, 0.0).plan
    shown = tab_sparsity.drawings(planned, {}, another)
    summary, page = shown.summary, shown.table
    assert f"before this run <b>{before / 1e3:.1f} k prunable weights</b>" in summary
    assert f"slim <b>{left / 1e3:.1f} k, {100 * (1 - left / before):.1f} % removed</b>" in summary
    replay = replay_html(sparsity_frames(again, kept_shares(planned)))
    figures = (*shown.weights, *shown.heads)
    names = [trace.name for figure in figures for trace in figure.data]
    assert "before this run" in names and "of what was there before this run" in page
    for words in (summary, shown.legend, page, replay):
        assert "before this run" in words and "dense" not in words
    assert "dense" not in names


def test_a_model_without_some_sublayers_is_compressed_again(folder: Path, first: RunDir) -> None:
    from dataclasses import replace

    import torch

    from whisperslim.core.store.score_map import ScoreMap

    stored = ScoreMap.load(first.scores_path)
    scores = {
        key: torch.zeros_like(value) if key == "decoder.1.ffn" else value.abs() + 1.0
        for key, value in stored.scores.items()
    }
    replace(stored, scores=scores, whole=True).save(first.scores_path)
    shorter = derive(first, 0.1, 0.0, 0)
    stored.save(first.scores_path)
    assert run_worker(shorter) == 0
    assert read_record(shorter.slim_path).counts["decoder.1.ffn"] == 0
    again = finished_run(folder, model=str(shorter.slim_path), name="shorter")
    record = read_record(again.slim_path)
    assert record.counts["decoder.1.ffn"] == 0 and record.dense_counts["decoder.1.ffn"] == 48
    slim = load_model(str(again.path))
    assert record.removed == pytest.approx(1 - prunable_total(slim.groups()) / PRUNABLE)


def test_weights_are_as_readable_as_other_new_files(folder: Path, first: RunDir) -> None:
    before = os.umask(0o027)
    try:
        derived = derive(first, 0.2, 0.0, 0)
        assert run_worker(derived) == 0
    finally:
        os.umask(before)
    for path in (derived.slim_path / "model.safetensors", derived.slim_path / "slim.json"):
        assert path.stat().st_mode & 0o777 == 0o640, path


def test_what_a_killed_worker_left_goes_when_its_run_goes_on(first: RunDir) -> None:
    derived = derive(first, 0.3, 0.0, 0)
    for name in (".cut-a1b2c3d4", "checkpoints/recover/.step-000002-abcd_123"):
        (derived.path / name).mkdir(parents=True)
        (derived.path / name / "half").write_text("half")
    assert run_worker(derived) == 0
    assert [path for path in derived.path.rglob(".*") if path.is_dir()] == []
    assert derived.slim_path.is_dir()


def test_a_folder_that_had_stepped_aside_comes_back(tmp_path: Path) -> None:
    (tmp_path / ".old-best-abcdefgh" / "old").mkdir(parents=True)
    (tmp_path / ".old-best-abcdefgh" / "old" / "file").write_text("kept")
    (tmp_path / ".other").mkdir()
    assert [path.name for path in remove_leftovers(tmp_path)] == [".old-best-abcdefgh"]
    assert (tmp_path / "best" / "file").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other", "best"]
