"""A folder of recipes: checked before anything is begun, and each with one run for ever."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.runs.forked import tiny_values
from whisperslim.errors import UsageError
from whisperslim.events import Finished
from whisperslim.jobs.grid.recipes import recipe_files, runs_of
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.folder import list_runs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "recipes"
    made.mkdir()
    write(made, "small", target={"removed": 0.4})
    write(made, "large", target={"removed": 0.2})
    (made / "notes.txt").write_text("of no concern")
    return made


def write(folder: Path, name: str, **changes: Any) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tiny_values(folder.parent, **changes)), "utf-8")
    return path


def test_every_recipe_has_a_run_and_keeps_it(folder: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    files = recipe_files(folder)
    assert [path.name for path in files] == ["large.yaml", "small.yaml"]
    first = runs_of(files, runs)
    assert [each.name for each in first] == ["large", "small"]
    assert [each.run.recipe().target.removed for each in first] == [0.2, 0.4]
    assert runs_of(files, runs) == first and len(list_runs(runs)) == 2


def test_a_changed_recipe_has_a_run_of_its_own(folder: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    before = runs_of(recipe_files(folder), runs)
    write(folder, "small", target={"removed": 0.5})
    large, small = runs_of(recipe_files(folder), runs)
    assert large == before[0] and small.run not in [each.run for each in before]


def test_of_two_runs_of_a_recipe_the_finished_one_counts(folder: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (small,) = runs_of([folder / "small.yaml"], runs)
    newer = small.run.path.with_name(f"3{small.run.name}")
    newer.mkdir()
    (newer / "recipe.yaml").write_bytes((small.run.path / "recipe.yaml").read_bytes())
    assert runs_of([folder / "small.yaml"], runs)[0].run.path == newer
    EventLog(small.run.events_path).append(Finished(1.0, ""))
    assert runs_of([folder / "small.yaml"], runs) == [small]


def test_every_wrong_recipe_is_named_before_anything_is_begun(folder: Path, tmp_path: Path) -> None:
    write(folder, "absent", data={"train": ["no/such/corpus"]})
    write(folder, "broken", train={"steps": -1})
    write(folder, "twin", target={"removed": 0.2})
    (folder / "text.yaml").write_text("a: [")
    with pytest.raises(UsageError, match="no run was begun") as raised:
        runs_of(recipe_files(folder), tmp_path / "runs")
    said = str(raised.value)
    assert f"{folder / 'absent.yaml'}: data.train: no/such/corpus was not found" in said
    assert f"{folder / 'broken.yaml'}: train.steps: " in said
    assert f"{folder / 'text.yaml'}: " in said
    assert f"{folder / 'twin.yaml'}: the same recipe as {folder / 'large.yaml'}" in said
    assert "small.yaml" not in said and list_runs(tmp_path / "runs") == []


def test_a_run_is_no_folder_of_recipes(folder: Path, tmp_path: Path) -> None:
    (small,) = runs_of([folder / "small.yaml"], tmp_path / "runs")
    assert recipe_files(small.run.path) == []
    assert recipe_files(folder / "notes.txt") == [] == recipe_files(tmp_path / "none")
    assert recipe_files(folder / "small.yaml") == [folder / "small.yaml"]
