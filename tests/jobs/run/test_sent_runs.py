"""Run folders that somebody sent: nothing outside is read or written, and the others go on."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support.runs.light_runs import light_run
from whisperslim.commands.runs import _record
from whisperslim.core.disk import untrusted
from whisperslim.core.disk.untrusted import MOST_JSON_VALUES, foreign_part, open_plain, yaml_of
from whisperslim.errors import RunError
from whisperslim.events import Finished, Notice, RunStarted, StageStarted, StepDone
from whisperslim.jobs.process import child, queue
from whisperslim.jobs.process.worker import run_worker
from whisperslim.jobs.report.report import report
from whisperslim.jobs.run.eventlog import EventLog, read_events
from whisperslim.jobs.run.folder import RunDir, RunStatus, find_run, list_runs
from whisperslim.jobs.run.view import RunView, fold
from whisperslim.ui.context.run_watch import RunWatch

PLACES = ["recipe.yaml", "events.jsonl", "worker.lock", "log.txt", "STOP", "stages", "checkpoints",
          "checkpoints/tune", "eval", "eval/slim.tsv", "tuned/model/model.safetensors",
          "background/x.log", "export/onnx/export.json"]  # fmt: skip
WAYS: dict[str, Callable[[RunDir], object]] = {
    "worker": lambda run: run_worker(run, load=lambda: (("tune",), lambda run, emit: None)),
    "start": child.start_worker,
    "command line": lambda run: find_run(str(run.path), Path("none")),
    "newest": lambda run: find_run("latest", run.path.parent),
    "app": lambda run: RunWatch(run.path.parent).open(run.name),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def linked(run: RunDir, place: str, outside: Path) -> None:
    """A link at `place` in the run to a folder outside, or to a file in it."""
    (outside / "step-000010").mkdir(parents=True)
    (outside / "step-000010" / "student.safetensors").write_bytes(b"theirs")
    (outside / "file").write_text("kept as it is\n")
    link = run.path / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(outside / "file" if "." in place or place == "STOP" else outside)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
def test_a_link_at_any_depth_is_refused_and_led_to_is_nothing(
    tmp_path: Path, place: str, way: str
) -> None:
    run, outside = light_run(tmp_path / "runs", "sent"), tmp_path / "outside"
    EventLog(run.events_path).append(Notice("mine"))
    linked(run, place, outside)
    before = contents(outside)
    with pytest.raises(RunError, match="is a link"):
        WAYS[way](run)
    assert contents(outside) == before


@pytest.mark.parametrize("place", PLACES)
def test_the_list_says_which_run_holds_a_link(tmp_path: Path, place: str) -> None:
    run, outside = light_run(tmp_path / "runs", "sent"), tmp_path / "outside"
    other = light_run(tmp_path / "runs", "whole")
    EventLog(run.events_path).append(Notice("mine"))
    linked(run, place, outside)
    before = contents(outside)
    records = {found.name: _record(found) for found in list_runs(tmp_path / "runs")}
    assert records["sent"]["status"] == "damaged" and place in records["sent"]["error"]
    assert records["whole"]["status"] == "queued"
    watch = RunWatch(tmp_path / "runs")
    assert [status for _, status in watch.listed()] == [RunStatus.QUEUED, RunStatus.DAMAGED]
    assert place in watch.damage(run) and watch.damage(other) == ""
    assert contents(outside) == before


def test_a_pipe_in_a_run_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    run = light_run(tmp_path / "runs", "sent")
    (run.path / "eval").mkdir()
    os.mkfifo(run.path / "eval" / "slim.json")
    with pytest.raises(RunError, match=r"eval/slim\.json"):
        run.check_links()


def test_a_file_is_reached_through_no_folder_that_is_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_text("x")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "eval").symlink_to(outside)
    (tmp_path / "run" / "up").mkdir()
    for name in ("eval/a", "up/../eval/a"):
        with pytest.raises(OSError, match="link"):
            open_plain(tmp_path / "run" / name, below=tmp_path / "run")
    assert foreign_part(tmp_path / "run") == tmp_path / "run" / "eval"
    assert foreign_part(outside) is None


def test_a_queue_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    runs, victim = tmp_path / "runs", tmp_path / "victim"
    run = light_run(runs, "mine")
    victim.write_text("kept")
    (runs / ".queue").mkdir()
    (runs / ".queue" / "log.txt").symlink_to(victim)
    with pytest.raises(RunError, match="link"):
        queue.start_or_wait(run)
    assert victim.read_text() == "kept"


# --- one bad run among good ones --------------------------------------------------------------

MERGES = "\n".join(
    ["a0: &a0 {k0: 1, l0: 1}"]
    + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}], k{n}: 1}}" for n in range(1, 9)]
)
RECIPES = {
    "a day that is not": "x: 2001-99-99",
    "brackets": "x: " + "[" * 3000,
    "no number": "x: !!int 'abc'",
    "nothing where a number is to be": "x: !!int ''",
    "no truth": "x: !!bool maybe",
    "no time": "x: !!timestamp soon",
    "a number too long": "x: 0x" + "f" * 5000,
    "merged and merged": MERGES,
    "aliases of aliases": "\n".join(
        ["a0: &a0 [1, 1]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    ),
    "an alias of itself": "a: &a [*a]",
    "very long": "x: " + "y" * 300_000,
    "half a character": b"x: \xff",
    "a list": "[1, 2]",
    "empty": "",
}


@pytest.mark.parametrize("kind", RECIPES)
def test_a_recipe_that_cannot_be_read_concerns_its_run_alone(tmp_path: Path, kind: str) -> None:
    runs = tmp_path / "runs"
    bad, good = light_run(runs, "bad"), light_run(runs, "good")
    text = RECIPES[kind]
    (bad.path / "recipe.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    check_alone(bad, good)


@pytest.mark.parametrize("text", ["x: " + "[" * 3000, "{" * 100, "x: " + "[a, " * 100])
def test_many_open_brackets_are_refused_before_the_parser_sees_them(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    # Its time grows with the square of their number: a second for a thousand.
    monkeypatch.setattr(yaml, "parse", lambda *given, **more: pytest.fail("it was parsed"))
    with pytest.raises(ValueError, match="nested too deep"):
        yaml_of(text)


def test_brackets_in_a_text_are_no_depth() -> None:
    assert yaml_of("x: '" + "[" * 60 + "'") == {"x": "[" * 60}
    assert yaml_of("x: '" + "[]" * 600 + "'") == {"x": "[]" * 600}


def test_a_pipe_as_recipe_concerns_its_run_alone(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    bad, good = light_run(runs, "bad"), light_run(runs, "good")
    (bad.path / "recipe.yaml").unlink()
    os.mkfifo(bad.path / "recipe.yaml")
    check_alone(bad, good)


def check_alone(bad: RunDir, good: RunDir) -> None:
    runs = bad.path.parent
    assert bad.status() == RunStatus.DAMAGED and "recipe.yaml" in bad.damage()
    with pytest.raises(RunError):
        bad.recipe()
    assert [run.status() for run in list_runs(runs)] == [RunStatus.QUEUED, RunStatus.DAMAGED]
    assert {run.name for run, _ in RunWatch(runs).listed()} == {"good", "bad"}
    assert queue.device_of(bad) in ("cpu", "cuda") and queue.place(good) == 0
    assert _record(bad)["error"] == bad.damage()


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a": 1}', b"[[]]", b"\xff", b'["\\ud800"]', b"[9e999]"]
)
def test_a_damaged_order_of_the_queue_counts_as_empty(tmp_path: Path, content: bytes) -> None:
    run = light_run(tmp_path / "runs", "one")
    (run.path.parent / ".queue").mkdir()
    (run.path.parent / ".queue" / "order.json").write_bytes(content)
    assert queue.waiting(run.path.parent) == () and queue.place(run) == 0


# --- events -----------------------------------------------------------------------------------

STEP = StepDone("tune", 1, 9, {"ce": 2.5}, 1e-5, 0.1, 0.5, 10)


@pytest.mark.parametrize(
    "changed",
    [{"step": "one"}, {"losses": []}, {"losses": {"ce": "x"}}, {"losses": {"ce": float("nan")}},
     {"at": 1e17}, {"at": None}, {"step": 10**30}, {"stage": ["tune"]}, {"stage": "\ud800"}],
)  # fmt: skip
def test_an_event_with_values_of_another_type_is_passed_over(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    path = tmp_path / "events.jsonl"
    line = json.dumps({**json.loads(STEP.to_json()), **changed})
    path.write_text(f"{line}\n{'[' * 100_000}\n{STEP.to_json()}\n", "utf-8")
    found, offset = read_events(path)
    assert found == [STEP] and offset == path.stat().st_size


def test_a_long_log_is_thinned_and_its_landmarks_stay(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log, steps = EventLog(path), 60_000
    log.append(RunStarted("r", 1, ("data", "tune")))
    line = StepDone("tune", 123_456, steps, {"ce": 2.5}, 1e-5, 0.1, 0.5, 10).to_json()
    with path.open("a") as file:
        file.writelines(line.replace("123456", str(n)) + "\n" for n in range(steps // 2))
    log.append(StageStarted("tune"))
    with path.open("a") as file:
        file.writelines(line.replace("123456", str(n)) + "\n" for n in range(steps // 2, steps))
    log.append(Finished(3.0, "slim"))
    found, offset = read_events(path)
    kinds = [event.kind for event in found if not isinstance(event, StepDone)]
    assert kinds == ["run_started", "stage_started", "finished"] and offset == path.stat().st_size
    numbers = [event.step for event in found if isinstance(event, StepDone)]
    assert len(numbers) < steps // 3 and numbers == sorted(numbers)
    # From all of it: no tenth of the run is without a step.
    assert {10 * number // steps for number in numbers} == set(range(10))
    assert numbers[-1] == steps - 1


def test_a_line_without_end_is_passed_over_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x" * 5_000_000)
    EventLog(path).append(Notice("after"))
    found, _ = read_events(path)
    assert [event.message for event in found if isinstance(event, Notice)] == ["after"]


def test_names_without_number_take_no_room(tmp_path: Path) -> None:
    losses = {f"term {number}": 1.0 for number in range(5000)}
    many = [StepDone("tune", step, 9, losses, 1e-5, 0.1, 0.5, 10) for step in range(3)]
    stages = [StageStarted(f"stage {number}") for number in range(500)]
    view = fold(RunView(), [RunStarted("r", 1, tuple(losses)), *many, *stages])
    assert len(view.losses) <= 100 and len(view.stages) <= 50


def test_a_damaged_run_has_a_report(tmp_path: Path) -> None:
    run = light_run(tmp_path / "runs", "sent")
    for name in ("groups.json", "plan.json", "data.json", "environment.json"):
        (run.path / name).write_bytes(b"[" * 100_000)
    assert "is damaged" in report(run)


def test_an_order_of_too_many_values_is_empty_and_not_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every page asks for it every two seconds, and nothing else runs while JSON is parsed."""
    light_run(tmp_path, "waits")
    (tmp_path / ".queue").mkdir()
    order = tmp_path / ".queue" / "order.json"
    order.write_text('["waits"]')
    assert queue.waiting(tmp_path) == ("waits",)
    monkeypatch.setattr(untrusted.json, "loads", lambda *_, **__: pytest.fail("it was parsed"))
    for content in ('["waits"' + ",[]" * 10_000 + "]", '["waits"' + " " * 1_000_000 + "]"):
        order.write_text(content)
        assert queue.waiting(tmp_path) == ()


def test_a_file_of_facts_has_a_limit_of_values(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text("[0" + ",0" * (MOST_JSON_VALUES - 1) + "]")
    assert len(untrusted.read_json(path)) == MOST_JSON_VALUES
    path.write_text("[0" + ",0" * MOST_JSON_VALUES + "]")
    with pytest.raises(ValueError, match="values"):
        untrusted.read_json(path)
