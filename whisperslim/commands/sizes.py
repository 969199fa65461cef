"""Commands that give a finished run another size without training it again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whisperslim.commands.recipes import (
    COLUMNS,
    PICTURE,
    crew_for,
    draw,
    recipes_at,
    row,
    sweep_recipes,
)
from whisperslim.commands.runs import work_in_foreground
from whisperslim.commands.terminal import (
    DEFAULT_RUNS,
    AsJson,
    RunsFolder,
    announce,
    megabytes,
    millions,
    print_json,
    print_table,
    say,
)
from whisperslim.engines import registry
from whisperslim.engines.registry import listed
from whisperslim.errors import UsageError
from whisperslim.jobs.run.disk import require_writable
from whisperslim.jobs.run.folder import LATEST, RunDir, find_run, list_runs

if TYPE_CHECKING:
    from whisperslim.jobs.grid.work import Crew
    from whisperslim.jobs.sizes.curve import Sweep
    from whisperslim.jobs.sizes.predict import Prediction
    from whisperslim.jobs.sizes.replan import Replan

RUN_HELP = "A run's folder, its name, or latest: the newest that was not derived from another."
Recover = Annotated[
    int | None,
    typer.Option(help="Training steps after the cut; by default as the run has them.", min=0),
]


def replan(
    run: Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP)],
    target: Annotated[
        float,
        typer.Option(
            help="Share of the prunable weights to remove, for example 0.5; of operations or time "
            "when the run or --currency counts in those. The output says which."
        ),
    ],
    zeroed: Annotated[
        float | None,
        typer.Option(
            help="Share to set to zero in place; by default the run's own. Weights that training "
            "has zeroed are counted, and stay zero."
        ),
    ] = None,
    predict: Annotated[
        bool, typer.Option("--predict", help="Cut in memory and score on a few dev clips.")
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Make the model, in a new run that cuts and recovers.")
    ] = False,
    recover: Recover = None,
    engine: Annotated[
        str,
        typer.Option(
            help=f"Where it will run: {listed(registry.names())}; by default as the run has it."
        ),
    ] = "",
    quantize: Annotated[
        str, typer.Option(help="Number format for that engine; by default as the run has it.")
    ] = "",
    currency: Annotated[
        str,
        typer.Option(
            help="What --target is a share of: weights, flops or latency; by default as "
            "the run has it."
        ),
    ] = "",
    runs_folder: RunsFolder = DEFAULT_RUNS,
    as_json: AsJson = False,
) -> None:
    """Show what a run's model would be at another size, in a second; with --apply, make it."""
    if recover is not None and not apply:
        raise UsageError("--recover only has an effect with --apply; give both")
    found = _find(run, runs_folder)
    from whisperslim.jobs.pricing.terms import Terms
    from whisperslim.jobs.sizes.replan import replan as plan_again

    terms = Terms(engine, quantize, currency)
    if predict and terms != Terms():
        raise UsageError("--predict scores the run's own engine and currency; leave those out")
    planned = plan_again(found, target, zeroed, terms)
    predicted, kept = _predicted(found, target, zeroed) if predict else (None, True)
    if as_json:
        print_json(_record(planned, predicted))
    else:
        _print_plan(planned, predicted)
    # After printing: a prediction takes long, and is shown even when the disk refuses it.
    if predicted and not kept:
        from whisperslim.jobs.sizes.predict import store_prediction

        store_prediction(found, predicted)
    if apply:
        from whisperslim.jobs.sizes.derive import derive

        derived = derive(found, target, zeroed, recover, terms)
        announce(f"run: {derived.path}")
        work_in_foreground(derived, stdout_taken=as_json)


def sweep(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...|RECIPES...",
            help="Runs, each by its folder, its name, or latest: the newest that was not derived "
            "from another. Or recipes (*.yaml) and folders of them, which need no --targets.",
        ),
    ],
    targets: Annotated[
        str,
        typer.Option(
            help="Shares of the prunable weights to remove, such as 0.2,0.35,0.5; of operations or "
            "time when the run counts in those."
        ),
    ] = "",
    recover: Recover = None,
    ray: Annotated[
        str,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Work on several at once, on the nodes of the Ray cluster whose head is at "
            "HOST:PORT; `local`: on this machine alone. The runs folder must be on a file system "
            "that all nodes share.",
        ),
    ] = "",
    cpus: Annotated[
        int,
        typer.Option(
            help="Processors that each takes of a node; by default one for each of its GPUs, else "
            "all of the smallest node's, so that a node works on one at a time.",
            min=0,
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="OUT",
            help="File for the picture of all runs; by default sweep.html in the runs folder. Each "
            "run also has its own.",
        ),
    ] = None,
    runs_folder: RunsFolder = DEFAULT_RUNS,
    as_json: AsJson = False,
) -> None:
    """Measure the trade-off of size against error: several sizes of one run or of several, or
    what comes of several recipes.

    Called again, it continues where it stopped.
    """
    if cpus and not ray:
        raise UsageError("--cpus only has an effect with --ray; give both")
    if out is not None:
        require_writable(out)
    if recipes := recipes_at(runs):
        if targets or recover is not None or not all(recipes_at([name]) for name in runs):
            raise UsageError(
                f"{recipes[0]} is a recipe, which has its own targets and recovery; give recipes "
                "and folders of recipes alone, without runs, --targets and --recover"
            )
        name = f"{Path(runs[0]).resolve().stem}-{PICTURE}" if len(runs) == 1 else PICTURE
        sweep_recipes(recipes, runs_folder, crew_for(ray, cpus), out or runs_folder / name, as_json)
        return
    wanted = _numbers(targets)
    found = [_find(name, runs_folder) for name in runs]
    _check(found, wanted, recover)
    # Several processes train a run together only where each run has processes of its own.
    apart = ray or any(run.recipe().runtime.devices > 1 for run in found)
    if apart and not _made_on(crew_for(ray, cpus), found, wanted, recover):
        announce("stopped; the same command continues from here")
        return
    curves: list[Sweep] = []
    try:
        _sweep_each(found, wanted, recover, curves)
    finally:  # curves that took hours are shown, whatever ended the rest
        if curves:
            _print_curves(curves, as_json)
        for page, shown in _pages(found, curves, out, runs_folder).items():
            draw(shown, page)


