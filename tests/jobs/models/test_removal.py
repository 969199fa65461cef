"""Deleting models, and what keeps one from being deleted."""

from pathlib import Path

import pytest

from tests.support.models.shelf import export_folder, model_folder, slim_run
from tests.support.runs.light_runs import light_run
from whisperslim.core.disk.locks import Lock
from whisperslim.errors import RunError, SourceError, UsageError
from whisperslim.jobs.models.inventory import ModelEntry, inventory
from whisperslim.jobs.models.removal import delete_model, needed_by
from whisperslim.jobs.process import background, queue


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with an export, and a fetched model that it was made from."""
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    run = slim_run(tmp_path / "runs", "20260101-000000-a")
    export_folder(run.path / "export" / "onnx-int8", run.name)
    model_folder(tmp_path / "cache" / "models" / "openai--whisper-base")
    return run.path.parent


def left(runs: Path) -> list[str]:
    return [entry.name for entry in inventory(runs)]


def test_each_is_deleted_alone_and_a_slim_model_with_its_run(runs: Path) -> None:
    slim, export, download = inventory(runs)
    delete_model(export, runs)
    assert left(runs) == [slim.name, download.name]
    delete_model(download, runs)
    assert left(runs) == [slim.name]
    assert [path.name for path in download.path.parent.iterdir() if path.is_dir()] == []
    delete_model(slim, runs)
    assert left(runs) == [] and not (runs / slim.run).exists()


def test_what_a_run_at_work_or_waiting_needs_stays(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slim, _, download = inventory(runs)
    other = light_run(runs, "20260102-000000-b", "model: openai/whisper-base\n")
    learner = light_run(runs, "20260103-000000-c", f"distill: {{teacher: {slim.path}}}\n")
    resized = light_run(runs, "20260104-000000-d", f"model: {slim.path.parent / 'prepared'}\n")
    assert needed_by(download, runs) == [], "nobody is at work yet"
    with other.lock(), pytest.raises(RunError, match=f"{other.name} needs openai/whisper-base"):
        delete_model(download, runs)
    for run in (learner, resized):
        with run.lock(), pytest.raises(RunError, match=f"{run.name} needs {slim.name}"):
            delete_model(slim, runs)
    monkeypatch.setattr(queue, "waiting", lambda folder: (other.name,))
    with pytest.raises(RunError, match="needs"):
        delete_model(download, runs)
    assert len(left(runs)) == 3


def test_a_run_s_own_rule_holds_for_its_models(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slim, export, _ = inventory(runs)
    run = runs / slim.run
    at_work = background.Background(("export",), True, "")
    with monkeypatch.context() as patch:
        patch.setattr(background, "look", lambda owner, name: at_work)
        (run / "background").mkdir()
        (run / "background" / "export.log").write_text("$ whisperslim export\n")
        for entry in (slim, export):
            with pytest.raises(RunError, match="is running"):
                delete_model(entry, runs)
    assert len(left(runs)) == 3


def test_a_model_being_fetched_stays(runs: Path) -> None:
    download = inventory(runs)[-1]
    with Lock(download.path.parent / f".{download.path.name}.lock") as lock:
        assert lock.take()
        with pytest.raises(SourceError, match="is being fetched"):
            delete_model(download, runs)
    assert download.path.is_dir()


def test_what_came_with_the_package_stays(runs: Path, tmp_path: Path) -> None:
    boxed = ModelEntry("whisperslim/base-hi", "built in", tmp_path)
    with pytest.raises(UsageError, match="came with the package"):
        delete_model(boxed, runs)
