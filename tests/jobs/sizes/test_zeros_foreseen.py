"""Zeros that training left in the tuned weights are part of what another size is foreseen to be."""

import json
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
import torch

from tests.jobs.sizes.test_replan import PRUNABLE
from tests.support.runs.fake_runs import make_groups, make_run, write_plan
from tests.support.runs.fake_sizes import FakeResizing
from tests.support.tiny_run import copy_of, tiny_recipe
from whisperslim.core.families.base import Slice, UnitSite
from whisperslim.core.store.checkpoint import read_tensors
from whisperslim.core.surgery.units import zeros_per_unit
from whisperslim.errors import RunError
from whisperslim.jobs.process.worker import run_worker
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes import tuned as tuned_module
from whisperslim.jobs.sizes.derive import derive
from whisperslim.jobs.sizes.replan import Replan, replan
from whisperslim.jobs.stages.order import work
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.tradeoff.size import Size, draw, lay_out_size

MATRICES = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
METHODS = {
    "imp": {"name": "imp"},
    "gates over elements": {"name": "self_pinching", "granularity": "elements"},
}


@pytest.fixture(scope="module", params=METHODS)
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunDir]:
    """A run whose method holds half of the prunable weights at zero in the tuned model."""
    folder = tmp_path_factory.mktemp("zeros")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHISPERSLIM_CACHE", str(folder / "cache"))
        shares = {"removed": 0.0, "zeroed": 0.5}
        recipe = tiny_recipe(folder, target=shares, train={"steps": 6}, data={"test": []})
        recipe["method"] = METHODS[request.param]
        run = RunDir.create(folder / "runs", from_mapping(recipe))
        work(run, lambda event: None)
        yield run


def zeros_in(folder: Path) -> int:
    tensors = read_tensors(folder / "model.safetensors")
    prunable = [
        tensor
        for name, tensor in tensors.items()
        if name.endswith(".weight") and any(part in name for part in MATRICES)
    ]
    return sum(int((tensor == 0).sum()) for tensor in prunable)


def data_bytes(folder: Path) -> int:
    """Of the weights file, without its header and the eight bytes that hold the header's length."""
    content = (folder / "model.safetensors").read_bytes()
    return len(content) - 8 - int.from_bytes(content[:8], "little")


def made(run: RunDir, removed: float, zeroed: float) -> tuple[Replan, RunDir]:
    found, derived = replan(run, removed, zeroed), derive(run, removed, zeroed, 0)
    assert run_worker(derived) == 0
    return found, derived


def test_zeros_are_counted_unit_by_unit() -> None:
    slices = (
        Slice("in.weight", 0, 2, prunable=True),
        Slice("in.bias", 0, 2, prunable=False),
        Slice("out.weight", 1, 2, prunable=True),
    )
    group = UnitSite("a", "heads", "encoder", 2, 2, 10, 12, slices=slices, gate="out")
    tensors = {
        "in.weight": torch.tensor([[0.0, 1, 1], [1, 1, 1], [0, 0, 1], [1, 1, 0]]),
        "in.bias": torch.zeros(4),
        "out.weight": torch.tensor([[0.0, 1, 1, 1], [0, 0, 1, -0.0]]),
    }
    # One and three of the rows; three and one of the columns; biases are not prunable weights.
    assert zeros_per_unit(tensors, [group]) == {"a": (4, 4)}


@pytest.mark.parametrize("removed", [0.0, 0.3])
def test_nothing_more_zeroed_is_what_training_left(run: RunDir, removed: float) -> None:
    found, derived = made(run, removed, 0.0)
    assert found.zeroed == found.zeroed_before == zeros_in(derived.slim_path)
    if not removed:
        assert found.zeroed == zeros_in(run.path / "tuned" / "model") > 0.45 * PRUNABLE
    # Every one of the 32 matrices is sparse enough to be stored so, with its last byte filled up.
    assert 0 <= data_bytes(derived.slim_path) - found.bytes < 32


def test_less_than_training_left_zeroes_nothing_more(run: RunDir) -> None:
    found, derived = made(run, 0.0, 0.2)
    assert found.zeroed == zeros_in(derived.slim_path) == replan(run, 0.0, 0.0).zeroed


def test_more_than_training_left_counts_what_it_left(run: RunDir) -> None:
    found, derived = made(run, 0.0, 0.7)
    assert found.zeroed == round(0.7 * PRUNABLE)
    assert found.zeroed_before == replan(run, 0.0, 0.0).zeroed
    assert zeros_in(derived.slim_path) / PRUNABLE == pytest.approx(0.7, abs=0.002)


def test_facts_of_an_older_version_are_counted_anew(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = copy_of(run, tmp_path)
    record = json.loads((older.path / "tuned.json").read_text("utf-8"))
    del record["zeros_per_unit"]
    (older.path / "tuned.json").write_text(json.dumps(record), "utf-8")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(RunError, match="disk is full"):
        patch.setattr("whisperslim.jobs.run.disk.write_text_atomically", full)
        replan(older, 0.3, 0.0)
    assert replan(older, 0.3, 0.0).zeroed == replan(run, 0.3, 0.0).zeroed > 0
    monkeypatch.setattr(tuned_module, "read_tensors", lambda _: pytest.fail("counted again"))
    replan(older, 0.3, 0.0)


def test_zeros_of_training_are_reported_beside_the_slider(tmp_path: Path) -> None:
    sizes = FakeResizing()
    app = AppContext(RunWatch(tmp_path / "runs"), resizing=sizes)
    fake = make_run(app.runs)
    write_plan(fake, make_groups(), 0.3)
    with gr.Blocks():
        part = lay_out_size()
    for share, reported in ((0.0, False), (0.0004, False), (0.45, True)):
        sizes.zeroed_before = share
        page = draw(part, app, Size(fake.name, 0.5, 0.1))[part.tiles]
        assert ("Training has zeroed 45.0 % of the prunable weights that stay" in page) == reported
        assert ("Training has" in page) == reported
