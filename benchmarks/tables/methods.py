"""Tables of every method: the grid, and what compression takes."""

import json
from collections.abc import Sequence
from typing import Any

from benchmarks.shared.provenance import RESULTS
from benchmarks.tables.parts import MEGA, sets, spread, table, where

_EARLIER = "Earlier grid, unequal learning rates: the rows are not like for like."
_TIMES = "Minutes of compression are those of the table below, not of these runs."


def method_table(record: dict[str, Any]) -> str:
    """One line a run: the language's own normalizer only, which the caption names."""
    minutes = _minutes(record)
    names = sets(record)
    header = (
        "method", "target", "seed", *(f"WER % on {name} (95 %), p" for name in names),
        "removed / zeroed % of prunable", "parameters M", "weights MB (format)", "GFLOPs",
        "s per clip (median)",
        "compression min",
    )  # fmt: skip
    rows = [
        _method_row(row, values, names, record, minutes) for row, values in record["rows"].items()
    ]
    scored = next(iter(record["rows"].values()))["sets"]
    normalizer = list(scored[names[0]]["scores"])[-1]
    sizes = ", ".join(f"{name} n = {scored[name]['n']}" for name in names)
    missing = f" {_not_run(record['missing'])}." if record["missing"] else ""
    minutes_from = f" {_TIMES}" if minutes else ""
    caption = (
        f"{sizes}; normalizer {normalizer}, window {scored[names[0]]['window']}, "
        f"{scored[names[0]]['decoding']}. Every row {record['updates']} updates of "
        f"{record['batch_size']} clips of {', '.join(record['train'])} from the same tuned dense "
        f"model; p against the {record['baseline']} of the same seed. Targets are shares of the "
        f"prunable weights.{minutes_from}{missing} {record['note']}{_made_on(record)}"
    )
    return f"{caption}\n\n{table(header, rows)}\n\n{where(record)}"


def _made_on(record: dict[str, Any]) -> str:
    """The processors of a grid that was made on several."""
    made = {row["made"]["processor"] for row in record["rows"].values() if "made" in row}
    return f" Rows were made on: {'; '.join(sorted(made))}." if len(made) > 1 else ""


def earlier_method_table(record: dict[str, Any]) -> str:
    """A grid of before all rows followed one schedule, labeled as such."""
    return f"{_EARLIER} {method_table(record)}"


def _not_run(missing: Sequence[str]) -> str:
    """Rows such as `SGL 35%, seed 0`, those of one size and seed together."""
    together: dict[str, list[str]] = {}
    for row in missing:
        name, _, seed = row.rpartition(", seed ")
        label, _, size = name.rpartition(" ")
        if not size.endswith("%"):  # the dense model has no target
            label, size = name, "full size"
        together.setdefault(f"{size}, seed {seed}", []).append(label)
    return "Not run: " + "; ".join(
        f"at {size}: {' · '.join(labels)}" for size, labels in together.items()
    )


def _method_row(
    row: str, values: dict[str, Any], names: Sequence[str], record: dict[str, Any],
    minutes: dict[str, Any],
) -> tuple[str, ...]:  # fmt: skip
    cost, timed = values["cost"], record["latency"]["seconds_per_clip"]
    return (
        values["label"],
        f"{values['target']:.0%}" if values["target"] else "",
        str(values["seed"]),
        *(_wer_cell(values["sets"][name], values["label"] == record["baseline"]) for name in names),
        f"{100 * cost['removed_of_prunable']:.1f} / {100 * cost['zeroed_of_prunable']:.1f}",
        f"{cost['parameters'] / MEGA:.1f}",
        f"{cost['bytes_on_disk'] / MEGA:.1f} ({cost['dtype']})",
        f"{cost['flops'] / 1e9:.1f}",
        f"{timed[row]['median']:.2f}" if row in timed else "not measured",
        f"{minutes[values['label']]['median']:.1f}"
        if values["label"] in minutes
        else "not measured",
    )


def _wer_cell(result: dict[str, Any], is_baseline: bool) -> str:
    score = list(result["scores"].values())[-1]
    low, high = score["wer_interval_95"]
    cell = f"{100 * score['wer']:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    return cell if is_baseline else f"{cell}, {score['against_baseline']['p_value']:.2g}"


def method_step_table(record: dict[str, Any]) -> str:
    """Seconds of one update, minutes of compression, and how the gates' compare."""
    steps = table(
        ("one update", "seconds (median, range)"),
        [(name, spread(own, "{:.2f}")) for name, own in record["seconds"].items()],
    )
    ends = record["plan_and_cut_seconds"]
    wholes = table(
        ("method", "plan and cut, s", f"minutes of {record['updates']} updates, plan and cut"),
        [
            (name, spread(ends[name], "{:.2f}") if name in ends else "", spread(own, "{:.2f}"))
            for name, own in record["minutes"].items()
        ],
    )
    ratios = "; ".join(f"{name}: {spread(own, '{:.2f}')}" for name, own in record["ratios"].items())
    lengths = record["clips_seconds"]
    rounds = next(iter(record["seconds"].values()))["runs"]
    caption = (
        f"Updates of {record['batch_size']} clips of {min(lengths)} to {max(lengths)} s, "
        f"{rounds} rounds in which every arm has its turn. Minutes add up half of the updates with "
        "the method at work and half as they are after its decision: recovery of the cut model for "
        "SGL and L0, settled masks for the gates, fixed masks for IMP. This is about time alone: "
        "it says nothing of the learning rates these updates had. All but plain learn from the "
        "dense model, L0 and its recovery from its hidden states too. Ratios of minutes within a "
        f"round: {ratios}."
    )
    return f"{caption}\n\n{steps}\n\n{wholes}\n\n{where(record)}"


