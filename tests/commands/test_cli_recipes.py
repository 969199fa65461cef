"""`sweep` with a folder of recipes, and on a cluster."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest
import yaml

from tests.commands.test_cli import Done, cli  # noqa: F401
from tests.support.tiny_run import copy_of, shared_run, tiny_recipe
from whisperslim.commands import recipes as recipes_command
from whisperslim.events import Failed
from whisperslim.jobs.process.worker import run_worker
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.folder import RunDir, list_runs
from whisperslim.jobs.sizes import measure
from whisperslim.jobs.sizes.curve import read_sweep
from whisperslim.jobs.sizes.derive import read_derivation

Cli = Callable[..., Done]


class Here:
    """A crew that works in this process, where torch is loaded already, except on `fails`."""

    def __init__(self, fails: Sequence[str] = ()) -> None:
        self.fails = fails
        self.worked: list[str] = []

    def begin(self, runs: Sequence[RunDir], mark: Path) -> Sequence["Future[str]"]:
        assert mark.is_file() and mark.parent == runs[0].path.parent
        futures: list[Future[str]] = [Future() for _ in runs]
        for run, future in zip(runs, futures, strict=True):
            self.worked.append(run.name)
            if run.recipe().name in self.fails:
                EventLog(run.events_path).append(Failed("tune", "no data"))
            else:
                run_worker(run)
            future.set_result("")
        return futures

    def close(self) -> None:
        pass


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Here:
    made = Here()
    monkeypatch.setattr(recipes_command, "crew_for", lambda ray, cpus: made)
    monkeypatch.setattr("whisperslim.commands.sizes.crew_for", lambda ray, cpus: made)
    monkeypatch.setattr(measure, "LATENCY_CLIPS", 1)
    monkeypatch.setattr(measure, "LATENCY_PASSES", 1)
    return made


def folder_of(tmp_path: Path, *targets: float) -> Path:
    folder = tmp_path / "recipes"
    folder.mkdir()
    for target in targets:
        values = tiny_recipe(tmp_path, name=f"r{target:g}", target={"removed": target})
        (folder / f"at-{target:g}.yaml").write_text(yaml.safe_dump(values), "utf-8")
    return folder


def test_a_folder_of_recipes_becomes_one_table_and_one_picture(
    cli: Cli,  # noqa: F811
    tmp_path: Path,
    crew: Here,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    words = ["sweep", str(folder_of(tmp_path, 0.4, 0.2)), "--runs", str(tmp_path / "runs")]
    done = cli(*words)
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert [line[:3] for line in lines if line and line[0].startswith("at-")] == [
        ["at-0.2", "finished", "0.2"],
        ["at-0.4", "finished", "0.4"],
    ]
    page = tmp_path / "runs" / "recipes-sweep.html"
    assert f"picture: {page}" in done.err and "at-0.2 · sgl" in page.read_text("utf-8")
    assert len(crew.worked) == 2

    # The same command again does nothing twice, and shows the same.
    monkeypatch.setattr(measure, "take_time", lambda context: pytest.fail("measured again"))
    again = cli(*words, "--json")
    assert len(crew.worked) == 2
    found = json.loads(again.out)
    assert [each["recipe"] for each in found] == ["at-0.2", "at-0.4"]
    for each, target in zip(found, (0.2, 0.4), strict=True):
        (point,) = each["result"]["points"]
        run = RunDir(Path(each["run"]))
        assert each["status"] == "finished" and point["run"] == run.name
        assert point["bytes"] == (run.slim_path / "model.safetensors").stat().st_size
        assert point["target"] == target <= point["removed"]
        record = json.loads(run.eval_path("slim").read_text("utf-8"))["sets"]
        (scores,) = record.values()
        assert point["wer"] == pytest.approx(scores["scores"]["hindi-1"]["wer"])


def test_a_recipe_that_fails_is_named_and_the_others_are_shown(
    cli: Cli,  # noqa: F811
    tmp_path: Path,
    crew: Here,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    crew.fails = ("r0.2",)
    folder = folder_of(tmp_path, 0.4, 0.2)
    done = cli("sweep", str(folder), "--runs", str(tmp_path / "runs"))
    assert done.code == 1 and "1 of 2 runs did not end well" in done.err
    assert "at-0.4" in done.out and "failed" in done.out


def test_a_wrong_recipe_is_refused_before_anything_is_begun(
    cli: Cli,  # noqa: F811
    tmp_path: Path,
    crew: Here,
) -> None:
    folder = folder_of(tmp_path, 0.4)
    (folder / "wrong.yaml").write_text("train: {steps: -1}\n")
    done = cli("sweep", str(folder), "--runs", str(tmp_path / "runs"))
    assert done.code == 2 and f"{folder / 'wrong.yaml'}: train.steps: " in done.err
    assert list_runs(tmp_path / "runs") == [] and crew.worked == []


def test_sizes_are_made_by_the_crew_and_then_only_measured(
    cli: Cli,  # noqa: F811
    tmp_path: Path,
    crew: Here,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with shared_run(tmp_path / "made") as made:
        run = copy_of(made, tmp_path)
        words = ["sweep", str(run.path), "--targets", "0.3,0.5", "--recover", "0"]
        done = cli(*words, "--ray", "local", "--json")
    assert done.code == 0, done.err
    derived = {each.name for each in list_runs(run.path.parent) if read_derivation(each)}
    assert sorted(crew.worked) == sorted(derived) and len(derived) == 3
    found = read_sweep(run)
    assert found is not None and [point.target for point in found.points] == [0.0, 0.3, 0.5]
    assert {point.run for point in found.points} == derived
    assert run.worker_pid() is None


def test_a_size_that_cannot_be_made_is_named(
    cli: Cli,  # noqa: F811
    tmp_path: Path,
    crew: Here,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crew.fails = ("tiny-30pct",)
    with shared_run(tmp_path / "made") as made:
        run = copy_of(made, tmp_path)
        done = cli("sweep", str(run.path), "--targets", "0.3", "--recover", "0", "--ray", "local")
    assert done.code == 1 and "-tiny-30pct: failed, as " in done.err
    assert run.worker_pid() is None


def test_sizes_of_a_run_that_several_processes_trained_are_made_by_processes_of_their_own(
    cli: Cli,  # noqa: F811
    tmp_path: Path,
    crew: Here,
) -> None:
    crew.fails = ("tiny-0pct", "tiny-30pct")  # none is worked on here
    with shared_run(tmp_path / "made") as made:
        run = copy_of(made, tmp_path)
        recipe = run.path / "recipe.yaml"
        recipe.write_text(recipe.read_text("utf-8").replace("devices: 1", "devices: 2"), "utf-8")
        done = cli("sweep", str(run.path), "--targets", "0.3", "--recover", "0")
    assert len(crew.worked) == 2 and "2 of 2 runs did not end well" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--targets", "0.2"], "alone, without runs, --targets and --recover"),
        (["--recover", "3"], "alone, without runs, --targets and --recover"),
        (["another"], "alone, without runs, --targets and --recover"),
        (["--cpus", "2"], "--cpus only has an effect with --ray"),
        (["--ray", "head"], "is not an address"),
    ],
)
def test_what_does_not_go_with_recipes_is_refused(
    cli: Cli,  # noqa: F811
    tmp_path: Path,
    words: list[str],
    said: str,
) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "a.yaml").touch()
    done = cli("sweep", "recipes", *words)
    assert done.code == 2 and said in done.err


def test_runs_need_targets(cli: Cli) -> None:  # noqa: F811
    done = cli("sweep", "latest")
    assert done.code == 2 and "--targets is missing" in done.err and "*.yaml" in done.err
