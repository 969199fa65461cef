"""Every method at several sizes: same start, same data, same number of updates, same scoring.

    python -m benchmarks.method_table --dense RUN --train PATH/hi_prompts#train \\
        --dev PATH/hi_prompts#dev --data PATH/hi_prompts#test --runs FOLDER --targets 0.5

RUN is the run of a tuned dense model. Each cell is an ordinary run in FOLDER: one that is finished
is not done again, one that was broken off is continued. The dense row gets as many more updates as
the methods do, and every other run learns from the same teacher, the tuned dense model.

The learning rate after the last decision matters much (Renda et al., arXiv 2003.02389), so every
row follows one schedule: the tune stage at the full rate, in which the method acts or, for a single
cut, plain tuning; the decision at its end; then recovery from the full rate again, linearly down to
zero. Layer drop alone decides at the start.

The grid takes days of two cores, so it may be made in pieces and on several computers: with `--add`
rows that the stored record has are not made again, and new ones join them. They must begin with the
same weights (`python -m benchmarks.training.boxed_start` writes such a start from the files of the
project) and have had the same clips and updates. A new row is compared with the stored dense row,
clip by clip.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.shared.provenance import RESULTS, provenance, write_result
from benchmarks.shared.runs import compression_seconds, finished, make, own_values, run_name
from benchmarks.shared.scoring import (
    latency,
    row_record,
    score,
    short,
    stored_scores,
    utterances,
)
from whisperslim.core.fetch.sources import resolve
from whisperslim.core.loading import load_model
from whisperslim.jobs.recipe.recipe import load_recipe, to_yaml, with_values
from whisperslim.jobs.run.folder import RunDir
from whisperslim.speech.audio.window import parse_window
from whisperslim.speech.corpus.dataset import load_items

DENSE = "dense tuned"


@dataclass(frozen=True)
class Entry:
    """A row of the table.

    Attributes:
        values: Dotted recipe values beside those all rows share.
        elements: Whether the target is zeroed elements; else removed units.
    """

    values: Mapping[str, Any]
    elements: bool = False


# Rates below are for a learning rate of 1e-4, and are scaled for another one.
_REFERENCE_RATE = 1e-4
_PER_RATE = frozenset({"method.threshold_rate", "method.rate_factor"})

ENTRIES: dict[str, Entry] = {
    "SGL": Entry({"method.name": "sgl", "method.strength": "solved"}),
    "gates, units": Entry(
        {
            "method.name": "self_pinching",
            "method.granularity": "units",
            "method.importance": "fisher",
            "method.importance_every": 2,
            "method.begin": 0.05,
            "method.unit_tau_factor": 0.1,
            "method.threshold_rate": 60.0,
            "method.settle": 0.0,
        },
    ),
    "IMP": Entry(
        {
            "method.name": "imp",
            "method.importance": "fisher",
            "method.importance_every": 2,
            "method.settle": 1.0,
        },
    ),
    "one-shot, Fisher": Entry(
        {"method.name": "one_shot", "method.importance": "fisher", "method.begin": 1.0},
    ),
    "L0 + distillation": Entry(
        {
            "method.name": "l0_distill",
            "method.rate_factor": 2500.0,
            "method.settle": 0.0,
            "distill.hidden_weight": 1.0,
        }
    ),
    "gates, elements": Entry(
        {
            "method.name": "self_pinching",
            "method.granularity": "elements",
            "method.threshold_rate": 60.0,
            "method.settle": 0.0,
        },
        elements=True,
    ),
    "layer drop": Entry({"method.name": "layer_drop"}),
    "one-shot": Entry({"method.name": "one_shot", "method.begin": 1.0}),
    "random": Entry({"method.name": "random", "method.begin": 1.0}),
    "IMP, elements": Entry({"method.name": "imp", "method.settle": 1.0}, elements=True),
}

# What is run by default: the cheapest way to see what each method achieves. Dense rows of each seed
# come first, as everything is compared with them.
PLAN: tuple[tuple[str, float, int], ...] = (
    *((label, 0.5, 0) for label in ("one-shot, Fisher", "SGL", "gates, units", "IMP")),
    ("L0 + distillation", 0.5, 0),
    ("gates, elements", 0.5, 0),
    *((label, 0.35, 0) for label in ("one-shot, Fisher", "SGL", "gates, units", "IMP")),
    *((label, 0.65, 0) for label in ("one-shot, Fisher", "SGL", "gates, units", "IMP")),
    ("L0 + distillation", 0.35, 0),
    *((label, 0.5, 1) for label in ("one-shot, Fisher", "SGL", "gates, units", "IMP")),
    *((label, 0.5, 0) for label in ("random", "one-shot", "layer drop")),
)


@dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    label: str
    target: float
    seed: int

    @property
    def row(self) -> str:
        """How the table names it."""
        if self.label == DENSE:
            return f"{DENSE}, seed {self.seed}"
        return f"{self.label} {self.target:.0%}, seed {self.seed}"

    @property
    def run_name(self) -> str:
        """The name of its run."""
        return run_name(self.row)


def main(given: Sequence[str] | None = None) -> None:
    """Run the grid, score it, store it; `given` stands in for the command line."""
    arguments = _arguments(given)
    earlier = _earlier(arguments) if arguments.add else {}
    cells = [cell for cell in _cells(arguments) if cell.row not in earlier.get("rows", {})]
    if not arguments.score_only:
        with ThreadPoolExecutor(arguments.parallel) as pool:
            list(
                pool.map(
                    lambda cell: make(cell.row, _recipe(cell, arguments), arguments.runs), cells
                )
            )
    done = {
        cell: run for cell in cells if (run := finished(cell.run_name, arguments.runs)) is not None
    }
    print(write_result(arguments.out, _record(done, cells, arguments, earlier)))


def _cells(arguments: argparse.Namespace) -> Iterator[Cell]:
    chosen = [
        Cell(*place)
        for place in arguments.cell or PLAN
        if (not arguments.only or place[0] in arguments.only)
        and (not arguments.targets or place[1] in arguments.targets)
        and (not arguments.seeds or place[2] in arguments.seeds)
    ]
    for seed in sorted({cell.seed for cell in chosen}):
        yield Cell(DENSE, 0.0, seed)
        yield from (cell for cell in chosen if cell.seed == seed)


def _recipe(cell: Cell, arguments: argparse.Namespace) -> str:
    entry = ENTRIES.get(cell.label, Entry({"method.name": "none"}))
    shared = {
        "name": cell.run_name,
        "model": arguments.dense,
        "distill.teacher": "" if cell.label == DENSE else "dense",
        "target.removed": 0.0 if entry.elements else cell.target,
        "target.zeroed": cell.target if entry.elements else 0.0,
        "data.train": tuple(arguments.train),
        "data.dev": tuple(arguments.dev),
        "data.test": (),
        "data.on_problem": "skip",
        "data.max_seconds": arguments.max_seconds,
        "augment.spec_augment": True,
        "augment.speed": True,
        "train.freeze_embeddings": False,
        "recover.freeze_embeddings": False,
        "vocabulary.languages": tuple(arguments.languages),
        "prepare.steps": 0,
        "train.steps": arguments.tune_steps,
        "train.schedule": "constant",
        "recover.steps": arguments.recover_steps,
        "recover.schedule": "linear",
        "interpolate.prepared": 1.0,
        "interpolate.result": 1.0,
        "export.dtype": "float32",
        "runtime.threads": arguments.threads,
        "runtime.seed": cell.seed,
    }
    stage = {
        "batch_size": arguments.batch_size,
        "learning_rate": arguments.learning_rate,
        "warmup_steps": 10,
        "evaluate_every": 0,
        "checkpoint_every": 40,
    }
    stages = {f"{part}.{k}": v for part in ("train", "recover") for k, v in stage.items()}
    # The method first: it decides which of its options exist.
    recipe = load_recipe(
        "sgl-hindi", [f"method.name={entry.values['method.name']}", "target.removed=0",
                      "target.zeroed=0"],
    )  # fmt: skip
    scale = _REFERENCE_RATE / arguments.learning_rate
    own = {k: v * scale if k in _PER_RATE else v for k, v in entry.values.items()}
    if cell.label == "random":
        own["method.seed"] = cell.seed
    return to_yaml(with_values(recipe, {**shared, **stages, **own}))


def _earlier(arguments: argparse.Namespace) -> dict[str, Any]:
    """The stored record, when its rows are of the same grid. Exits with what differs."""
    path = RESULTS / f"{arguments.out}.json"
    record: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    if not record:
        return {}
    now = _grid(arguments)
    other = [f"{name}: {record.get(name)} is not {now[name]}" for name in now
             if record.get(name) != now[name]]  # fmt: skip
    if other:
        raise SystemExit(f"{path.name} is of another grid: {'; '.join(other)}")
    return record


def _grid(arguments: argparse.Namespace) -> dict[str, Any]:
    """What all rows of a table have in common."""
    return {
        "start_sha256": resolve(arguments.dense).weights_sha256,
        "updates": arguments.tune_steps + arguments.recover_steps,
        "train": [short(source) for source in arguments.train],
        "max_seconds": arguments.max_seconds,
        "batch_size": arguments.batch_size,
        "learning_rate": arguments.learning_rate,
        "languages": arguments.languages,
        "sets": [short(source) for source in arguments.data],
    }


def _record(
    done: Mapping[Cell, RunDir],
    cells: list[Cell],
    arguments: argparse.Namespace,
    earlier: Mapping[str, Any],
) -> dict[str, Any]:
    torch.set_num_threads(arguments.threads)
    sets = {short(source): load_items(source) for source in arguments.data}
    window = parse_window("fit")
    models = {cell.row: load_model(str(run.slim_path)) for cell, run in done.items()}
    with ThreadPoolExecutor(arguments.parallel) as pool:
        scored = pool.map(lambda row: score(row, models[row], sets, "hi", window), models)
        results = dict(zip(models, scored, strict=True))
    before = earlier.get("rows", {})
    scores = {row: {name: each.scores for name, each in own.items()}
              for row, own in results.items()}  # fmt: skip
    scores |= {row: stored_scores(values) for row, values in before.items()
               if values["label"] == DENSE}  # fmt: skip
    here = provenance(arguments.threads)
    made = {name: here[name] for name in ("date", "processor", "commit", "threads")}
    rows = {}
    for cell, run in done.items():
        rows[cell.row] = {
            "label": cell.label,
            "target": cell.target,
            "seed": cell.seed,
            "compression_seconds": compression_seconds(run),
            "recipe": own_values(run, DENSE),
            "made": made,
            **row_record(
                cell.row,
                models[cell.row],
                results[cell.row],
                scores[Cell(DENSE, 0.0, cell.seed).row],
            ),
        }
        if cell.label == DENSE:
            rows[cell.row]["utterances"] = utterances(results[cell.row])
    every = [item for items in sets.values() for item in items]
    return {
        "what": "WER, size, speed and time of compression of every method",
        "baseline": DENSE,
        **_grid(arguments),
        "note": arguments.note,
        "missing": [cell.row for cell in cells if cell not in done],
        "rows": _in_order({**before, **rows}),
        "latency": latency(models, every, arguments.latency_clips, "hi", window),
        **here,
    }


def _in_order(rows: Mapping[str, Any]) -> dict[str, Any]:
    """Dense rows first, then as planned; what is not planned comes last, as it is."""
    order = [Cell(DENSE, 0.0, seed).row for seed in (0, 1)] + [Cell(*place).row for place in PLAN]
    known = {row: place for place, row in enumerate(order)}
    return dict(sorted(rows.items(), key=lambda item: known.get(item[0], len(order))))


def _cell(words: Sequence[str]) -> tuple[str, float, int]:
    label, target, seed = words
    if label not in ENTRIES:
        raise SystemExit(f"{label!r} is no row; choose one of: {', '.join(ENTRIES)}")
    return label, float(target), int(seed)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dense", required=True, help="run or folder of the tuned dense model")
    for name in ("train", "dev", "data"):
        parser.add_argument(f"--{name}", action="append", required=True, metavar="PATH[#SPLIT]")
    parser.add_argument("--runs", type=Path, required=True, help="folder the grid's runs live in")
    parser.add_argument(
        "--languages", nargs="*", default=["hi"], help="keep the tokens of these alone; [] is all"
    )
    parser.add_argument("--targets", type=float, nargs="+", help="of those planned; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", help="of those planned; all by default")
    parser.add_argument(
        "--cell",
        nargs=3,
        action="append",
        metavar=("ROW", "TARGET", "SEED"),
        default=[],
        help="cells to run in place of those planned",
    )
    parser.add_argument("--only", nargs="+", choices=tuple(ENTRIES), help="rows; all by default")
    parser.add_argument("--tune-steps", type=int, default=100)
    parser.add_argument("--recover-steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--max-seconds", type=float, default=12.0)
    parser.add_argument("--latency-clips", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parallel", type=int, default=1, help="runs, and models scored, at once")
    parser.add_argument("--score-only", action="store_true", help="run nothing, score what is done")
    parser.add_argument(
        "--add", action="store_true", help="to the rows that the stored record has already"
    )
    parser.add_argument("--out", default="method_table")
    parser.add_argument("--note", default="", help="free text stored with the record")
    arguments = parser.parse_args(given)
    arguments.cell = [_cell(words) for words in arguments.cell]
    return arguments


if __name__ == "__main__":
    main()
