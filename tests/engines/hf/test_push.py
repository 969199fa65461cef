"""Uploading: to a fake hub, on an explicit yes, and of Hugging Face exports alone."""

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from typer.testing import CliRunner

from tests.engines.hf.fake_hub import FakeHub, fake_hub
from tests.support.models.inputs import WHISPERS
from whisperslim.cli import app
from whisperslim.engines.export.parity import ParityVerdict
from whisperslim.engines.export.record import ExportRecord
from whisperslim.engines.hf import push as hf_push
from whisperslim.engines.hf.push import push
from whisperslim.errors import ExportError, UsageError

RECORD = ExportRecord(
    engine="hf", quantize="none", source="20260203-141500-sgl", source_sha256="0", parameters=1,
    model_type="whisper", input_spec=WHISPERS, family={}, language="hi",
    files={"model.safetensors": 5}, runtime={}, settings={}, tokenizer="tokenizer.json",
)  # fmt: skip
VERDICT = ParityVerdict(
    ok=True, statement="same", quantize="none", parts=1, seconds=1.0, same_text=1,
    token_agreement=1.0, encoder_error=0.0, word_difference=0.0, normalizer="raw", language="hi",
    window="fit",
)  # fmt: skip


def make(folder: Path, record: ExportRecord = RECORD, verdict: ParityVerdict = VERDICT) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"12345")
    (folder / "README.md").write_text("---\nlanguage: hi\n---\n# Slim\n")
    (folder / ".hidden").write_text("not for others")
    record.write(folder)
    verdict.write(folder)
    return folder


def api(url: str) -> HfApi:
    return HfApi(endpoint=url, token="hf_not_a_real_one")


def test_the_folder_arrives_whole_in_one_commit(tmp_path: Path) -> None:
    folder = make(tmp_path / "out")
    with fake_hub() as hub:
        address = push(folder, "me/slim", private=True, api=api(hub.url))
    assert address == f"{hub.url}/me/slim"
    visible = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".hidden"}
    assert hub.files == visible and len(hub.commits) == 1
    assert "20260203-141500-sgl" in hub.commits[0]
    (made,) = hub.made
    assert (made["organization"], made["name"]) == ("me", "slim")
    assert made.get("private") is True or made.get("visibility") == "private"


def test_a_refusal_is_reported(tmp_path: Path) -> None:
    with fake_hub() as hub:
        hub.refuse = 401
        with pytest.raises(ExportError, match=r"could not be uploaded.*hf auth whoami"):
            push(make(tmp_path / "out"), "me/slim", api=api(hub.url))
    assert hub.files == {}


def test_without_a_network(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ExportError, match="Check the network"):
        push(make(tmp_path / "out"), "me/slim", api=api(url))


def test_nobody_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    nobody = HfApi(endpoint="http://127.0.0.1:9", token=True)
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: None)
    with pytest.raises(ExportError, match="hf auth login"):
        push(make(tmp_path / "out"), "me/slim", api=nobody)


@pytest.mark.parametrize("engine", ["ctranslate2", "onnx"])
def test_only_hugging_face_folders(engine: str, tmp_path: Path) -> None:
    other = make(tmp_path / "out", record=replace(RECORD, engine=engine))
    with pytest.raises(ExportError, match=f"export for {engine}"):
        push(other, "me/slim")


def test_only_complete_ones_that_passed_their_check(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="is not an export"):
        push(tmp_path, "me/slim")
    failed = make(tmp_path / "failed", verdict=replace(VERDICT, ok=False))
    with pytest.raises(ExportError, match="failed its check"):
        push(failed, "me/slim")
    cut_short = make(tmp_path / "short")
    (cut_short / "model.safetensors").write_bytes(b"1")
    with pytest.raises(ExportError, match="1 bytes instead of 5"):
        push(cut_short, "me/slim")


@pytest.mark.parametrize("name", ["slim", "me/slim/more", "me/sl im", ""])
def test_names_the_hub_would_not_take(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"OWNER/NAME|not a valid name on the hub"):
        push(make(tmp_path / "out"), name)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub() as hub:
        monkeypatch.setattr(hf_push, "HfApi", lambda: api(hub.url))
        yield hub


def test_the_command_needs_a_yes(tmp_path: Path, hub: FakeHub) -> None:
    folder = make(tmp_path / "out")
    with pytest.raises(UsageError, match=r"the public repository me/slim.*--yes"):
        CliRunner().invoke(app, ["push", str(folder), "me/slim"], catch_exceptions=False)
    assert hub.made == [] and hub.files == {}
    done = CliRunner().invoke(app, ["push", str(folder), "me/slim", "--yes"])
    assert done.exit_code == 0 and done.stdout.strip() == f"{hub.url}/me/slim"
    assert json.loads(hub.files["export.json"])["engine"] == "hf"


def test_a_link_in_a_folder_is_not_given_away(tmp_path: Path) -> None:
    folder = make(tmp_path / "out")
    (tmp_path / "secret").write_text("mine")
    (folder / "vocab.json").symlink_to(tmp_path / "secret")
    with fake_hub() as hub, pytest.raises(ExportError, match=r"vocab\.json is a link"):
        push(folder, "me/slim", api=api(hub.url))
    assert hub.files == {}
