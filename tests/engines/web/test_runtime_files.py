"""ONNX Runtime Web is the pinned package or nothing."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from whisperslim.engines.web import runtime_files as module
from whisperslim.engines.web.runtime_files import FILES, runtime_files
from whisperslim.errors import ExportError

Serve = Callable[[bytes], None]


def package(names: tuple[str, ...]) -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    return into.getvalue()


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Put a package at the address, and its hash in the place of the pinned one."""

    def at_the_address(content: bytes) -> None:
        file = tmp_path / "package.tgz"
        file.write_bytes(content)
        monkeypatch.setattr(module, "ADDRESS", file.as_uri())
        monkeypatch.setattr(module, "SHA512", hashlib.sha512(content).hexdigest())

    monkeypatch.delenv("WHISPERSLIM_OFFLINE", raising=False)
    return at_the_address


def test_two_files_of_the_package_are_kept(serve: Serve, tmp_path: Path) -> None:
    serve(package((*FILES, "another.js")))
    folder = runtime_files(tmp_path / "cache")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {n: n for n in FILES}
    (tmp_path / "package.tgz").unlink()
    assert runtime_files(tmp_path / "cache") == folder  # not asked for again


def test_another_package_is_refused_and_nothing_is_kept(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(package(FILES))
    monkeypatch.setattr(module, "SHA512", "0" * 128)
    with pytest.raises(ExportError, match="its hash differs"):
        runtime_files(tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.wasm"))


def test_an_overlong_answer_is_not_read_to_its_end(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(package(FILES))
    monkeypatch.setattr(module, "_MOST_BYTES", 10)
    with pytest.raises(ExportError, match="larger"):
        runtime_files(tmp_path / "cache")


def test_without_the_package_it_says_where_to_put_it(serve: Serve, tmp_path: Path) -> None:
    serve(package(FILES))
    (tmp_path / "package.tgz").unlink()
    with pytest.raises(ExportError, match=r"cannot be fetched.*copy .* from its folder dist to"):
        runtime_files(tmp_path / "cache")


def test_offline_asks_nobody(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(package(FILES))
    monkeypatch.setenv("WHISPERSLIM_OFFLINE", "1")
    with pytest.raises(ExportError, match=r"offline mode is on.*copy"):
        runtime_files(tmp_path / "cache")
