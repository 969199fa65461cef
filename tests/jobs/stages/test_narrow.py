"""Heads are narrowed before tuning: counted in the record, repeated to the bit, kept by sizes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.models.tiny_ctc import KINDS, samples_folder
from tests.support.tiny import D_MODEL, HEADS
from tests.support.tiny_run import done_again_from_narrow, tiny_recipe
from whisperslim.core.loading import load_model
from whisperslim.core.store.checkpoint import read_record, read_tensors
from whisperslim.core.surgery import head_width
from whisperslim.core.surgery.shrink import head_widths
from whisperslim.errors import PlanError
from whisperslim.events import Event, Notice
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.derive import derive
from whisperslim.jobs.stages.order import work

# Prunable weights of the tiny model, and those that one dimension of one attention's heads has.
PRUNABLE = 6 * 4 * D_MODEL * D_MODEL + 4 * 2 * D_MODEL * 48
ONE = 4 * HEADS * D_MODEL


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunDir, list[Event]]]:
    folder = tmp_path_factory.mktemp("narrow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHISPERSLIM_CACHE", str(folder / "cache"))
        patch.setattr(head_width, "STEP", 2)
        recipe = tiny_recipe(folder, target={"head_width": 5}, recover={"steps": 1})
        run, seen = RunDir.create(folder / "runs", from_mapping(recipe)), list[Event]()
        work(run, seen.append)
        yield run, seen


def removed(folder: Path) -> int:
    model = load_model(str(folder))
    return PRUNABLE - sum(group.count * group.weights_per_unit for group in model.groups())


def test_heads_are_as_wide_as_asked_and_what_goes_is_counted(
    run: tuple[RunDir, list[Event]],
) -> None:
    narrowed, slim = run[0].path / "narrowed", run[0].slim_path
    widths = read_record(narrowed).head_widths
    assert len(widths) == 6 and set(widths.values()) <= {2, 4, 6, 8}
    assert sum(widths.values()) == 6 * 5
    gone = (6 * 8 - 6 * 5) * ONE
    assert removed(narrowed) == gone
    assert read_record(narrowed).removed == pytest.approx(gone / PRUNABLE)
    said = next(e.message for e in run[1] if isinstance(e, Notice) and "heads keep" in e.message)
    assert f"{gone / PRUNABLE:.1%} of the prunable weights are cut out" in said
    # 40 % of the rest, up to one unit.
    assert removed(slim) == pytest.approx(gone + 0.4 * (PRUNABLE - gone), abs=4 * 8 * D_MODEL)
    assert read_record(slim).removed == pytest.approx(removed(slim) / PRUNABLE)
    assert read_record(slim).head_widths == widths
    assert json.loads((run[0].path / "parity.json").read_text())["same_tokens"]


def test_a_run_that_begins_there_again_is_the_same_to_the_bit(
    run: tuple[RunDir, list[Event]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_width, "STEP", 2)
    again = done_again_from_narrow(run[0], tmp_path)
    before, after = (read_tensors(r.slim_path / "model.safetensors") for r in (run[0], again))
    assert all(torch.equal(before[key], tensor) for key, tensor in after.items())


def test_another_size_keeps_the_widths(run: tuple[RunDir, list[Event]]) -> None:
    derived = derive(run[0], removed=0.6)
    work(derived, lambda event: None)
    slim = load_model(str(derived.slim_path))
    widths = read_record(run[0].slim_path).head_widths
    found = head_widths(slim.model)
    assert found and all(widths[key] == width for key, width in found.items())


def test_heads_of_another_family_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    recipe = tiny_recipe(tmp_path, target={"head_width": 8})
    samples_folder(tmp_path / "other", KINDS["conformer relative"], tmp_path / "corpus")
    recipe["model"] = str(tmp_path / "other")
    run = RunDir.create(tmp_path / "runs", from_mapping(recipe))
    with pytest.raises(PlanError, match="keep their width"):
        work(run, lambda event: None)