def _made_on(crew: "Crew", found: list[RunDir], targets: list[float], recover: int | None) -> bool:
    """Have the sizes made, several at once, before they are measured one after another."""
    from contextlib import closing

    from rich.console import Console

    from whisperslim.jobs.grid.console import ManyRuns
    from whisperslim.jobs.sizes.sweep import make_sizes

    with closing(crew), ManyRuns(Console(stderr=True)).shown() as view:
        return make_sizes(found, targets, recover, crew, view)


def _find(name: str, runs_folder: Path) -> RunDir:
    if name != LATEST:
        return find_run(name, runs_folder)
    from whisperslim.jobs.sizes.derivation import is_derived

    own = [run for run in list_runs(runs_folder) if not is_derived(run)]
    return find_run(str(own[0].path) if own else name, runs_folder)


def _numbers(text: str) -> list[float]:
    if not text:
        raise UsageError(
            "--targets is missing: the shares to remove, for example --targets 0.2,0.35,0.5. Or "
            "name recipes (*.yaml) or a folder that has some"
        )
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UsageError(
            f"--targets {text!r} is not a list of numbers; write for example 0.2,0.35,0.5"
        ) from error


def _predicted(run: RunDir, target: float, zeroed: float | None) -> "tuple[Prediction, bool]":
    """A prediction, and whether it is stored already."""
    from whisperslim.jobs.sizes.predict import predict, stored_prediction

    stored = stored_prediction(run, target, zeroed)
    return (stored, True) if stored else (predict(run, target, zeroed), False)


def _record(planned: "Replan", predicted: "Prediction | None") -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(planned), "prediction": asdict(predicted) if predicted else None}


def _print_plan(planned: "Replan", predicted: "Prediction | None") -> None:
    rows = [
        ("parameters", millions(planned.dense_parameters), millions(planned.parameters)),
        ("bytes", megabytes(planned.dense_bytes), megabytes(planned.bytes)),
        ("GFLOPs", f"{planned.dense_flops / 1e9:.3f}", f"{planned.flops / 1e9:.3f}"),
    ]
    print_table(("", "dense", "this size"), rows)
    say(
        f"\n{planned.plan.removed:.2%} of the tuned model's prunable weights removed (target "
        f"{planned.plan.target:.2%} of {planned.counted_in}), {millions(planned.zeroed)} zeroed in "
        f"place, {millions(planned.zeroed_before)} of those by training already; "
        f"planned in {planned.seconds:.2f} s\nFLOPs: {planned.workload}"
    )
    if predicted:
        say(
            f"predicted WER {predicted.wer:.2%} ({predicted.low:.2%} to {predicted.high:.2%}), "
            f"CER {predicted.cer:.2%}: right after the cut, without recovery (n={predicted.n}, "
            f"{predicted.data}, {predicted.normalizer}, {predicted.window})"
        )


def _check(found: list[RunDir], targets: list[float], recover: int | None) -> None:
    """Raise what is wrong with any of the runs before work on the first one begins."""
    from whisperslim.jobs.sizes.sweep import check_sweep

    for run in found:
        check_sweep(run, targets, recover)


def _sweep_each(
    found: list[RunDir], targets: list[float], recover: int | None, curves: "list[Sweep]"
) -> None:
    """Sweep run after run until one is stopped; each curve is added to `curves` once measured."""
    for run in found:
        curve, complete = _swept(run, targets, recover)
        curves.append(curve)
        # A stop request that comes after a run's last size was measured does not stop the other
        # runs.
        if not complete or (run is not found[-1] and run.stop_requested()):
            announce("stopped; the same command continues from here")
            return


def _swept(run: RunDir, targets: list[float], recover: int | None) -> "tuple[Sweep, bool]":
    from rich.console import Console

    from whisperslim.jobs.run.console import ConsoleView
    from whisperslim.jobs.sizes.sweep import sweep as measure_curve

    # Progress goes to stderr: stdout is for the result, which may be JSON.
    with ConsoleView(Console(stderr=True)).shown() as view:
        curve = measure_curve(run, targets, recover, view)
    measured = {point.target for point in curve.points}
    return curve, all(target in measured for target in targets)


def _pages(
    found: list[RunDir], curves: "list[Sweep]", out: Path | None, runs_folder: Path
) -> "dict[Path, list[Sweep]]":
    """File -> the curves it shows: one page per run, and one of all when there are several."""
    pages = {run.path / PICTURE: [curve] for run, curve in zip(found, curves, strict=False)}
    if len(curves) > 1 or out:
        pages[out or runs_folder / PICTURE] = curves
    return pages


def _print_curves(curves: "list[Sweep]", as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        print_json([asdict(curve) for curve in curves])
        return
    for curve in curves:
        _print_curve(curve)


def _print_curve(curve: "Sweep") -> None:
    say(
        f"{curve.run} ({curve.method}): {curve.data}; {curve.normalizer}, window {curve.window}, "
        f"{curve.recover_steps} steps of recovery; targets are shares of {curve.counted_in}"
    )
    print_table(COLUMNS, [row(point) for point in curve.points])
