"""A server, and a folder of its own for what is fetched."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.speech.corpus.remote.server import Server, serving


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    for name in ("HF_HUB_OFFLINE", "WHISPERSLIM_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("MDC_API_URL", f"{server.url}/mdc")
        yield server
