"""Where the server listens, what it asks for, and what its models are called."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.browser.conftest import free_port
from tests.support.tiny import tiny_model_folder
from whisperslim.cli import app
from whisperslim.errors import UsageError
from whisperslim.server import serve as serving
from whisperslim.server.app import Bounds, Service
from whisperslim.server.serve import Place, named, place, read_key

KEY = "0123456789ab"


def test_it_is_this_computers_alone_by_default() -> None:
    assert place() == Place("127.0.0.1", 8000)
    assert place().warnings() == () and place().url == "http://127.0.0.1:8000"
    assert place("::1", 9000).url == "http://[::1]:9000"


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.1.5", "::"])
def test_other_computers_need_a_key_or_the_owners_word(address: str) -> None:
    with pytest.raises(UsageError, match="--api-key"):
        place(address)
    assert "anybody" in place(address, unsafe=True).warnings()[0]
    assert "unencrypted" in place(address, key=KEY).warnings()[0]


def test_half_a_certificate_and_a_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="go together"):
        place(certificate=tmp_path / "cert.pem")
    with pytest.raises(UsageError, match="not an address"):
        place("my-computer")


def test_the_key_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\nmore\n", "utf-8")
    file.chmod(0o600)
    assert read_key(file, {}) == KEY
    assert read_key(None, {}) is None
    assert read_key(None, {serving.KEY_VARIABLE: KEY}) == KEY
    file.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        read_key(file, {})
    with pytest.raises(UsageError, match="cannot be read"):
        read_key(tmp_path / "none", {})
    for wrong in ("short", "with a space in it", "कुंजी-कुंजी-कुंजी"):
        with pytest.raises(UsageError, match="API key"):
            read_key(None, {serving.KEY_VARIABLE: wrong})


def test_models_are_called_by_their_folder_or_as_asked(tmp_path: Path) -> None:
    folder = tmp_path / "slim-onnx"
    folder.mkdir()
    assert named([str(folder), "openai/whisper-base", f"whisper-1={folder}"]) == {
        "slim-onnx": str(folder),
        "openai/whisper-base": "openai/whisper-base",
        "whisper-1": str(folder),
    }
    with pytest.raises(UsageError, match="two models are called"):
        named([str(folder), f"{folder}/"])


def test_the_command_serves_what_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Service, Place, Bounds]] = []
    monkeypatch.setattr(
        serving, "run", lambda service, where, **rest: seen.append((service, where, service.bounds))
    )
    monkeypatch.setenv(serving.KEY_VARIABLE, KEY)
    model, port = tiny_model_folder(tmp_path / "tiny"), free_port()
    words = ["serve", f"whisper-1={model}", "--port", str(port), "--queue", "3", "--max-mb", "1.5"]
    words += ["--max-seconds", "60", "--timeout", "30", "--language", "en"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, (done.output, done.exception)
    ((service, where, bounds),) = seen
    assert list(service.lanes) == ["whisper-1"] and where == Place(port=port, key=KEY)
    assert bounds == Bounds("en", 3, 1_500_000, 60.0, 30.0)
    done = CliRunner().invoke(app, ["serve", str(model), "--port", str(port), "--language", "zz"])
    assert isinstance(done.exception, UsageError) and "zz" in str(done.exception)
