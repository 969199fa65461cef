"""Locks on files: one holder, seen by others, let go of by the system."""

import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import lock_descriptor, unlock_descriptor

from tests.support.holding import held
from whisperslim.core.disk import locks
from whisperslim.core.disk.locks import (
    Lock,
    holder,
    holders_machine,
    is_locked_for_child,
    lock_for_child,
)

HOLDER = """
from pathlib import Path
from whisperslim.core.disk.locks import Lock
with Lock(Path(sys.argv[1])) as lock:
    assert lock.take()
    lock.sign()
    hold()
"""
# Loaded twice, as packages of others bring code of their own for Windows, which is not tried here.
WITHOUT = """
import importlib, os, signal, sys
NAMES = ["core.fetch.sources", "jobs.process.background", "jobs.process.queue",
         "jobs.process.worker", "ui.guard.uploads"]
def load():
    for name in NAMES:
        importlib.import_module(f"whisperslim.{name}")
load()
for name in [name for name in sys.modules if name.startswith("whisperslim")]:
    del sys.modules[name]
sys.modules.update(dict.fromkeys(
    ["fcntl", "grp", "posix", "pwd", "resource", "syslog", "termios", "tty", "pty"]))
for name in ("fork", "getuid", "geteuid", "getsid", "killpg", "pread", "pwrite", "O_NOFOLLOW",
             "O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY", "register_at_fork"):
    delattr(os, name)
for name in ("SIGHUP", "SIGKILL"):
    delattr(signal, name)
load()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.lock"


@pytest.fixture
def other(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it is killed."""
    with held(HOLDER, path) as child:
        yield child


@pytest.fixture
def looked_at(path: Path) -> Iterator[threading.Timer]:
    """What a look at the lock does, made long; it ends soon after the timer is started."""
    with path.open("a+b") as file:
        assert lock_descriptor(file.fileno(), blocking=False)
        end = threading.Timer(0.1, unlock_descriptor, [file.fileno()])
        yield end
        end.join()


def test_a_lock_has_one_holder_and_goes_when_that_is_killed(
    path: Path, other: subprocess.Popen[str]
) -> None:
    assert holder(path) == other.pid
    with Lock(path) as lock:
        assert not lock.take(0)
        other.kill()
        other.wait()
        assert lock.take(0)
        lock.sign()
        assert holder(path) == os.getpid()
    assert holder(path) is None


def test_two_of_one_process_exclude_each_other(path: Path) -> None:
    with Lock(path) as first, Lock(path) as second:
        assert first.take(0) and not second.take(0)
        first.close()
        assert second.take(0)


def test_who_wants_it_waits_for_the_end_of_a_look(path: Path, looked_at: threading.Timer) -> None:
    with Lock(path) as lock:
        assert not lock.take(0)
        looked_at.start()
        assert lock.take(60)


def test_a_forked_child_leaves_it_to_its_parent(path: Path) -> None:
    with Lock(path) as lock:
        assert lock.take()
        lock.sign()
        child = os.fork()
        if not child:
            lock.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert holder(path) == os.getpid()
        with Lock(path) as second:
            assert not second.take(0)


def test_a_command_begun_meanwhile_has_no_part_in_it(path: Path) -> None:
    with Lock(path) as lock:
        assert lock.take()
        child = subprocess.Popen(["sleep", "600"])
    try:
        with Lock(path) as second:
            assert second.take(0)
    finally:
        child.kill()
        child.wait()


# --- looking ----------------------------------------------------------------------------------


def test_a_look_changes_nothing(path: Path, other: subprocess.Popen[str]) -> None:
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert holder(path) == other.pid
    other.kill()
    other.wait()
    assert holder(path) is None and (path.read_bytes(), path.stat().st_mtime_ns) == before
    missing = path.with_name("missing")
    assert holder(missing) is None and not missing.exists()


def test_the_number_is_read_where_nobody_can_read_the_first_byte(
    path: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_READ_FROM", 1)
    with path.open("r+b") as file:
        file.write(b"x")
    assert holder(path) == other.pid


def test_the_number_of_a_worker_of_an_earlier_version_is_read(path: Path) -> None:
    with Lock(path) as lock:
        assert lock.take()
        path.write_text(str(os.getpid()))
        assert holder(path) == os.getpid()


def test_a_number_that_another_process_has_now_makes_it_no_holder(
    path: Path, looked_at: threading.Timer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two look at once at the lock of one that was killed."""
    monkeypatch.setattr(locks, "_LOOKING_SECONDS", 60.0)
    path.write_text(str(os.getpid()))
    os.utime(path, (0, 0))  # it was written long before this process began
    looked_at.start()
    assert holder(path) is None


def test_the_holders_computer_is_known_as_long_as_it_holds_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lock(path) as lock:
        assert lock.take() and holders_machine(path) == ""
        lock.sign()
        assert holders_machine(path) == platform.node()
        monkeypatch.setattr(platform, "node", lambda: "ड" * 40)  # longer than there is room for
        lock.sign()
        assert holders_machine(path).startswith("ड" * 21) and holder(path) == os.getpid()
    assert holders_machine(path) == ""


def test_the_lock_of_an_earlier_version_names_no_computer(path: Path) -> None:
    path.write_text(f"{os.getpid():011d}")
    assert holders_machine(path) == "" == holders_machine(path.with_name("missing"))


@pytest.mark.parametrize("content", ["", "0" * 11, "9" * 11, "-1", "no number", "1.5", "\xb2"])
def test_what_is_no_number_names_nobody(
    path: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_LOOKING_SECONDS", 0.0)
    with Lock(path) as lock:
        assert lock.take()
        path.write_text(content)
        assert holder(path) is None


def test_a_lock_that_may_only_be_read_is_looked_at(
    path: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = locks.open_plain

    def refusing(path: Path, flags: int = os.O_RDONLY) -> object:
        if flags != os.O_RDONLY:
            raise PermissionError(13, "denied", str(path))
        return opened(path, flags)

    monkeypatch.setattr(locks, "open_plain", refusing)
    assert holder(path) == other.pid


def test_no_link_or_pipe_is_a_lock(path: Path, other: subprocess.Popen[str]) -> None:
    link, pipe = path.with_name("link"), path.with_name("pipe")
    link.symlink_to(path)
    os.mkfifo(pipe)
    assert holder(link) is None and holder(pipe) is None
    with pytest.raises(OSError, match="link"):
        Lock(link)
    with pytest.raises(ValueError, match="not a plain file"):
        Lock(pipe)


def test_what_locks_files_is_loaded_without_what_windows_lacks() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there nothing is locked for a child")
def test_a_file_given_to_a_child_is_locked_as_long_as_that_lives(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    assert not is_locked_for_child(path)
    with path.open("ab") as file:
        assert lock_for_child(file)
        command = [sys.executable, "-c", "input()"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file)
    assert is_locked_for_child(path)
    with path.open("ab") as another:
        assert not lock_for_child(another, 0)
    child.communicate(b"\n", 60)
    assert not is_locked_for_child(path)
    with path.open("ab") as another:
        assert lock_for_child(another, 0)
