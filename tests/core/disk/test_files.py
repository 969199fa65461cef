"""Folders that appear whole: what is on the disk when they do."""

import errno
import os
from pathlib import Path

import pytest

from whisperslim.core.disk import files
from whisperslim.core.disk.files import remove_leftovers, renamed_into_place


def test_all_is_on_the_disk_before_a_folder_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[str, bool]] = []
    target = tmp_path / "slim"

    def fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        flushed.append((name, target.exists()))

    monkeypatch.setattr(files.os, "fsync", fsync)
    with renamed_into_place(target) as folder:
        (folder / "model").mkdir()
        (folder / "model" / "weights").write_bytes(b"1")
        (folder / "config").write_bytes(b"2")
    before = {name for name, there in flushed if not there}
    assert {"model", "weights", "config"} < before and len(before) == 4
    assert flushed[-1] == (tmp_path.name, True), "and the new name, too"


@pytest.mark.parametrize(("number", "reported"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_disk_that_fails_is_reported_and_one_that_cannot_flush_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reported: bool
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fsync)
    if reported:
        with pytest.raises(OSError, match=r"[Ee]rror"), renamed_into_place(tmp_path / "slim"):
            pass
    else:
        with renamed_into_place(tmp_path / "slim"):
            pass
    assert (tmp_path / "slim").exists() is not reported


def test_what_a_killed_process_left_half_written_goes_and_nothing_else(tmp_path: Path) -> None:
    half, whole = tmp_path / "eval" / ".slim.json-a1b2c3d4", tmp_path / "eval" / ".kept-file"
    half.parent.mkdir()
    half.write_text("half")
    whole.write_text("whole")
    link = tmp_path / ".link-a1b2c3d4"
    link.symlink_to(whole)
    assert remove_leftovers(tmp_path) == [half]
    assert not half.exists() and whole.read_text() == "whole" and link.is_symlink()
