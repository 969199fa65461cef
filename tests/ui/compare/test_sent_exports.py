"""Exports in a folder that somebody sent: opened when every value is plausible, else refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.models.inputs import WHISPERS
from tests.support.runs.fake_runs import finish, make_run, write_events
from tests.ui.compare.test_sent_comparisons import DEEP, HUGE, spoilt
from whisperslim.engines.export.record import PARITY_FILE, ExportRecord, decoder_rules, read_export
from whisperslim.errors import ExportError
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.context.sides import slim_options

RECORD = ExportRecord(
    engine="onnx", quantize="int8", source="m", source_sha256="0" * 64, parameters=10,
    model_type="whisper", input_spec=WHISPERS,
    family={"positions": 448, "suppress": [1], "suppress_at_start": []}, language="hi", files={},
    runtime={"a": "1"}, settings={"bits": 8}, tokenizer="tokenizer.json",
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
        ("model_type", 1),
        ("input_spec", {"bands": "80"}),
        ("input_spec", []),
        ("family", []),
        ("tokenizer", "/etc/passwd"),
        ("runtime", {"onnx": 1}),
        ("settings", []),
        ("settings", DEEP),
    ],
)
def test_a_damaged_export_is_reported(tmp_path: Path, path: str, value: Any) -> None:
    RECORD.write(tmp_path)
    file = tmp_path / "export.json"
    text = spoilt(json.loads(file.read_text("utf-8")), path, value)
    file.write_text(text.replace(f'"{DEEP}"', DEEP), "utf-8")
    with pytest.raises(ExportError, match="missing or damaged") as reported:
        read_export(tmp_path)
    str(reported.value).encode()


@pytest.mark.parametrize("family", [{}, {"positions": 448, "suppress": ["a"]}, {"letters": 3}])
def test_rules_that_are_none_are_reported(tmp_path: Path, family: dict[str, Any]) -> None:
    replace(RECORD, family=family).write(tmp_path)
    with pytest.raises(ExportError, match="no rules for a decoder"):
        decoder_rules(read_export(tmp_path))


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
    assert "result is missing" in found["onnx-int8"]
