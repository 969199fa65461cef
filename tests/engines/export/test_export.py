"""Exports: what is written, what is refused, and that nothing is overwritten."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.engines.export import fake_exporter
from tests.support.tiny import END, START, VOCABULARY, tiny_model_folder
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.engines import registry
from whisperslim.engines.export import export as exporting
from whisperslim.engines.export import parity, parity_child
from whisperslim.engines.export.export import export
from whisperslim.engines.export.parity import read_verdict
from whisperslim.engines.export.record import EXPORT_FILE, PARITY_FILE, decoder_rules, read_export
from whisperslim.engines.opening import open_transcriber
from whisperslim.errors import DataError, ExportError, UsageError
from whisperslim.exported.bounds import DecoderRules
from whisperslim.inputs import InputSpec
from whisperslim.speech.audio.window import WindowPolicy

WINDOW = WindowPolicy()


def tone(seconds: float = 1.0, pitch: float = 300.0) -> np.ndarray:
    time = np.arange(int(seconds * 16_000)) / 16_000
    return (0.3 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)


def disguise(monkeypatch: pytest.MonkeyPatch, engine: str, exporter: str) -> None:
    """Let another module write and open an engine's exports."""
    spec = dataclasses.replace(registry.get(engine), exporter=exporter, opener="")
    monkeypatch.setitem(registry._ENGINES, engine, spec)


@pytest.fixture(autouse=True)
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine "onnx" is the fake one, and the child's work is done in this process."""
    disguise(monkeypatch, "onnx", "tests.engines.export.fake_exporter")
    monkeypatch.setattr(parity, "run_child", lambda exchange, timeout: parity_child.main(exchange))


@pytest.fixture
def speech(tmp_path: Path) -> SpeechModel:
    return load_model(str(tiny_model_folder(tmp_path / "model")))


