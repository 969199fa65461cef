"""Commands about runs: start, resume, stop, list, and the recipes to start from."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from whisperslim.commands.terminal import (
    DEFAULT_RUNS,
    AsJson,
    RunsFolder,
    announce,
    print_json,
    print_table,
)
from whisperslim.jobs.process import queue
from whisperslim.jobs.process.devices import run_on_devices
from whisperslim.jobs.process.worker import run_worker, take_part
from whisperslim.jobs.recipe.presets import preset_names, preset_path, preset_summary
from whisperslim.jobs.run.console import ConsoleView, duration
from whisperslim.jobs.run.eventlog import read_events
from whisperslim.jobs.run.folder import RunDir, RunStatus, find_run, list_runs
from whisperslim.jobs.run.tracking import VARIABLE, Sink, check_tracking, tracker
from whisperslim.jobs.run.view import RunView, fold
from whisperslim.machine.extras import need
from whisperslim.machine.launched import launched

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's folder, or its name in the runs folder.")
]
Track = Annotated[
    str,
    typer.Option(
        metavar="WHERE",
        envvar=VARIABLE,
        help="Send the figures to tensorboard:FOLDER or trackio:PROJECT as well.",
    ),
]
_STOPPING = {
    queue.Stopping.LEFT_QUEUE: "left the queue and will not start by itself",
    queue.Stopping.ASKED: "will stop after its current step",
    queue.Stopping.KILLED: "killed, since it had been asked to stop before",
}


def compress(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A preset's name or a recipe file (YAML).")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one value of the recipe, for example train.steps=100; may be repeated. "
            "`whisperslim presets --keys` lists the keys with their units.",
        ),
    ] = None,
    devices: Annotated[
        int,
        typer.Option(
            min=0,
            help="Processes that train together, each with its own GPU or its share of the cores; "
            "the same as --set runtime.devices=N. 0: as the recipe says.",
        ),
    ] = 0,
    track: Track = "",
    runs_folder: RunsFolder = DEFAULT_RUNS,
) -> None:
    """Compress a model by a recipe, in this terminal. Ctrl-C stops it cleanly.

    Under torchrun, all processes train together, and the first one reports.
    """
    need("train", "compress")  # before there is a run that cannot continue
    if track:
        check_tracking(track)
    chosen = [*(settings or ()), *([f"runtime.devices={devices}"] if devices else [])]
    if launched() is None:
        work_in_foreground(_create(recipe, chosen, runs_folder), track=track)
        return
    from whisperslim.core import ranks

    with ranks.joined():
        run = ranks.on_first(lambda: _create(recipe, chosen, runs_folder))
        work_in_foreground(run, track=track)


def _create(recipe: str, settings: Sequence[str], runs_folder: Path) -> RunDir:
    from whisperslim.jobs.recipe.recipe import load_recipe

    run = RunDir.create(runs_folder, load_recipe(recipe, settings))
    announce(f"run: {run.path}")
    return run


def resume(run: RunName, track: Track = "", runs_folder: RunsFolder = DEFAULT_RUNS) -> None:
    """Continue a run that was stopped, failed or died, from its last checkpoint."""
    need("train", "resume")
    work_in_foreground(find_run(run, runs_folder), track=track)


def stop(
    run: RunName,
    force: Annotated[
        bool,
        typer.Option("--force", help="Kill it at once; work since the last checkpoint is lost."),
    ] = False,
    runs_folder: RunsFolder = DEFAULT_RUNS,
) -> None:
    """Ask a run to stop after its current step; kill it if it was asked before; take a waiting run
    off the queue.
    """
    found = find_run(run, runs_folder)
    came = queue.stop_or_leave(found, force)
    what = "killed" if force and came is queue.Stopping.KILLED else _STOPPING[came]
    announce(f"{found.name} {what}; to continue: whisperslim resume {found.path}")


def runs(runs_folder: RunsFolder = DEFAULT_RUNS, as_json: AsJson = False) -> None:
    """List runs, newest first."""
    records = [_record(run) for run in list_runs(runs_folder)]
    if as_json:
        print_json(records)
    elif not records:
        announce(f"no runs in {runs_folder}; start one: whisperslim compress quick-demo")
    else:
        print_table(("run", "status", "where", "WER dense", "WER slim"), [_row(r) for r in records])


def presets(
    keys: Annotated[
        bool, typer.Option("--keys", help="List every key of a recipe with range and unit.")
    ] = False,
    method: Annotated[
        str, typer.Option(help="Method whose own keys are listed with --keys.")
    ] = "sgl",
    show: Annotated[
        str, typer.Option("--show", metavar="NAME", help="Print a preset's file, to start from.")
    ] = "",
) -> None:
    """List the recipes that come with WhisperSlim, and what can be set in them."""
    if show:
        typer.echo(preset_path(show).read_text(encoding="utf-8"), nl=False)
    elif keys:
        _print_keys(method)
    else:
        rows = [(name, preset_summary(name)) for name in preset_names()]
        print_table(("preset", "what it is for"), rows)


def work_in_foreground(run: RunDir, *, stdout_taken: bool = False, track: str = "") -> None:
    """Do the rest of a run here, shown on the terminal, and exit with the code of `run_worker`.

    It is shown on stderr when another result has `stdout_taken`. Its figures go where `track` says,
    too, as `tracker` takes it. Of processes that train together, the first one does so; a recipe
    for several has them started.
    """
    if (place := launched()) is not None and place[0]:
        raise typer.Exit(take_part(run))
    if place is None and run.recipe().runtime.devices > 1:
        raise typer.Exit(_on_devices(run, track))
    view = ConsoleView(Console(stderr=stdout_taken))
    sinks: list[Sink] = [view, tracker(track, run.name)] if track else [view]
    try:
        with view.shown():
            code = run_worker(run, sinks)
    except KeyboardInterrupt:
        announce("interrupted; work since the last checkpoint is lost")
        code = 130  # the exit code that shells expect after Ctrl-C
    queue.see_to(run.path.parent)  # in case the queue's keeper was killed
    if run.status() in (RunStatus.STOPPED, RunStatus.DIED, RunStatus.FAILED):
        announce(f"to continue: whisperslim resume {run.path}")
    raise typer.Exit(code)


def _on_devices(run: RunDir, track: str) -> int:
    """The exit code of a run whose processes report for themselves."""
    if track:
        os.environ[VARIABLE] = track
    try:
        return run_on_devices(run)
    except KeyboardInterrupt:
        return 130  # the exit code that shells expect after Ctrl-C


def _record(run: RunDir) -> dict[str, Any]:
    view = fold(RunView(), read_events(run.events_path)[0])
    status = run.status()
    dense, slim = view.latest("dense"), view.latest("recovered") or view.latest("slim")
    return {
        "name": run.name,
        "path": str(run.path),
        "status": status.value,
        "place": queue.place(run),
        "stage": view.stage,
        "step": view.step.step if view.step else None,
        "steps": view.step.total if view.step else None,
        "eta_seconds": view.eta_seconds,
        "seconds": view.seconds,
        "wer_dense": dense.wer if dense else None,
        "wer_slim": slim.wer if slim else None,
        "slim": view.slim or None,
        "error": run.damage() if status == RunStatus.DAMAGED else view.error,
    }


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    wers = [record["wer_dense"], record["wer_slim"]]
    scores = ["-" if wer is None else f"{wer:.2%}" for wer in wers]
    status = f"waiting, place {record['place']}" if record["place"] else record["status"]
    return (record["name"], status, _where(record), *scores)


def _where(record: dict[str, Any]) -> str:
    if record["status"] in (RunStatus.FAILED, RunStatus.DAMAGED):
        return str(record["error"])
    if record["status"] == RunStatus.FINISHED:
        return f"took {duration(record['seconds'])}"
    step = f" {record['step']}/{record['steps']}" if record["step"] else ""
    left = f", about {duration(record['eta_seconds'])} left" if record["eta_seconds"] else ""
    return f"{record['stage']}{step}{left}"


def _print_keys(method: str) -> None:
    from whisperslim.jobs.recipe.recipe import dotted_defaults, dotted_specs

    defaults = dotted_defaults(method)
    rows = []
    for name, spec in dotted_specs(method).items():
        allowed = ", ".join(spec.choices)
        if spec.minimum is not None and spec.maximum is not None:
            allowed = f"{spec.minimum:.10g} to {spec.maximum:.10g}"
        rows.append((name, f"{defaults[name]}", f"{allowed} {spec.unit}".strip(), spec.help))
    print_table(("key", "default", "accepted", "what it does"), rows)
