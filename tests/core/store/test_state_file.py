"""States that claim more than is there are refused before they take memory."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from whisperslim.core.store import state_file
from whisperslim.core.store.state_file import read_state
from whisperslim.errors import CheckpointError, MemoryShortageError

WEIGHTS = 1000  # bytes


def write(path: Path, value: Any) -> Path:
    torch.save(value, path)
    return path


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    whole = torch.arange(12.0)
    state = {"a": [whole, {"b": (whole[2:5], 3)}], "none": None, "half": torch.ones(2).half()}
    found = read_state(write(tmp_path / "state.pt", state), WEIGHTS, "cpu")
    assert torch.equal(found["a"][0], whole) and torch.equal(found["a"][1]["b"][0], whole[2:5])
    assert found["half"].dtype == torch.float16 and found["none"] is None


def test_packed_zeros_are_not_unpacked(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.pt", {"a": torch.zeros(25_000_000)})
    packed = tmp_path / "state.pt"
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert packed.stat().st_size < 200_000
    with pytest.raises(CheckpointError, match="packed"):
        read_state(packed, WEIGHTS, "cpu")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(1 << 40),
        torch.zeros(1, 3).expand(1 << 20, 3),
        torch.empty(1 << 40, device="meta"),
        torch.eye(3).to_sparse(),
    ],
    ids=["one element", "one row", "none", "sparse"],
)
def test_a_tensor_larger_than_what_is_stored_is_refused(
    tmp_path: Path, tensor: torch.Tensor
) -> None:
    path = write(tmp_path / "state.pt", {"a": [{"b": tensor}]})
    with pytest.raises(CheckpointError, match="is damaged"):
        read_state(path, WEIGHTS, "cpu")


def test_what_is_held_many_times_is_looked_at_once(tmp_path: Path) -> None:
    value: Any = [torch.zeros(1).expand(1 << 40)]
    for _ in range(60):
        value = [value] * 10  # 10**60 ways to the tensor
    path = write(tmp_path / "state.pt", {"a": value})
    assert path.stat().st_size < 10_000
    with pytest.raises(CheckpointError, match="not stored one by one"):
        read_state(path, WEIGHTS, "cpu")


def test_lists_without_number_are_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "state.pt", {"a": [[] for _ in range(6_000_000)]})
    monkeypatch.setattr(state_file.torch, "load", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(CheckpointError, match="beside its tensors"):
        read_state(path, WEIGHTS, "cpu")


def test_a_file_out_of_proportion_to_the_weights_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.pt"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    monkeypatch.setattr(state_file.torch, "load", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(CheckpointError, match="are expected"):
        read_state(path, WEIGHTS, "cpu")


@pytest.mark.parametrize("value", [[1], 3, None, "x", torch.ones(1)])
def test_what_is_no_mapping_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(CheckpointError, match="no mapping"):
        read_state(write(tmp_path / "state.pt", value), WEIGHTS, "cpu")


def test_no_memory_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    path = write(tmp_path / "state.pt", {})
    monkeypatch.setattr(state_file.torch, "load", load)
    with pytest.raises(MemoryShortageError):
        read_state(path, WEIGHTS, "cpu")
