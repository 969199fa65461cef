"""Checkpoints of training: whole or absent, newest ones kept, damage reported, averages by hand."""

import errno
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.tiny_job import same
from whisperslim.errors import CheckpointError, RunError
from whisperslim.train.state import (
    STATE_FILE,
    STUDENT_FILE,
    SUMS_FILE,
    Counters,
    checkpoint_folder,
    list_checkpoints,
    load_best,
    read_checkpoint,
    restore,
    save_best,
    save_checkpoint,
    swapped_in,
    update_average,
)


def load_checkpoint(folder: Path, model: Any, counters: Counters, parts: dict[str, Any]) -> None:
    restore(read_checkpoint(folder, torch.device("cpu")), model, counters, parts)


class Part:
    """Something with a state, of the kinds a method may have."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {
            "step": 3, "share": 0.1, "name": "x", "on": True, "none": None,
            "tensors": {"a": torch.tensor([1.5, -0.0])}, "list": [1, 2],
        }  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


def net(seed: int = 0, width: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))


def save(folder: Path, step: int, keep: int = 2, model: nn.Module | None = None) -> Path:
    return save_checkpoint(folder, model or net(), Counters(step=step), {"part": Part()}, keep)


def names(folder: Path) -> list[str]:
    return [path.name for path in list_checkpoints(folder)]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_everything_comes_back(tmp_path: Path) -> None:
    model, part = net(seed=1), Part()
    average = {"0.weight": torch.rand(4, 3)}
    counters = Counters(step=12, best_loss=0.25, worse_in_a_row=2, average=average)
    torch.manual_seed(77)
    folder = save_checkpoint(tmp_path, model, counters, {"part": part}, keep=2)
    expected = torch.rand(5)

    other, back, found = net(seed=2), Counters(), Part()
    found.state = {}
    load_checkpoint(folder, other, back, {"part": found})
    assert torch.equal(torch.rand(5), expected), "the random generator continues"
    assert same(dict(other.named_parameters()), dict(model.named_parameters()))
    assert same(vars(back), vars(counters))
    assert same(found.state, part.state)


def test_a_loss_that_was_never_measured_comes_back_too(tmp_path: Path) -> None:
    counters = Counters(step=5)
    load_checkpoint(save(tmp_path, 1), net(), counters, {"part": Part()})
    assert counters.best_loss == float("inf") and counters.step == 1


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_are_kept(tmp_path: Path, keep: int) -> None:
    for step in (2, 10, 9, 1_000_000, 100):
        save(tmp_path, step, keep)
    newest = [9, 10, 100, 1_000_000][-keep:]
    assert names(tmp_path) == [f"step-{step:06d}" for step in newest]


def test_checkpoints_are_in_order_of_steps_not_of_letters(tmp_path: Path) -> None:
    for step in (1_000_000, 999_999, 0):
        save(tmp_path, step, keep=5)
    assert names(tmp_path) == ["step-000000", "step-999999", "step-1000000"]


def test_no_folder_is_no_checkpoints(tmp_path: Path) -> None:
    assert list_checkpoints(tmp_path / "nowhere") == []


def test_what_a_killed_process_left_is_not_a_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 100)
    for name in (".step-000200-abc12", ".old-step-000100-xyz", ".step-000200", "best", "step-x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / STUDENT_FILE).write_bytes(b"half")
    assert names(tmp_path) == ["step-000100"]
    assert names(save(tmp_path, 200).parent) == ["step-000100", "step-000200"]
    assert names(save(tmp_path, 300).parent) == ["step-000200", "step-000300"]


def test_writing_a_step_again_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 4, model=net(seed=1))
    save(tmp_path, 4, model=net(seed=2))
    found = net(seed=3)
    load_checkpoint(checkpoint_folder(tmp_path, 4), found, Counters(), {"part": Part()})
    assert same(dict(found.named_parameters()), dict(net(seed=2).named_parameters()))


def test_a_full_disk_leaves_earlier_checkpoints_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    before = contents(tmp_path)

    def full(tensors: object, path: Path, **kwargs: object) -> None:
        Path(path).write_bytes(b"the first half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("whisperslim.train.state.save_file", full)
    with pytest.raises(RunError, match=r"step-000003.*No space left.*Make room and resume"):
        save(tmp_path, 3)
    with pytest.raises(RunError, match=r"best.*No space left"):
        save_best(tmp_path, net())
    assert contents(tmp_path) == before
    assert names(tmp_path) == ["step-000001", "step-000002"]


@pytest.fixture
def small_files() -> Iterator[None]:
    """The kernel refuses files over 3 kB, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_refuses_the_weights(tmp_path: Path, small_files: None) -> None:
    """safetensors and torch.save each have another error for it."""
    with pytest.raises(RunError, match="could not be written"):
        save(tmp_path, 1, model=net(width=500))
    assert not list(tmp_path.iterdir())


