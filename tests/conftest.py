"""Settings every test shares."""

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.support.tiny_job import Workshop

# Tiny models gain nothing from a second thread and lose much to waiting for it; two test processes
# share the machine instead. Set before torch is imported, and inherited by child processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples at every run: a failure is of the change that is tested, and can be repeated.
# HYPOTHESIS_EXPLORE=1 draws others.
settings.register_profile("repeatable", derandomize=True)
if not os.environ.get("HYPOTHESIS_EXPLORE"):
    settings.load_profile("repeatable")


# A file goes to one process as a whole: the longest come first, or one of them would run alone at
# the end while the other process has nothing left to do. `make test` keeps this order.
LONGEST = (
    "tests/browser/test_first_minute_real.py",
    "tests/methods/test_contract.py",
    "tests/browser/test_journey.py",
    "tests/train/test_bf16.py",
    "tests/jobs/process/test_killed.py",
    "tests/jobs/grid/test_ray.py",
    "tests/browser/test_first_minute.py",
    "tests/browser/test_survival.py",
    "tests/methods/l0/test_l0_distill.py",
    "tests/engines/ctranslate2/test_engine.py",
    "tests/commands/test_readme_commands.py",
    "tests/core/families/test_whisper_ctc.py",
    "tests/ui/guard/test_hostile_http.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The files of `LONGEST` in front, all others in their own order."""
    rank = {config.rootpath / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(LONGEST)))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> "Workshop":
    """A tiny model and a tiny corpus, shared by the tests of a file."""
    from tests.support.tiny_job import make_workshop  # torch, which comes after the settings above

    return make_workshop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(autouse=True)
def patient_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of runs wait for what a busy machine reads slowly; tests assert no time."""
    module = sys.modules.get("whisperslim.ui.context.run_watch")
    if module is not None:  # whoever tests no list need not import it
        monkeypatch.setattr(module, "LISTING_SECONDS", 60.0)


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The key that exports are sealed with is made for the tests, and not the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHISPERSLIM_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def unflushed() -> Iterator[None]:
    """Nothing waits for the disk: 64 times in a tiny run, and only a power cut would show it.

    What flushing is worth is tried with an `os.fsync` of the test's own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def stock_products() -> Iterator[None]:
    """Float32 products are computed by one library in all tests, whatever would be faster here."""
    from whisperslim.core import matmul

    with matmul.pinned(matmul.STOCK):
        yield
