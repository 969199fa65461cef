"""Tables of docs/scale-out.md."""

from typing import Any

from benchmarks.tables.parts import MEGA, spread, table, where


def scale_account(record: dict[str, Any]) -> str:
    """A row for each size, and every assumption below."""
    header = (
        "size", "parameters M", "GFLOPs of a clip, forward", "compute ms of a step",
        "reduced MB of a step and GPU", "reduce ms", "hours of a pass", "checkpoint GB",
        "decoded sound read MB/s",
    )  # fmt: skip
    rows = [
        (
            size,
            f"{row['parameters'] / MEGA:.0f}",
            f"{row['flops'] / 1e9:.1f}",
            f"{1e3 * row['compute_seconds']:.1f}",
            f"{row['reduced_bytes'] / MEGA:.0f}",
            f"{1e3 * row['reduce_seconds']:.1f}",
            f"{row['hours']:.2f}",
            f"{row['checkpoint_bytes'] / 1e9:.2f}",
            f"{row['read_bytes_per_second'] / MEGA:.0f}",
        )
        for size, row in record["rows"].items()
    ]
    given = record["assumptions"]
    steps = next(iter(record["rows"].values()))["steps"]
    words = (
        f"Assumed, none of it measured: {given['hours']:g} hours in clips of "
        f"{given['clip_seconds']:g} s; {given['gpus']} GPUs with {given['clips']} clips each in a "
        f"step, so {steps:,.0f} steps a pass; {given['peak'] / 1e12:g} TFLOPS a GPU (A100, bf16, "
        f"data sheet), of which training reaches {given['used']:.0%}; a step costs "
        f"{given['passes']:g} forward passes of the model and {given['teacher']:g} of a dense "
        f"teacher; gradients of {given['gradient_bytes']} bytes are reduced in a ring, "
        f"{given['link'] / 1e9:g} GB/s from each GPU, after the work and not during it; a "
        f"checkpoint has {given['state_bytes']} bytes for each parameter; data are there in time. "
        f"The decoded recordings are {record['cache_bytes'] / 1e9:.0f} GB, "
        f"{given['sample_bytes']} bytes a sample. Operations are counted on shapes: "
        f"{record['workload']}. Command: `{record['command']}`."
    )
    return f"{table(header, rows)}\n\n{words}"


def sweep_nodes(record: dict[str, Any]) -> str:
    """Two ways to work through the same recipes."""
    names = {"one_after_another": "one after another", "two_nodes": "on two Ray nodes"}
    rows = [
        (
            names[name],
            spread(record["seconds"][name], "{:.0f}"),
            spread(record["seconds_at_work"][name], "{:.0f}"),
        )
        for name in names
    ]
    header = ("", "seconds of the command (median, range)", "seconds of the runs")
    return (
        f"{table(header, rows)}\n\n{record['runs']} runs of {record['steps']} steps of "
        f"{record['model']}; a node has {record['cores_per_node']} cores. One after another takes "
        f"{spread(record['one_over_two'], '{:.2f}')} times as long. {where(record)}"
    )
