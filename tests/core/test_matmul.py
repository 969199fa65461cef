"""The choice of a library for float32 products, by fake kernels and a fake clock; no real time."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.tiny import tiny_model_folder
from tests.support.tiny_run import tiny_recipe
from whisperslim.core import matmul
from whisperslim.core.matmul import ONEDNN, STOCK, Kernel, MatmulChoice
from whisperslim.engines.opening import open_transcriber
from whisperslim.events import Event, Notice
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run import environment
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.run.matmul import set_up_matmul
from whisperslim.jobs.stages import order as stages
from whisperslim.speech.audio.window import WindowPolicy

TAKEN = MatmulChoice(ONEDNN, 2.0, 4e-7, 3e-7, "taken")


class Clock:
    """Seconds that pass only when a fake kernel says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def kernels(
    clock: Clock, stock: float, onednn: float, inexact: Callable[[torch.Tensor], torch.Tensor]
) -> dict[str, Kernel]:
    """Two kernels that take so many seconds; oneDNN's product goes through `inexact`."""

    def product(seconds: float, change: Callable[[torch.Tensor], torch.Tensor]) -> Kernel:
        def multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            clock.now += seconds
            return change(matmul.stock_product(left, right))

        return multiply

    return {STOCK: product(stock, lambda found: found), ONEDNN: product(onednn, inexact)}


def last_bits(found: torch.Tensor) -> torch.Tensor:
    return found * (1 + 2**-23)


def bfloat16(found: torch.Tensor) -> torch.Tensor:
    return found.bfloat16().float()


def tensor_float(found: torch.Tensor) -> torch.Tensor:
    """Rounded to ten bits of fraction."""
    mantissa, exponent = torch.frexp(found)
    return torch.ldexp((mantissa * 2**11).round() / 2**11, exponent)


def no_number(found: torch.Tensor) -> torch.Tensor:
    """Wrong in the last product only."""
    return found if found.numel() != 4096 else torch.full_like(found, torch.nan)


def test_the_faster_library_is_taken_when_it_is_float32() -> None:
    clock = Clock()
    found = matmul.choose(kernels(clock, 0.03, 0.015, last_bits), clock)
    assert found.library == ONEDNN and found.ratio == pytest.approx(2.0)
    assert found.error is not None and found.stock_error is not None
    assert found.error <= 4 * found.stock_error < 1e-5
    assert "2.00 times as fast" in found.why and "as exact" in found.why


@pytest.mark.parametrize(("onednn", "times"), [(0.06, "0.50"), (0.03, "1.00"), (0.028, "1.07")])
def test_a_gain_below_a_tenth_is_left(onednn: float, times: str) -> None:
    clock = Clock()
    found = matmul.choose(kernels(clock, 0.03, onednn, last_bits), clock)
    assert found.library == STOCK and f"{times} times as fast" in found.why


