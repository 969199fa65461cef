"""The examples of docs/scale-out.md for schedulers."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

PAGE = (Path(__file__).parents[2] / "docs" / "scale-out.md").read_text("utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_slurm_example_gives_each_recipe_to_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitit = pytest.importorskip("submitit", reason="needs pip install submitit")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    for name in ("b.yaml", "a.yaml", "notes.txt"):
        (tmp_path / "recipes" / name).touch()
    asked: list[dict[str, Any]] = []
    executor = submitit.AutoExecutor

    class Noted(executor):
        """Works in this process, where no Slurm is."""

        def __init__(self, folder: str, **given: Any) -> None:
            super().__init__(folder, cluster="debug", **given)

        def update_parameters(self, **given: Any) -> None:
            asked.append(given)
            super().update_parameters(**given)

    ran: list[list[str]] = []
    monkeypatch.setattr(submitit, "AutoExecutor", Noted)
    monkeypatch.setattr(subprocess, "run", lambda command, check: ran.append(command[1:]))
    exec(compile(block("python"), "scale-out.md", "exec"), {"__name__": "example"})
    assert ran == [
        ["-m", "whisperslim", "sweep", f"recipes/{name}.yaml", "--runs", "runs"]
        for name in ("a", "b")
    ]
    assert asked[0]["gpus_per_node"] == 1


def test_the_slurm_example_is_queued_again_with_the_same_recipe() -> None:
    pytest.importorskip("submitit", reason="needs pip install submitit")
    names: dict[str, Any] = {"__name__": "example"}
    code = block("python")
    exec(compile(code[: code.index("executor =")], "scale-out.md", "exec"), names)
    again = names["Sweep"]().checkpoint("recipes/a.yaml")
    assert again.args == ("recipes/a.yaml",) and type(again.function) is names["Sweep"]


def test_the_file_for_skypilot_is_yaml_of_one_task() -> None:
    task = yaml.safe_load(block("yaml"))
    assert task["resources"]["use_spot"] is True
    (place,) = task["file_mounts"]
    assert f"--runs {place}" in task["run"]