def compensation_table(record: dict[str, Any]) -> str:
    """Token losses of the same cuts as they are and fitted, before anything is trained."""
    rows = [
        (
            f"{row['target']:.0%}", row["set"],
            *(f"{row[name]:.3f}" for name in ("dense", "cut", "fitted")),
            f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})",
        )
        for row in record["rows"]
    ]  # fmt: skip
    header = (
        "removed", "set", "dense", "cut", "cut and fitted", "fitted - cut, per token (95 %)",
    )  # fmt: skip
    sizes = ", ".join(f"{name} n = {each['n']}" for name, each in record["sets"].items())
    caption = (
        f"Loss per token of the transcript, nothing trained after the cut: {sizes}; window "
        f"{record['window']}; fitted on {record['clips']} training clips. One tuned model, one "
        f"plan of `{record['method']}` for each size; intervals by bootstrap over clips."
    )
    return f"{caption}\n\n{table(header, rows)}\n\n{where(record['provenance'])}"


def head_width_table(record: dict[str, Any]) -> str:
    """Token losses with narrower heads, alone and with units cut, before anything is trained."""
    alone = [
        (f"{row['mean']:g}", f"{row['removed']:.1%}", *_against_dense(row))
        for row in record["heads"]
    ]
    both = [
        (
            f"{row['mean']:g}" if row["mean"] else "as they are",
            f"{row['removed']:.1%}",
            *_against_dense(row),
        )
        for row in record["heads_and_units"]
    ]
    header = ("removed in all", "set", "dense", "slim", "slim - dense, per token (95 %)")
    sizes = ", ".join(f"{name} n = {each['n']}" for name, each in record["sets"].items())
    clips = record["clips"]
    caption = (
        f"Loss per token of the transcript, nothing trained: {sizes}; window {record['window']}; "
        f"heads fitted on {clips['heads']} training clips, units by Fisher information per weight, "
        f"of {clips['units']} clips, and least squares. One tuned model; intervals by bootstrap "
        "over clips. Heads alone:"
    )
    return "\n\n".join(
        (
            caption,
            table(("mean width", *header), alone),
            "Heads and units, to equal shares in all:",
            table(("mean width", *header), both),
            where(record["provenance"]),
        )
    )


def low_rank_table(record: dict[str, Any]) -> str:
    """Token losses of layers of two matrices and of fewer units, at equal weights."""
    rows = [
        (
            f"{row['target']:.0%}", row["set"],
            *(f"{loss:.3f}" for loss in (
                row["dense"], row["fisher"]["loss"], row["low_rank"]["loss"],
            )),
            f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})",
            *(f"{row[name]['operations']:.0%}" for name in ("fisher", "low_rank")),
            f"{row['low_rank']['layers_of_two']}",
        )
        for row in record["rows"]
    ]  # fmt: skip
    header = (
        "removed", "set", "dense", "fewer units", "low rank",
        "low rank - fewer units, per token (95 %)", "operations, fewer units",
        "operations, low rank", "layers of two matrices",
    )  # fmt: skip
    sizes = ", ".join(f"{name} n = {each['n']}" for name, each in record["sets"].items())
    clips = record["clips"]
    caption = (
        f"Loss per token of the transcript, nothing trained: {sizes}; window {record['window']}; "
        "units and components by Fisher information per weight, of "
        f"{clips['information']} training clips; what `fisher` leaves is fitted, and components "
        f"found, on {clips['fit']} of them. Operations of 5 s of speech, as a share of the "
        "dense model's. One tuned model; intervals by bootstrap over clips."
    )
    return f"{caption}\n\n{table(header, rows)}\n\n{where(record['provenance'])}"


def interpolation_table(record: dict[str, Any]) -> str:
    """Word errors of each model by the share of the way to its tuned weights."""
    names = sets(record)
    rows = [
        (values["label"], f"{values['share']:g}", *(_moved(values["sets"][n]) for n in names))
        for values in record["rows"].values()
    ]
    scored = next(iter(record["rows"].values()))["sets"]
    first = scored[names[0]]
    sizes = ", ".join(f"{name} n = {scored[name]['n']}" for name in names)
    caption = (
        f"{sizes}; normalizer {list(first['scores'])[-1]}, window {first['window']}, "
        f"{first['decoding']}. The models that came with the project at {record['commit']}, in "
        "float32, with the weights of their 8-bit files; p against the same model at share 1. All "
        "shares are shown, so the score of the best one is a little too good."
    )
    header = ("model", "share of the way", *(f"WER % on {name} (95 %), p" for name in names))
    return f"{caption}\n\n{table(header, rows)}\n\n{where(record)}"


def _moved(scored: dict[str, Any]) -> str:
    own = list(scored["scores"].values())[-1]
    low, high = own["wer_interval_95"]
    against = own["against_baseline"]
    p = f", {against['p_value']:.2g}" if against["differing"] else ""
    return f"{own['wer'] * 100:.1f} ({low * 100:.1f} to {high * 100:.1f}){p}"


def _against_dense(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["set"], f"{row['dense']:.3f}", f"{row['slim']:.3f}",
        f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})",
    )  # fmt: skip


def _minutes(record: dict[str, Any]) -> dict[str, Any]:
    """Label -> minutes of compression, when measured for as many updates, clips and tokens."""
    path = RESULTS / "method_step.json"
    if record.get("languages") or not path.is_file():
        return {}
    found = json.loads(path.read_text("utf-8"))
    alike = all(found[name] == record[name] for name in ("updates", "batch_size"))
    return dict(found["minutes"]) if alike else {}
