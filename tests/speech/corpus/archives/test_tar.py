"""What is in a tar is found by its headers, and nothing that could harm is read."""

import tarfile
from pathlib import Path

import pytest

from tests.speech.corpus.archives.making import tar
from whisperslim.errors import DataError
from whisperslim.speech.corpus.archives import tar as reader
from whisperslim.speech.corpus.archives.tar import members

FILES = {
    "a.wav": b"first",
    f"{'x' * 150}/b.wav": b"second" * 200,
    "c.txt": "तीन".encode(),
    "d": b"",
}


def test_every_file_is_where_it_is_said_to_be(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", FILES)
    content, found = path.read_bytes(), list(members(path, (".txt",)))
    spans = {m.name: content[m.span.start : m.span.start + m.span.size] for m in found}
    assert spans == FILES and list(spans) == list(FILES)
    assert {m.name: m.content for m in found if m.content is not None} == {"c.txt": FILES["c.txt"]}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as made:
        info = tarfile.TarInfo("a.wav")
        info.type, info.linkname = kind, "/etc/passwd"
        made.addfile(info)
    with pytest.raises(DataError, match=r"'a\.wav': is a link, a device"):
        list(members(tmp_path / "x.tar"))


def test_folders_are_passed_over(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as made:
        info = tarfile.TarInfo("folder")
        info.type = tarfile.DIRTYPE
        made.addfile(info)
    assert list(members(tmp_path / "x.tar")) == []


@pytest.mark.parametrize("left", [0, 100, 512 + 3, 1024, 2 * 1024])
def test_a_tar_that_is_cut_off_is_said_to_be(tmp_path: Path, left: int) -> None:
    """A header takes 512 bytes, and what follows it is filled up to a multiple of them."""
    path = tar(tmp_path / "x.tar", {"a.wav": b"1", "b.wav": b"2", "c.wav": b"3"})
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DataError, match=r"x\.tar"):
        list(members(path))


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    path = tar(tmp_path / "x.tar", {"a.wav": b"1", "b.wav": b"2"})
    damaged = bytearray(path.read_bytes())
    damaged[1024 + 3] ^= 1  # in the name of the second, which its checksum covers
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="damaged after 1 files"):
        list(members(path))


def test_a_compressed_tar_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w:gz") as made:
        made.addfile(tarfile.TarInfo("a.wav"))
    with pytest.raises(DataError, match="compressed one must be unpacked"):
        list(members(tmp_path / "x.tar"))


def test_sizes_are_bounded_before_anything_is_read(tmp_path: Path) -> None:
    for name, size in (("long.wav", 1 << 40), ("long.txt", 1 << 30)):
        info = tarfile.TarInfo(name)
        info.size = size
        (tmp_path / "x.tar").write_bytes(info.tobuf() + bytes(1024))
        with pytest.raises(DataError, match=rf"'{name}': has {size:,} bytes"):
            list(members(tmp_path / "x.tar", (".txt",)))
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 1 << 35
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(DataError, match="has a header of"):
        list(members(tmp_path / "x.tar"))


def test_files_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tar(tmp_path / "x.tar", {"a": b"", "b": b"", "c": b""})
    monkeypatch.setattr(reader, "MOST_MEMBERS", 2)
    with pytest.raises(DataError, match="over 2 files"):
        list(members(path))


def test_a_missing_tar(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        list(members(tmp_path / "x.tar"))
    with pytest.raises(DataError, match="folder"):
        list(members(tmp_path))
