"""Commands that give a finished run another size without training it again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
from whisperslim.jobs.run.disk import require_writable, write_text_checked
from whisperslim.jobs.run.folder import LATEST, RunDir, find_run, list_runs

if TYPE_CHECKING:
    from whisperslim.jobs.sizes.curve import Sweep, SweepPoint
    from whisperslim.jobs.sizes.predict import Prediction
    from whisperslim.jobs.sizes.replan import Replan

RUN_HELP = "A run's folder, its name, or latest: the newest that was not derived from another."
PICTURE = "sweep.html"
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
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help=RUN_HELP)],
    targets: Annotated[
        str,
        typer.Option(
            help="Shares of the prunable weights to remove, such as 0.2,0.35,0.5; of operations or "
            "time when the run counts in those."
        ),
    ],
    recover: Recover = None,
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
    """Measure the trade-off of size against error: several sizes of one run or of several.

    Called again, it continues where it stopped.
    """
    wanted = _numbers(targets)
    if out is not None:
        require_writable(out)
    found = [_find(name, runs_folder) for name in runs]
    _check(found, wanted, recover)
    curves: list[Sweep] = []
    try:
        _sweep_each(found, wanted, recover, curves)
    finally:  # curves that took hours are shown, whatever ended the rest
        if curves:
            _print_curves(curves, as_json)
        for page, shown in _pages(found, curves, out, runs_folder).items():
            _draw(shown, page)


def _find(name: str, runs_folder: Path) -> RunDir:
    if name != LATEST:
        return find_run(name, runs_folder)
    from whisperslim.jobs.sizes.derivation import is_derived

    own = [run for run in list_runs(runs_folder) if not is_derived(run)]
    return find_run(str(own[0].path) if own else name, runs_folder)


def _numbers(text: str) -> list[float]:
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
            f"{predicted.data}, {predicted.normaliser}, {predicted.window})"
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


def _draw(curves: "list[Sweep]", path: Path) -> None:
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


def _print_curves(curves: "list[Sweep]", as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        print_json([asdict(curve) for curve in curves])
        return
    for curve in curves:
        _print_curve(curve)


def _print_curve(curve: "Sweep") -> None:
    say(
        f"{curve.run} ({curve.method}): {curve.data}; {curve.normaliser}, window {curve.window}, "
        f"{curve.recover_steps} steps of recovery; targets are shares of {curve.counted_in}"
    )
    columns = ("target", "removed", "zeroed", "parameters", "bytes", "GFLOPs", "s per clip", "WER",
               "95 % interval", "CER", "n")  # fmt: skip
    print_table(columns, [_row(point) for point in curve.points])


def _row(point: "SweepPoint") -> tuple[str, ...]:
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
