"""Settings every test shares."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Tiny models gain nothing from a second thread and lose much to waiting for it; two test processes
# share the machine instead. Set before torch is imported, and inherited by child processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples at every run: a failure is of the change that is tested, and can be repeated.
# HYPOTHESIS_EXPLORE=1 draws others.
settings.register_profile("repeatable", derandomize=True)
if not os.environ.get("HYPOTHESIS_EXPLORE"):
    settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The key that exports are sealed with is made for the tests, and not the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHISPERSLIM_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def stock_products() -> Iterator[None]:
    """Float32 products are computed by one library in all tests, whatever would be faster here."""
    from whisperslim.core import matmul

    with matmul.pinned(matmul.STOCK):
        yield
