"""Which exports count as written here."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.models.inputs import WHISPERS
from whisperslim.engines.export.record import EXPORT_FILE, PARITY_FILE, ExportRecord, read_export
from whisperslim.engines.export.seal import KEY_FILE, is_own, sealed


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHISPERSLIM_STATE", str(tmp_path / "state"))
    return tmp_path / "state" / KEY_FILE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export, sealed and written: a verdict comes after the seal."""
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "encoder.onnx").write_bytes(b"graph")
    (folder / "tokenizer.json").write_text("{}")
    settings = {"by": {2: [1.5], 10: None}}
    record = ExportRecord("onnx", "none", "tiny", "", 7, "whisper", WHISPERS,
                          {"suppress": [1, 2]}, "hi", {"encoder.onnx": 5}, {"onnx": "1"}, settings,
                          "tokenizer.json")  # fmt: skip
    sealed(record, folder).write(folder)
    (folder / PARITY_FILE).write_text("{}")
    return folder


def own(folder: Path) -> bool:
    return is_own(folder, read_export(folder))


def test_what_was_written_here_is_own_wherever_it_lies(folder: Path, key: Path) -> None:
    assert own(folder)
    assert read_export(folder).sha256 == {
        "encoder.onnx": hashlib.sha256(b"graph").hexdigest(),
        "tokenizer.json": hashlib.sha256(b"{}").hexdigest(),
    }
    assert len(key.read_bytes()) == 32 and key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o077 == 0
    assert own(folder.rename(folder.with_name("elsewhere")))


def test_one_key_serves_all_exports(folder: Path, key: Path) -> None:
    before = key.read_bytes()
    assert sealed(read_export(folder), folder) == read_export(folder)
    assert key.read_bytes() == before


@pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.json"])
def test_a_changed_file_makes_it_foreign(folder: Path, name: str) -> None:
    size = (folder / name).stat().st_size
    (folder / name).write_bytes(b"x" * size)
    assert not own(folder)


def test_a_file_more_or_less_makes_it_foreign(folder: Path) -> None:
    (folder / "more").mkdir()
    assert own(folder)
    (folder / "more" / "config.json").write_text("{}")
    assert not own(folder)
    (folder / "more" / "config.json").unlink()
    (folder / "tokenizer.json").unlink()
    assert not own(folder)


@pytest.mark.parametrize(
    "change",
    [{"settings": {"by": 1}}, {"family": {"suppress": [3]}}, {"engine": "ctranslate2"},
     {"seal": "é"}, {"seal": ""}, {"sha256": {}}],
)  # fmt: skip
def test_another_record_makes_it_foreign(folder: Path, change: dict) -> None:
    assert not is_own(folder, replace(read_export(folder), **change))


def test_an_older_record_has_no_seal(folder: Path) -> None:
    plain = replace(read_export(folder), sha256={}, seal="")
    plain.write(folder)
    text = (folder / EXPORT_FILE).read_text("utf-8").replace(',\n "sha256": {},\n "seal": ""', "")
    assert "seal" not in text
    (folder / EXPORT_FILE).write_text(text, "utf-8")
    assert read_export(folder) == plain and not own(folder)


def test_only_a_key_of_this_user_alone_counts(folder: Path, key: Path) -> None:
    key.chmod(0o644)
    assert not own(folder)
    key.chmod(0o600)
    assert own(folder)
    key.write_bytes(os.urandom(32))  # another installation's
    assert not own(folder)
    key.unlink()
    assert not own(folder)


def test_a_link_to_a_folder_makes_it_foreign(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    assert not own(folder)


def test_where_no_key_can_be_kept_there_is_no_seal(folder: Path, key: Path) -> None:
    key.unlink()
    key.parent.rmdir()
    key.parent.write_text("a file stands where the folder belongs")
    assert sealed(read_export(folder), folder).seal == ""
    assert not own(folder)
