"""Seconds per step, by a clock made of numbers; a GPU is waited for before the clock is read."""

from types import SimpleNamespace

import pytest
import torch

from whisperslim.train import loop as pace
from whisperslim.train.loop import Pace


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in order; the clock moves on by 1, 2, 4, 8 and so on seconds."""
    seen: list[str] = []

    def clock() -> float:
        seen.append("clock")
        return float(2 ** seen.count("clock"))

    monkeypatch.setattr(pace, "time", SimpleNamespace(perf_counter=clock))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: seen.append(str(device)))
    return seen


def test_steps_in_a_row_are_one_stretch_and_pauses_do_not_count(happened: list[str]) -> None:
    own = Pace(torch.device("cpu"))
    for _ in range(3):
        own.step()  # begins at 2
    own.pause()  # at 4
    own.step()  # at 8
    assert own.mean() == ((4 - 2) + (16 - 8)) / 4
    assert own.mean() == 0.0
    own.step()  # at 32
    own.pause()  # at 64
    own.pause()
    assert own.mean() == 32.0
    assert happened == ["clock"] * 6


def test_a_gpu_is_waited_for_where_a_stretch_begins_and_ends(happened: list[str]) -> None:
    own = Pace(torch.device("cuda", 0))
    own.step()
    own.step()
    own.mean()
    assert happened == ["cuda:0", "clock"] * 2
