"""Write the tables of README.md and docs/ from the stored results; no figure is typed by hand.

python -m benchmarks.tables            rewrite the pages
python -m benchmarks.tables --check    exit 1 when a page is not what it would write

A table stands between `<!-- table:NAME -->` and `<!-- end -->`.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.shared.provenance import RESULTS
from benchmarks.tables.app import app_load, app_memory, app_page, live_latency
from benchmarks.tables.engines import engine_table, serving
from benchmarks.tables.light import light, light_install
from benchmarks.tables.methods import (
    compensation_table,
    earlier_method_table,
    head_width_table,
    interpolation_table,
    low_rank_table,
    method_step_table,
    method_table,
)
from benchmarks.tables.parts import MEGA, sets, spread, table, where
from benchmarks.tables.scale import scale_account, sweep_nodes
from benchmarks.tables.systems import ablation, headline, side_by_side

_ROOT = Path(__file__).parents[2]
PAGES = (
    _ROOT / "README.md",
    *sorted((_ROOT / "docs").glob("*.md")),
    *sorted((_ROOT / "assets" / "models").glob("*/README.md")),
)
# Tables that are made of another's record.
_MADE_OF = {"headline": "side_by_side", "light_install": "light"}


def main() -> None:
    """Rewrite or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    checking = parser.parse_args().check
    for page in PAGES:
        old = page.read_text("utf-8")
        new = filled_in(old)
        if new == old:
            continue
        if checking:
            sys.exit(1)
        page.write_text(new, "utf-8")


def filled_in(text: str) -> str:
    """A page with the block between each pair of table markers made again."""
    for name, make in TABLES.items():
        path = RESULTS / f"{_MADE_OF.get(name, name)}.json"
        body = make(json.loads(path.read_text("utf-8"))) if path.is_file() else "Not measured yet."
        pattern = rf"(<!-- table:{name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, partial(_put, body), text, flags=re.DOTALL)
    return text


def _put(body: str, match: re.Match[str]) -> str:
    return f"{match[1]}{body}\n{match[2]}"


_ARMS = {
    "stock_30s": "stock transformers, fp32, 30 s window",
    "fit_fp32": "fitted window, fp32",
    "fit_bf16": "fitted window, bf16",
    "fit_bf16_sgl": "fitted window, bf16, Sparse Group LASSO",
    # Of records made before there was bf16 on processors.
    "fit_plain": "fitted window, fp32",
    "fit_sgl": "fitted window, fp32, Sparse Group LASSO",
}
_RATIOS = {
    "stock_over_bf16": "stock / bf16",
    "fp32_over_bf16": "fitted fp32 / bf16",
    "stock_over_fit": "stock / fitted fp32",
    "sgl_over_plain": "Sparse Group LASSO / plain",
}


def _training_step(record: dict[str, Any]) -> str:
    seconds, lengths = record["seconds"], record["clips_seconds"]
    warm_up = record.get("warm_up_seconds", {})
    made = table(
        ("one step on 8 clips", "seconds (median, range)", "warm-up s"),
        [
            (
                _ARMS[name],
                spread(value, "{:.2f}"),
                f"{max(0.0, warm_up[name]):.1f}" if name in warm_up else "not measured",
            )
            for name, value in seconds.items()
        ],
    )
    ratios = "; ".join(
        f"{words}: {spread(record[name], '{:.2f}')}"
        for name, words in _RATIOS.items()
        if name in record
    )
    clips = f"Clips of {min(lengths)} to {max(lengths)} s."
    return f"{made}\n\nRatios of one round: {ratios}. {clips} {where(record)}"


def _training_memory(record: dict[str, Any]) -> str:
    rise = record["rise_after_settling"]
    level = "" if rise is None else f" It rises by {100 * rise:.1f} % after step 200."
    clips = f"{record['clips']} clips of up to {record['longest_seconds']:.0f} s"
    return (
        f"{record['steps']} steps of {record['batch_size']} clips of "
        f"{' and '.join(record['data'])} ({clips}), {record['precision']}: at most "
        f"{record['most_bytes'] / 1e9:.2f} GB are held between steps.{level} A step takes "
        f"{record['seconds_per_step']:.2f} s (median of means over ten), and "
        f"{100 * record['share_waiting']:.2f} % of the time is spent waiting for data. "
        f"{where(record)}"
    )


def _training_processes(record: dict[str, Any]) -> str:
    made = table(
        ("", "seconds per step (median, range)"),
        [
            ("one process, two threads", spread(record["seconds"]["1 process"], "{:.2f}")),
            ("two processes, a thread each", spread(record["seconds"]["2 processes"], "{:.2f}")),
        ],
    )
    return (
        f"{made}\n\nTwo processes are {record['speed_of_two']:.2f} times as fast as one, in "
        f"{record['precision']}. The sum of {record['sum_bytes'] / MEGA:.0f} MB of gradients over "
        f"both takes {spread(record['sum_seconds'], '{:.2f}')} s. {where(record)}"
    )