def write(
    speech: SpeechModel, out: Path, quantize: str = "none", replace: bool = False
) -> exporting.ExportRecord:
    clips = [tone(1.0), tone(0.7, 500.0)]
    return export(speech, "onnx", quantize, out, clips, "hi", WINDOW, replace)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def behave(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv(fake_exporter.VARIABLE, how)


def test_an_export_says_what_it_is_and_hears_the_same(speech: SpeechModel, tmp_path: Path) -> None:
    out = tmp_path / "exports" / "one"
    record = write(speech, out)
    assert read_export(out) == record
    assert record.files == {"model.bin": fake_exporter.SIZE}
    assert record.weights_bytes == fake_exporter.SIZE
    assert record.source == "model"  # and not the path
    assert record.source_sha256 == speech.info.weights_sha256
    assert record.input_spec == InputSpec("log_mel", 80, 3000)
    # Never written is every control token but the end.
    assert decoder_rules(record) == DecoderRules(128, tuple(range(END + 1, VOCABULARY)), (END,))
    opened, own = (open_transcriber(str(p), WINDOW) for p in (out, speech.path))
    assert opened.transcribe(tone()).text == own.transcribe(tone()).text != ""


def test_the_verdict_stands_beside_the_export(speech: SpeechModel, tmp_path: Path) -> None:
    write(speech, tmp_path / "out")
    verdict = read_verdict(tmp_path / "out")
    assert verdict.ok and verdict.parts == verdict.same_text == 2
    assert verdict.encoder_error == 0.0 and verdict.token_agreement == 1.0
    assert verdict.seconds == pytest.approx(1.7) and verdict.quantize == "none"
    assert verdict.language == "hi" and verdict.window == WINDOW.describe()


def test_an_engine_that_tells_only_text_is_judged_by_it(
    speech: SpeechModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(monkeypatch, "mute")
    write(speech, tmp_path / "out")
    verdict = read_verdict(tmp_path / "out")
    assert verdict.ok and verdict.same_text == 2
    assert verdict.encoder_error is None and verdict.token_agreement is None


def test_another_model_is_refused_and_leaves_nothing(
    speech: SpeechModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(monkeypatch, "wrong")
    with pytest.raises(ExportError, match="not the same model"):
        write(speech, tmp_path / "exports" / "out")
    assert list((tmp_path / "exports").iterdir()) == []


def test_a_quantized_one_is_measured_and_kept(
    speech: SpeechModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(monkeypatch, "wrong")
    write(speech, tmp_path / "out", quantize="int8")
    verdict = read_verdict(tmp_path / "out")
    assert verdict.ok and verdict.encoder_error is not None
    assert verdict.encoder_error > parity.ENCODER_TOLERANCE
    assert verdict.statement.startswith("int8: ")


def test_not_a_number_is_refused_however_quantized(
    speech: SpeechModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(monkeypatch, "nan")
    with pytest.raises(ExportError, match="not the same model"):
        write(speech, tmp_path / "out", quantize="int8")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_reported_and_leaves_nothing(
    speech: SpeechModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(monkeypatch, "full")
    with pytest.raises(ExportError, match=r"could not be written.*No space left"):
        write(speech, tmp_path / "exports" / "out")
    assert list((tmp_path / "exports").iterdir()) == []


def test_an_export_is_replaced_only_on_request_and_only_by_a_good_one(
    speech: SpeechModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write(speech, out)
    before = contents(out)
    with pytest.raises(ExportError, match="--force"):
        write(speech, out)
    behave(monkeypatch, "wrong")
    with pytest.raises(ExportError, match="not the same model"):
        write(speech, out, replace=True)
    assert contents(out) == before
    behave(monkeypatch, "right")
    write(speech, out, quantize="int8", replace=True)
    assert read_export(out).quantize == "int8"


def test_what_is_no_export_is_never_replaced(speech: SpeechModel, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="not an export, so it is not replaced"):
        write(speech, mine, replace=True)
    with pytest.raises(ExportError, match="not an export"):
        write(speech, mine / "thesis.txt", replace=True)
    assert contents(mine) == {"thesis.txt": b"years of work"}


def test_an_empty_folder_may_be_filled(speech: SpeechModel, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(speech, tmp_path / "out")
    assert read_export(tmp_path / "out").engine == "onnx"


def test_unknown_engines_and_quantizations(speech: SpeechModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose one of: ctranslate2, onnx, hf"):
        export(speech, "tflite", "none", tmp_path / "o", [tone()], "hi", WINDOW)
    with pytest.raises(UsageError, match="choose one of: none, float16, int8, int4"):
        write(speech, tmp_path / "o", quantize="int3")
    with pytest.raises(ExportError, match="use int8"):  # the exporter's own check
        write(speech, tmp_path / "o", quantize="int4")


def test_a_missing_package_is_named_with_its_cure(
    speech: SpeechModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disguise(monkeypatch, "ctranslate2", "tests.engines.export.needs_what_is_not_there")
    with pytest.raises(ExportError, match="pip install ctranslate2"):
        export(speech, "ctranslate2", "none", tmp_path / "o", [tone()], "hi", WINDOW)
    assert "tests.engines.export.needs_what_is_not_there" not in sys.modules


def test_silence_checks_nothing(speech: SpeechModel, tmp_path: Path) -> None:
    silent = [np.zeros(16_000, np.float32)]
    with pytest.raises(DataError, match="--data"):
        export(speech, "onnx", "none", tmp_path / "o", silent, "hi", WINDOW)
    assert not (tmp_path / "o").exists()


def test_a_tokenizer_that_starts_elsewhere_is_noticed(tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["decoder_start_token_id"] = START + 1
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ExportError, match=f"{START} for the start"):
        write(load_model(str(folder)), tmp_path / "out")


@pytest.fixture
def exported(speech: SpeechModel, tmp_path: Path) -> Path:
    write(speech, tmp_path / "out")
    return tmp_path / "out"


def refused(folder: Path) -> str:
    with pytest.raises(ExportError) as caught:
        open_transcriber(str(folder), WINDOW)
    return str(caught.value)


def test_an_export_without_its_record_is_half_written(exported: Path) -> None:
    (exported / EXPORT_FILE).unlink()
    assert "incomplete" in refused(exported)


def test_an_export_whose_file_was_cut_short(exported: Path) -> None:
    (exported / "model.bin").write_bytes(bytes(100))
    assert f"100 bytes instead of {fake_exporter.SIZE}" in refused(exported)


def test_an_export_of_another_version(exported: Path) -> None:
    raw = json.loads((exported / EXPORT_FILE).read_text("utf-8"))
    (exported / EXPORT_FILE).write_text(json.dumps({**raw, "format": 99}), "utf-8")
    assert "format 99" in refused(exported)


def test_an_export_with_another_tokenizer(exported: Path) -> None:
    tokenizer = exported / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text("utf-8") + "\n", "utf-8")
    assert "not the tokenizer this export was written with" in refused(exported)
    tokenizer.unlink()
    assert "tokenizer.json is missing" in refused(exported)


def test_an_export_without_its_runtime(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disguise(monkeypatch, "onnx", "tests.engines.export.needs_what_is_not_there")
    assert "pip install onnx" in refused(exported)


def test_a_verdict_that_cannot_be_read(exported: Path) -> None:
    (exported / PARITY_FILE).write_text("{}", "utf-8")
    with pytest.raises(ExportError, match="missing or damaged"):
        read_verdict(exported)