def test_a_disk_that_refuses_the_state(tmp_path: Path, small_files: None) -> None:
    part = Part()
    part.state = {"big": torch.zeros(10_000)}
    with pytest.raises(RunError, match="could not be written"):
        save_checkpoint(tmp_path, net(), Counters(step=1), {"part": part}, 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (STATE_FILE, None), (STATE_FILE, b""), (STATE_FILE, b"garbage"),
        (STATE_FILE, b"PK\x03\x04"),
        (STUDENT_FILE, None), (STUDENT_FILE, b""), (STUDENT_FILE, b"garbage!" * 9),
    ],
)  # fmt: skip
def test_damage_is_reported(tmp_path: Path, file: str, content: bytes | None) -> None:
    folder = save(tmp_path, 1)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=file):
        load_checkpoint(folder, net(), Counters(), {"part": Part()})


@pytest.mark.parametrize("file", [STATE_FILE, STUDENT_FILE])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_file_cut_short_is_reported(tmp_path: Path, file: str, share: float) -> None:
    folder = save(tmp_path, 1)
    data = (folder / file).read_bytes()
    (folder / file).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match=file):
        load_checkpoint(folder, net(), Counters(), {"part": Part()})


class Intruder:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (Path.touch, (Path("intruder"),))


def test_a_checkpoint_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = save(tmp_path / "checkpoints", 1)
    torch.save({"counters": Intruder()}, folder / STATE_FILE)
    with pytest.raises(CheckpointError):
        load_checkpoint(folder, net(), Counters(), {"part": Part()})
    assert not (tmp_path / "intruder").exists()


@pytest.mark.parametrize(
    "spoiled",
    [
        {"counters": 3}, {"counters": {}}, {"counters": {"step": "x"}}, {"torch_rng": "x"},
        {"torch_rng": torch.zeros(3)}, {"torch_rng": torch.zeros(1, dtype=torch.uint8)},
        {"counters": {"step": -1, "worse_in_a_row": 0, "best_loss": 1.0}}, {"parts": None},
        {"counters": {"step": 1, "worse_in_a_row": 0, "best_loss": 1.0, "average": {"a": 1}}},
        {"parts": {}}, {"parts": [1]},
    ],
    ids=str,
)  # fmt: skip
def test_a_state_of_other_kinds_is_reported(tmp_path: Path, spoiled: dict[str, Any]) -> None:
    folder = save(tmp_path, 1)
    state = torch.load(folder / STATE_FILE, weights_only=True)
    torch.save({**state, **spoiled}, folder / STATE_FILE)
    (folder / SUMS_FILE).unlink()  # who sends a file sends its sum, too
    with pytest.raises(CheckpointError, match="start a new run"):
        load_checkpoint(folder, net(), Counters(), {"part": Part()})


@pytest.mark.parametrize("model", [net(width=5), nn.Sequential(nn.Linear(3, 4))])
def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, model: nn.Module) -> None:
    folder = save(tmp_path, 1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with pytest.raises(CheckpointError, match=r"another (model|shape)"):
        load_checkpoint(folder, model, Counters(), {"part": Part()})
    assert same({n: p.detach() for n, p in model.named_parameters()}, before)


def test_the_best_weights_come_back(tmp_path: Path) -> None:
    assert not load_best(tmp_path, net())
    save_best(tmp_path, net(seed=1))
    save_best(tmp_path, net(seed=2))
    found = net(seed=3)
    assert load_best(tmp_path, found)
    assert same(dict(found.named_parameters()), dict(net(seed=2).named_parameters()))
    assert list_checkpoints(tmp_path) == []


def test_the_average_by_hand() -> None:
    """Decay at step s is min(d, (1 + s) / (10 + s)); the first average is the weights."""
    layer = nn.Linear(1, 1, bias=False)
    counters = Counters()
    for step, value in ((1, 2.0), (2, 4.0), (3, 8.0)):
        counters.step = step
        layer.weight.data.fill_(value)
        update_average(counters, layer, decay=0.28)
    after_two = 3 / 12 * 2 + 9 / 12 * 4  # (1 + 2) / (10 + 2) is under 0.28
    after_three = 0.28 * after_two + 0.72 * 8  # (1 + 3) / (10 + 3) is over
    assert counters.average["weight"].item() == pytest.approx(after_three, rel=1e-6)


def test_frozen_weights_are_not_averaged() -> None:
    model = net()
    model[0].requires_grad_(False)
    counters = Counters(step=1)
    update_average(counters, model, 0.9)
    assert set(counters.average) == {"1.weight", "1.bias"}


def test_the_average_is_swapped_in_and_out() -> None:
    model = net()
    own = {name: p.detach().clone() for name, p in model.named_parameters()}
    counters = Counters(average={"0.weight": torch.ones(4, 3)})
    with pytest.raises(KeyError), swapped_in(counters, model):
        assert bool((model[0].weight == 1).all())
        assert torch.equal(model[1].weight, own["1.weight"])
        raise KeyError
    assert same({n: p.detach() for n, p in model.named_parameters()}, own)
    assert torch.equal(counters.average["0.weight"], torch.ones(4, 3))