@pytest.mark.parametrize("inexact", [bfloat16, tensor_float, no_number])
def test_lower_precision_is_never_taken_however_fast(
    inexact: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    clock = Clock()
    fake = kernels(clock, 1.0, 0.001, inexact)
    found = matmul.choose(fake, clock)
    assert (found.library, found.ratio) == (STOCK, None)
    assert "does not compute float32 products in float32" in found.why
    assert matmul.refusal(fake) in found.why


def test_a_setting_that_changes_no_bit_is_not_timed() -> None:
    clock = Clock()
    found = matmul.choose(kernels(clock, 1.0, 0.001, lambda product: product), clock)
    assert (found.library, found.ratio) == (STOCK, None) and "does not change a bit" in found.why


def test_the_real_kernels_are_never_taken_for_float32_when_they_are_not() -> None:
    torch.manual_seed(1)
    left, right = torch.randn(300, 700), torch.randn(700, 200)
    exact = left.double() @ right.double()
    error = (matmul.onednn_product(left, right).double() - exact).abs().max() / exact.abs().max()
    assert bool(matmul.refusal()) == (float(error) > 1e-5)
    assert torch.equal(matmul.stock_product(left, right), left @ right)


def test_measuring_leaves_the_setting_and_the_generator_as_they_were() -> None:
    with matmul.setting(ONEDNN):
        torch.manual_seed(3)
        wanted = torch.rand(2)
        torch.manual_seed(3)
        matmul.choose()
        assert matmul.current() == ONEDNN
        assert torch.equal(torch.rand(2), wanted)
    assert matmul.current() == STOCK


def test_the_setting_is_restored_after_an_error() -> None:
    with pytest.raises(ValueError, match="x"), matmul.setting(ONEDNN):
        raise ValueError("x")
    assert matmul.current() == STOCK


def test_the_record_round_trips_through_json() -> None:
    assert MatmulChoice.from_record(json.loads(json.dumps(TAKEN.to_record()))) == TAKEN


def test_a_process_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def choose() -> MatmulChoice:
        asked.append(1)
        return TAKEN

    monkeypatch.setattr(matmul, "choose", choose)
    with matmul.pinned(STOCK):
        monkeypatch.setattr(matmul._PROCESS, "choice", None)
        assert matmul.decided() is TAKEN and matmul.decided() is TAKEN
        assert matmul.current() == ONEDNN and len(asked) == 1
    assert matmul.current() == STOCK


def test_opening_a_model_in_torch_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path / "model")
    monkeypatch.setattr(matmul, "choose", lambda: TAKEN)
    with matmul.pinned(STOCK):
        monkeypatch.setattr(matmul._PROCESS, "choice", None)
        open_transcriber(str(folder), WindowPolicy())
        assert matmul.current() == ONEDNN


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(tmp_path / "runs", from_mapping(tiny_recipe(tmp_path)))


def set_up(run: RunDir, inexact: Callable[[torch.Tensor], torch.Tensor] = last_bits) -> list[str]:
    """One start of the run: what it says."""
    said: list[Event] = []
    set_up_matmul(run, said.append, kernels(Clock(), 1.0, 1.0, inexact))
    return [event.message for event in said if isinstance(event, Notice)]


def libraries(run: RunDir) -> list[str]:
    return [each["library"] for each in environment.read(run.environment_path)["matmul"]]


def test_a_resumed_run_keeps_what_it_began_with(run: RunDir) -> None:
    with matmul.pinned(STOCK):
        matmul.take(TAKEN)
        assert set_up(run) == ["taken"]
    with matmul.pinned(STOCK):  # another process, which timed otherwise
        assert set_up(run) == []
        assert matmul.current() == ONEDNN and matmul.decided() == TAKEN
    assert libraries(run) == [ONEDNN]


def test_a_run_begun_with_stock_keeps_it_where_onednn_is_faster(run: RunDir) -> None:
    with matmul.pinned(STOCK):
        set_up(run)
    with matmul.pinned(ONEDNN):
        assert set_up(run) == [] and matmul.current() == STOCK


def test_another_processor_is_announced_and_the_way_back_too(run: RunDir) -> None:
    with matmul.pinned(ONEDNN):
        set_up(run)
        (said,) = set_up(run, bfloat16)
        assert "began with products by oneDNN" in said and matmul.current() == STOCK
        assert set_up(run, bfloat16) == []
        assert len(set_up(run)) == 1 and matmul.current() == ONEDNN
    assert libraries(run) == [ONEDNN, STOCK, ONEDNN]


def test_a_run_of_an_older_version_goes_on_with_stock(run: RunDir) -> None:
    run.mark_done("data")
    with matmul.pinned(ONEDNN):
        set_up(run)
        assert matmul.current() == STOCK
    assert libraries(run) == [STOCK]


def test_a_run_writes_its_choice_down(run: RunDir) -> None:
    said: list[Event] = []
    with matmul.pinned(STOCK):
        matmul.take(TAKEN)
        run.request_stop()
        stages.work(run, said.append)
        assert matmul.current() == ONEDNN
    notices = [each.message for each in said if isinstance(each, Notice)]
    assert [message for message in notices if "training in" not in message] == ["taken"]
    assert libraries(run) == [ONEDNN]
