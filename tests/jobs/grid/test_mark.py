"""What shows the nodes of a cluster that they may work on the runs of a folder."""

import os
from pathlib import Path

import pytest

from whisperslim.core.disk.locks import Lock
from whisperslim.errors import RunError
from whisperslim.jobs.grid.mark import marked, may_begin, unfit
from whisperslim.jobs.run.folder import list_runs
from whisperslim.version import __version__


def test_a_mark_is_there_as_long_as_runs_may_be_begun(tmp_path: Path) -> None:
    with marked(tmp_path / "runs") as mark:
        assert may_begin(mark) and unfit(mark, __version__) == ""
        assert [path.name for path in (tmp_path / "runs").iterdir()] == [mark.name]
        assert list_runs(tmp_path / "runs") == []
        mark.unlink()
        assert not may_begin(mark)
    assert list((tmp_path / "runs").iterdir()) == []


def test_the_mark_of_a_command_that_was_killed_begins_nothing(tmp_path: Path) -> None:
    left = tmp_path / "mark"
    left.touch()
    assert not may_begin(left)
    with Lock(left) as lock:
        assert lock.take() and may_begin(left)


def test_a_node_that_does_not_see_the_folder_says_so(tmp_path: Path) -> None:
    said = unfit(tmp_path / "elsewhere" / "mark", __version__)
    assert f"does not see the runs folder {tmp_path / 'elsewhere'}" in said
    assert "a file system that all nodes share, at the same path" in said


def test_a_node_that_does_not_see_the_locks_says_so(tmp_path: Path) -> None:
    (tmp_path / "mark").touch()  # held on another node, which is not seen here
    assert "do not reach" in unfit(tmp_path / "mark", __version__)


def test_a_node_of_another_version_says_which(tmp_path: Path) -> None:
    with marked(tmp_path) as mark:
        said = unfit(mark, "0.0.1")
    assert f"has WhisperSlim {__version__}, not 0.0.1" in said


def test_a_node_that_may_not_write_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *given: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with marked(tmp_path) as mark:
        monkeypatch.setattr(Path, "touch", refuse)
        assert f"cannot write to {tmp_path} (Permission denied)" in unfit(mark, __version__)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_refuses_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="no permission to write"), marked(tmp_path / "runs"):
        pass
