"""An app and the Runs tab, as its tests are given them."""

from pathlib import Path

import gradio as gr
import pytest

from tests.support.app.fake_app import Acts, fake_app
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.runs.tab import RunsTab, lay_out_runs


@pytest.fixture
def app(tmp_path: Path) -> AppContext:
    return fake_app(tmp_path / "runs", Acts())


@pytest.fixture
def tab() -> RunsTab:
    with gr.Blocks():
        return lay_out_runs()