def _million_rows(record: dict[str, Any]) -> str:
    rows = [
        (name, f"{part['seconds']:.1f}", f"{part['cpu_seconds']:.1f}")
        for name, part in record["parts"].items()
    ]
    rows.append(("together", f"{record['seconds']:.1f}", f"{record['cpu_seconds']:.1f}"))
    made = table(("part of the start", "seconds", "of the processor"), rows)
    memory = f"at most {record['peak_memory_bytes'] / 1e9:.1f} GB of memory"
    clip = f"{1000 * record['decoding_a_clip_of_10_s']['median']:.0f} ms for a clip of 10 s"
    return (
        f"{made}\n\n{record['rows']:,} clips, {memory}. To decode all of them first, as "
        f"`data.lengths: heard` does, would take {record['hours_to_decode_all_first']:.0f} hours "
        f"more, at {clip}. {where(record)}"
    )


def _startup(record: dict[str, Any]) -> str:
    made = table(
        ("", "seconds (median, range)"),
        [
            ("`import whisperslim`", spread(record["import_whisperslim"], "{:.2f}")),
            ("`whisperslim ui` to the first answer", spread(record["app_answers"], "{:.2f}")),
        ],
    )
    return f"{made}\n\n{where(record)}"


def _quick_preset(record: dict[str, Any]) -> str:
    return (
        f"Quick preset, model already fetched: {record['seconds'] / 60:.1f} minutes, peak memory "
        f"{record['peak_memory_bytes'] / 1e9:.1f} GB ({record['memory_is']}). {where(record)}"
    )


def _recipe_table(record: dict[str, Any]) -> str:
    blocks = [_quality(record, name) for name in sets(record)]
    return "\n\n".join([*blocks, _sizes(record), record["note"], where(record)])


def _quality(record: dict[str, Any], name: str) -> str:
    header = (
        "model", "normalizer", "WER % (95 %)", "CER %", "points against baseline (95 %)", "p",
    )  # fmt: skip
    rows = []
    first: dict[str, Any] = {}
    for row, values in record["rows"].items():
        first = values["sets"][name]
        for normalizer, score in first["scores"].items():
            low, high = score["wer_interval_95"]
            wer = f"{100 * score['wer']:.1f} ({100 * low:.1f} to {100 * high:.1f})"
            against = ("", "") if row == record["baseline"] else _difference(score)
            rows.append((row, normalizer, wer, f"{100 * score['cer']:.1f}", *against))
    caption = (
        f"**{name}**: n = {first['n']}, {first['audio_seconds'] / 60:.1f} minutes, window "
        f"{first['window']}, {first['decoding']}, language {first['language']}. Baseline: "
        f"{record['baseline']}."
    )
    return f"{caption}\n\n{table(header, rows)}"


def _difference(score: dict[str, Any]) -> tuple[str, str]:
    against = score["against_baseline"]
    low, high = against["interval"]["low"], against["interval"]["high"]
    points = f"{100 * against['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return points, f"{against['p_value']:.2g}"


def _sizes(record: dict[str, Any]) -> str:
    header = (
        "model", "parameters M", "removed % of prunable / all", "zeroed % of prunable / all",
        "weights MB (format)", "GFLOPs", "seconds per clip (median, range)",
    )  # fmt: skip
    rows = []
    for row, values in record["rows"].items():
        cost = values["cost"]
        rows.append(
            (
                row,
                f"{cost['parameters'] / MEGA:.1f}",
                f"{100 * cost['removed_of_prunable']:.1f} / {100 * cost['removed_of_all']:.1f}",
                f"{100 * cost['zeroed_of_prunable']:.1f} / {100 * cost['zeroed_of_all']:.1f}",
                f"{cost['bytes_on_disk'] / MEGA:.1f} ({cost['dtype']})",
                f"{cost['flops'] / 1e9:.1f}",
                spread(record["latency"]["seconds_per_clip"][row], "{:.2f}"),
            )
        )
    latency = record["latency"]
    note = (
        f"Latency: {latency['engine']}, {latency['clips']} clips, "
        f"{latency['audio_seconds']:.0f} s of audio."
    )
    return f"{table(header, rows)}\n\n{note}"


def _scoring_shards(record: dict[str, Any]) -> str:
    names = {"shard": f"one of {record['shards']} shards", "merge": "all shards merged"}
    made = table(
        ("step", "MB beside the libraries", "processor seconds", "seconds"),
        [
            (
                names[name],
                f"{(step['peak_bytes'] - step['libraries_bytes']) / MEGA:.0f}",
                f"{step['processor_seconds']:.0f}",
                f"{step['seconds']:.0f}",
            )
            for name, step in record["steps"].items()
        ],
    )
    return f"{made}\n\n{record['rows']:,} clips, listening left out. {where(record)}"


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "headline": headline,
    "recipe_table": _recipe_table,
    "method_table": earlier_method_table,
    "method_table_hindi": earlier_method_table,
    "method_table_fair": method_table,
    "method_step": method_step_table,
    "compensation": compensation_table,
    "head_width": head_width_table,
    "low_rank": low_rank_table,
    "interpolation": interpolation_table,
    "side_by_side": side_by_side,
    "ablation": ablation,
    "engine_table": engine_table,
    "boxed_model": engine_table,
    "serving": serving,
    "light": light,
    "light_install": light_install,
    "scoring_shards": _scoring_shards,
    "training_step": _training_step,
    "training_memory": _training_memory,
    "training_processes": _training_processes,
    "million_rows": _million_rows,
    "quick_preset": _quick_preset,
    "startup": _startup,
    "scale_account": scale_account,
    "sweep_nodes": sweep_nodes,
    "live_latency": live_latency,
    "app_page": app_page,
    "app_load": app_load,
    "app_memory": app_memory,
    "app_memory_close": app_memory,
}
