"""Models that come with the project are left out, where a test does not ask for them."""

import pytest

from whisperslim import boxed


@pytest.fixture(autouse=True)
def nothing_boxed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxed, "BOXED", ())
