"""Exports in a folder that somebody sent: opened when every value is such, else told."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_runs import finish, make_run, write_events
from tests.ui.compare.test_sent_comparisons import DEEP, HUGE, spoilt
from whisperslim.engines.export.record import PARITY_FILE, ExportRecord, read_export
from whisperslim.errors import ExportError
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.context.sides import slim_options

RECORD = ExportRecord(
    engine="onnx", quantize="int8", source="m", source_sha256="0" * 64, parameters=10, n_mels=80,
    positions=448, language="hi", suppress=(1,), suppress_at_start=(), files={}, runtime={"a": "1"},
    settings={"bits": 8},
)  # fmt: skip


def test_a_whole_export_comes_back(tmp_path: Path) -> None:
    RECORD.write(tmp_path)
    assert read_export(tmp_path) == RECORD


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("files", []),
        ("files", {"/etc/passwd": 1}),
        ("files", {"../export.json": 1}),
        ("files", {"a": HUGE}),
        ("engine", []),
        ("engine", "tflite"),
        ("quantize", {}),
        ("source", "\ud800"),
        ("parameters", HUGE),
        ("suppress", [HUGE]),
        ("suppress", "ab"),
        ("runtime", {"onnx": 1}),
        ("settings", []),
        ("settings", DEEP),
    ],
)
def test_a_damaged_export_is_told(tmp_path: Path, path: str, value: Any) -> None:
    RECORD.write(tmp_path)
    file = tmp_path / "export.json"
    text = spoilt(json.loads(file.read_text("utf-8")), path, value)
    file.write_text(text.replace(f'"{DEEP}"', DEEP), "utf-8")
    with pytest.raises(ExportError, match="missing or damaged") as told:
        read_export(tmp_path)
    str(told.value).encode()


@pytest.mark.parametrize("value", [HUGE, "\ud800", DEEP])
def test_a_damaged_verdict_is_no_verdict(tmp_path: Path, value: Any) -> None:
    run = make_run(tmp_path / "runs")
    write_events(run)
    finish(run)
    export = run.path / "export" / "onnx-int8"
    export.mkdir(parents=True)
    RECORD.write(export)
    verdict = {"seconds": value, "parts": 6, "same_text": value, "word_difference": None}
    text = json.dumps(verdict).replace(f'"{DEEP}"', DEEP)
    (export / PARITY_FILE).write_text(text, "utf-8")
    app = AppContext(RunWatch(run.path.parent))
    found = {option.key: option.parity for option in slim_options(app, run.name)}
    assert "verdict is missing" in found["onnx-int8"]
