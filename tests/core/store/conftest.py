"""A slim folder that tests may take apart."""

from pathlib import Path

import pytest

from tests.support.tiny_job import Workshop, slimmed
from whisperslim.core.store.checkpoint import save_slim


@pytest.fixture
def folder(shop: Workshop, tmp_path: Path) -> Path:
    speech, record = slimmed(shop)
    save_slim(tmp_path / "slim", speech.model, record, side_files=shop.model)
    return tmp_path / "slim"
