"""The register of engines: what it refuses, and that documentation and exporters agree with it."""

import dataclasses
import importlib
from pathlib import Path

import pytest

from tests.support.tiny import tiny_model_folder
from whisperslim.core.families import family_of
from whisperslim.core.loading import load_model
from whisperslim.engines import registry
from whisperslim.engines.export.export import export
from whisperslim.engines.registry import EngineSpec
from whisperslim.errors import ExportError, UsageError
from whisperslim.speech.audio.window import WindowPolicy

DOCS = Path(__file__).parents[2] / "docs"


def row(spec: EngineSpec) -> str:
    """A line of the table in docs/engines.md."""
    numbers = ", ".join("float32" if each == registry.FULL else each for each in spec.precisions)
    return f"| `{spec.name}` | {spec.words} | {spec.shapes} | {numbers} |"


def test_the_table_of_engines_is_what_the_register_says() -> None:
    lines = (DOCS / "engines.md").read_text("utf-8").splitlines()
    assert [line for line in lines if line.startswith("| `")] == [*map(row, registry.specs())]


def test_the_commands_name_the_engines_there_are() -> None:
    engines, numbers = r"\|".join(registry.exported()), r"\|".join(registry.precisions())
    usage = f"`export MODEL OUT --engine {engines} [--quantize {numbers}]`"
    assert usage in (DOCS / "commands.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("module", "table"),
    [("onnx.export", "PRECISIONS"), ("ctranslate2.engine", "COMPUTE_TYPES"),
     ("hf.export", "DTYPES")],
)  # fmt: skip
def test_an_exporter_has_the_precisions_that_its_engine_says(module: str, table: str) -> None:
    name = f"whisperslim.engines.{module}"
    pytest.importorskip(module.partition(".")[0].replace("hf", "transformers"))
    stated = registry.get(module.partition(".")[0]).precisions
    assert tuple(getattr(importlib.import_module(name), table)) == stated


def test_a_name_is_taken_once() -> None:
    with pytest.raises(UsageError, match="'onnx' is registered already"):
        registry.register(dataclasses.replace(registry.get("onnx"), title="another"))
    assert registry.get("onnx").title == "ONNX Runtime"


def test_an_engine_of_an_older_record_keeps_its_name() -> None:
    assert registry.title("onnx") == "ONNX Runtime" and registry.title("abacus") == "abacus"


def test_a_family_that_an_engine_cannot_be_given_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    speech = load_model(str(tiny_model_folder(tmp_path / "model")))
    monkeypatch.setattr(type(family_of(speech.model)), "engines", ("hf",))
    with pytest.raises(ExportError, match=r"of type whisper, which can be written for: hf"):
        export(speech, "onnx", "none", tmp_path / "out", [], "hi", WindowPolicy())
    assert not (tmp_path / "out").exists()
