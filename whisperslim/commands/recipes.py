"""What `sweep` does with recipes, and how curves are printed and drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisperslim.commands.terminal import (
    announce,
    megabytes,
    millions,
    print_json,
    print_table,
    say,
)
from whisperslim.errors import WhisperSlimError
from whisperslim.jobs.run.disk import write_text_checked
from whisperslim.jobs.run.folder import RunDir, RunStatus
from whisperslim.machine.extras import need

if TYPE_CHECKING:
    from whisperslim.jobs.grid.recipes import Planned
    from whisperslim.jobs.grid.work import Crew, Wish
    from whisperslim.jobs.sizes.curve import Sweep, SweepPoint

PICTURE = "sweep.html"
COLUMNS = ("target", "removed", "zeroed", "parameters", "bytes", "GFLOPs", "s per clip", "WER",
           "95 % interval", "CER", "n")  # fmt: skip


def recipes_at(names: Sequence[str]) -> list[Path]:
    """The files of the recipes that are named by themselves or by their folder; none for runs."""
    from whisperslim.jobs.grid.recipes import recipe_files

    return list(dict.fromkeys(file for name in names for file in recipe_files(Path(name))))


def crew_for(ray: str, cpus: int) -> "Crew":
    """Who works on many runs: the Ray at an address, or this machine, one run after another."""
    need("train", "sweep")
    if ray:
        from whisperslim.jobs.grid.ray_crew import RayCrew

        return RayCrew(ray, cpus)
    from whisperslim.jobs.grid.work import OneByOne

    return OneByOne()


def sweep_recipes(
    files: Sequence[Path], runs_folder: Path, crew: "Crew", page: Path, as_json: bool
) -> None:
    """Work through recipes, and show what came of them in one table, and in the picture `page`.

    Raises `UsageError` naming every file that is wrong, before any run is begun; `RunError` when
    nobody can work, and in the end naming the runs that did not end well.
    """
    from contextlib import closing

    from rich.console import Console

    from whisperslim.jobs.grid.console import ManyRuns
    from whisperslim.jobs.grid.mark import marked
    from whisperslim.jobs.grid.recipes import runs_of
    from whisperslim.jobs.grid.work import Wish, require_finished, work_through
    from whisperslim.jobs.process.worker import signals_ask_to_stop

    wish = Wish()
    with closing(crew), signals_ask_to_stop(wish):
        planned = runs_of(files, runs_folder)
        runs = [each.run for each in planned]
        view = ManyRuns(Console(stderr=True), {each.run: each.name for each in planned})
        with marked(runs_folder) as mark, view.shown():
            troubles = work_through(runs, mark, crew, view, lambda: wish.stop)
        results = _results(planned, wish)
    _show(planned, results, troubles, as_json)
    if curves := [results[each.run] for each in planned if each.run in results]:
        draw(curves, page)
    if wish.stop:
        announce("stopped; the same command continues from here")
    else:
        require_finished(runs, troubles)


def _results(planned: Sequence["Planned"], wish: "Wish") -> "dict[RunDir, Sweep]":
    """What came of the finished runs; nothing more once there is a stop request."""
    found = {}
    for each in planned:
        if wish.stop:
            break
        if each.run.status() != RunStatus.FINISHED:
            continue
        from whisperslim.jobs.grid.results import result_of  # torch, for seconds after a stop

        try:
            found[each.run] = result_of(each.run, each.name)
        except WhisperSlimError as error:
            announce(f"{each.name} could not be measured: {error}")
    return found


def _show(
    planned: Sequence["Planned"],
    results: "dict[RunDir, Sweep]",
    troubles: dict[RunDir, str],
    as_json: bool,
) -> None:
    if as_json:
        print_json([_record(each, results.get(each.run), troubles) for each in planned])
        return
    curves = list(results.values())
    for said in dict.fromkeys(
        f"{curve.data}; {curve.normalizer}, window {curve.window}" for curve in curves
    ):
        say(said)
    rows = []
    for each in planned:
        curve = results.get(each.run)
        figures = row(curve.points[0]) if curve else ("-",) * len(COLUMNS)
        rows.append((each.name, str(each.run.status()), *figures))
    print_table(("recipe", "status", *COLUMNS), rows)


def _record(each: "Planned", curve: "Sweep | None", troubles: dict[RunDir, str]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "recipe": each.name,
        "run": str(each.run.path),
        "status": each.run.status().value,
        "trouble": troubles.get(each.run, ""),
        "result": asdict(curve) if curve else None,
    }


def draw(curves: "list[Sweep]", path: Path) -> None:
    """One page with the four pictures, which needs no network to be viewed."""
    from html import escape

    from whisperslim.ui.tradeoff.charts import AXES, tradeoff_figure

    drawn = [curve for curve in curves if curve.points]
    if not drawn:
        return
    figures = [tradeoff_figure(drawn, against) for against in AXES]
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=number == 0)
        for number, figure in enumerate(figures)
    ]
    title = escape("Size against error: " + ", ".join(curve.run for curve in drawn))
    page = f'<!doctype html><html><head><meta charset="utf-8"><title>{title}</title></head><body>'
    write_text_checked(path, page + "\n".join(parts) + "</body></html>\n")
    announce(f"picture: {path}")


def row(point: "SweepPoint") -> tuple[str, ...]:
    """A point as a row of `COLUMNS`."""
    return (
        f"{point.target:g}",
        f"{point.removed:.2%}",
        f"{point.zeroed:.2%}",
        millions(point.parameters),
        megabytes(point.bytes),
        f"{point.flops / 1e9:.3f}",
        f"{point.latency_seconds:.3f}",
        f"{point.wer:.2%}",
        f"{point.wer_low:.2%} to {point.wer_high:.2%}",
        f"{point.cer:.2%}",
        str(point.n),
    )
