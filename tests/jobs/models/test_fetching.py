"""Fetching by name in the background: what is refused before, and how far it is."""

import time
from pathlib import Path

import pytest

from tests.support.models.shelf import model_folder
from whisperslim.commands.terminal import downloading
from whisperslim.errors import SourceError, UsageError
from whisperslim.jobs.models import fetching
from whisperslim.jobs.models.fetching import FETCH, FetchDesk, check_fetch
from whisperslim.jobs.process import background
from whisperslim.jobs.run.folder import list_runs
from whisperslim.machine import offline


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(offline.VARIABLE, raising=False)
    return tmp_path / "runs"


@pytest.mark.parametrize(
    "name", ["", None, "whisper", "/etc/passwd", "../x/y", "a/b/c", "a/b; rm", "--help", "~/a/b"]
)
def test_only_names_of_the_hub_are_fetched(runs: Path, name: object) -> None:
    with pytest.raises(UsageError, match="OWNER/NAME"):
        check_fetch(runs, name)
    assert check_fetch(runs, " openai/whisper-tiny ") == "openai/whisper-tiny"


def test_offline_says_what_is_here(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(offline.VARIABLE, "1")
    with pytest.raises(SourceError, match=r"app is offline\. No model was fetched before"):
        check_fetch(runs, "openai/whisper-tiny")
    model_folder(tmp_path / "cache" / "models" / "openai--whisper-base")
    (tmp_path / "cache" / "models" / "half--fetched").mkdir()
    with pytest.raises(SourceError, match=r"Here without a network: openai/whisper-base\."):
        check_fetch(runs, "openai/whisper-tiny")


def test_a_fetch_that_comes_to_nothing_says_why(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    desk = fetching.prepare(FetchDesk(runs))
    assert fetching.look(desk).name == ""
    background.start(desk, FETCH, [FETCH, "nobody/nothing"])
    deadline = time.monotonic() + 200
    while fetching.look(desk).running:
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    found = fetching.look(desk)
    assert found.name == "nobody/nothing" and found.failed
    assert "cannot get nobody/nothing" in found.said
    assert list_runs(runs) == [], "its log is in no run's folder"


def test_a_log_has_a_line_for_every_twentieth_of_a_file(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with downloading() as progress:
        for done in range(0, 1001):
            progress("model", done * 1000, 1_000_000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[:2] == ["model: 0 % of 1.0 MB", "model: 5 % of 1.0 MB"]
    desk = fetching.prepare(FetchDesk(runs))
    log = background.log_path(desk, FETCH)
    log.parent.mkdir()
    log.write_text("\n".join(["$ whisperslim fetch a/b", *lines[:8]]))
    found = fetching.look(desk)
    assert (found.name, found.share, found.failed) == ("a/b", 0.35, False)
