"""Which models the page offers to compare."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.runs.fake_runs import finish, make_run, write_events
from whisperslim import boxed
from whisperslim.jobs.recipe.text import from_yaml
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.derivation import MARKER
from whisperslim.ui.context.choices import chosen_model, dense_choices, dense_of, slim_choices
from whisperslim.ui.context.context import DENSE_MODELS, AppContext
from whisperslim.ui.context.run_watch import RunWatch


@pytest.fixture
def app(tmp_path: Path) -> AppContext:
    return AppContext(RunWatch(tmp_path / "runs"))


def made(app: AppContext, name: str, minute: int, resized: bool = False) -> RunDir:
    """A finished run of a given minute, with a dense model of its own."""
    run = make_run(app.runs, name)
    write_events(run)
    finish(run)
    (run.path / "prepared").mkdir()
    (run.path / "prepared" / "config.json").write_text("{}")
    if resized:
        (run.path / MARKER).write_text("{}")
    moved = app.runs / f"20260101-00{minute:02d}00-{name}"
    run.path.rename(moved)
    return RunDir(moved)


def test_a_run_of_its_own_is_offered_before_a_newer_resized_one(app: AppContext) -> None:
    older, newer = made(app, "older", 1), made(app, "newer", 2)
    resized = made(app, "newer-50pct", 3, resized=True)
    assert slim_choices(app) == [newer.name, older.name, resized.name]


def test_the_dense_model_tuned_for_a_run_is_offered_once(
    app: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxed, "BOXED", ())
    run = made(app, "tuned", 1)
    made(app, "tuned-50pct", 2, resized=True)
    offered = dense_choices(app)
    assert [name for _, name in offered] == [*DENSE_MODELS, f"{run.name}/prepared"]
    assert [said for said, _ in offered] == [
        *(f"{name}, untuned" for name in DENSE_MODELS),
        f"the dense model tuned in {run.name}",
    ]
    assert chosen_model(app, f"{run.name}/prepared") == str(run.path / "prepared")
    assert chosen_model(app, run.name) == str(run.slim_path)


def test_like_is_compared_with_like(app: AppContext) -> None:
    run = made(app, "tuned", 1)
    resized = made(app, "tuned-50pct", 2)
    (resized.path / MARKER).write_text(
        json.dumps(
            {"source": run.name, "weights_sha256": "0" * 64, "removed": 0.5, "zeroed": 0.0,
             "recover_steps": 0}
        )
    )  # fmt: skip
    assert dense_of(app, run.name) == f"{run.name}/prepared"
    assert dense_of(app, resized.name) == f"{run.name}/prepared", "its weights are the same"
    shutil.rmtree(run.path / "prepared")
    assert dense_of(app, run.name) == str(from_yaml(run.path / "recipe.yaml")["model"])
    for unknown in (None, "nothing", "/etc"):
        assert dense_of(app, unknown) == ""
