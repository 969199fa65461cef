"""The tables of `benchmarks.systems`, from the stored records."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.systems.measuring import ratio
from benchmarks.systems.recordings import ALL_SHORT, LENGTHS
from benchmarks.tables.parts import MEGA, spread, table

# Rows of the headline table beside the baseline, where the record has them.
_DENSE_PEERS = ("faster-whisper float32, dense", "faster-whisper int8, dense")
_SLIM = ("ONNX int8, slim", "ONNX int4, slim")


def side_by_side(record: dict[str, Any]) -> str:
    """All short recordings; folded up, a table for each length class; then what is missing."""
    first, *others = (_block(name, values, record) for name, values in record["classes"].items())
    lengths = "\n\n".join(["<details><summary>By length</summary>", *others, "</details>"])
    return "\n\n".join([first, lengths, _notes(record)])


def headline(record: dict[str, Any]) -> str:
    """A few rows of `side_by_side`; factors are against the fastest dense system among them."""
    values = record["classes"][ALL_SHORT]
    rows, systems = values["rows"], record["systems"]
    both = record.get("both_ways", [record["baseline"]])
    dense = [label for label in (*both, *_DENSE_PEERS) if label in rows]
    fastest = min(dense, key=lambda label: float(rows[label]["real_time_factor"]))
    clips = [clip for clip in record["clips"] if clip["length"] in LENGTHS]
    slow = _clip_seconds(clips, fastest)
    header = ("system", "weights MB", "peak memory MB", "s per clip (median, range)",
              f"× {fastest} (95 %)", "WER % (95 %), p")  # fmt: skip
    lines = [
        (
            label,
            f"{systems[label]['bytes_on_disk'] / MEGA:.1f}",
            f"{systems[label]['peak_memory_bytes'] / MEGA:.0f}",
            spread(rows[label]["seconds_per_clip"], "{:.2f}"),
            "" if label == fastest else _ratio(ratio(slow, _clip_seconds(clips, label))),
            _wer(rows[label], label == record["baseline"]),
        )
        for label in (*dense, *(label for label in _SLIM if label in rows))
    ]
    windows = "; ".join(f"{line[0]}: {systems[line[0]]['describe']}" for line in lines)
    sets = sorted({clip["name"].partition("/")[0] for clip in clips})
    caption = (
        f"{' and '.join(sets)}, recordings {ALL_SHORT}: n = {values['n']}, "
        f"{values['audio_seconds'] / 60:.1f} minutes; normalizer {values['normalizer']}; "
        f"{record['decoding']}; p of the WER against {record['baseline']}. Windows: {windows}. "
        f"{record['note']} {record['threads']} threads on {record['cores']} cores of "
        f"{record['processor']}."
    )
    return f"{table(header, lines)}\n\n{caption}"


def _clip_seconds(clips: Sequence[Mapping[str, Any]], label: str) -> np.ndarray:
    return np.array([np.median(clip["times"][label]) for clip in clips])


def ablation(record: dict[str, Any]) -> str:
    """A row for each change, against the row before and against the first."""
    values = record["classes"][ALL_SHORT]
    labels = list(values["rows"])
    header = ("", "s per clip (median, range)", "× the row before", f"× {labels[0]} (95 %)",
              "weights MB", "peak memory MB", "WER % (95 %), p")  # fmt: skip
    rows = []
    for before, label in zip([None, *labels], labels, strict=False):
        row, system = values["rows"][label], record["systems"][label]
        factor = row["faster_than"][before]["ratio"] if before else None
        rows.append(
            (
                label if before is None else f"+ {label}",
                spread(row["seconds_per_clip"], "{:.3f}"),
                f"{factor:.2f}" if factor else "",
                _ratio(row["faster_than"][labels[0]]) if before else "",
                f"{system['bytes_on_disk'] / MEGA:.1f}",
                f"{system['peak_memory_bytes'] / MEGA:.0f}",
                _wer(row, label == record["baseline"]),
            )
        )
    return f"{_caption(ALL_SHORT, values, record)}\n\n{table(header, rows)}\n\n{_notes(record)}"


def _block(name: str, values: dict[str, Any], record: dict[str, Any]) -> str:
    others = _beside(values, record)
    header = (
        "system", "s per clip (median, range)", "real-time factor",
        *(f"× {label} ({words}95 %)" for label, words in others.items()), "first token s",
        "tokens/s", "peak memory MB", "weights MB", "WER % (95 %), p",
    )  # fmt: skip
    rows = []
    for label, row in values["rows"].items():
        system, first = record["systems"][label], row["first_token_seconds"]
        rows.append(
            (
                label,
                spread(row["seconds_per_clip"], "{:.3f}"),
                f"{row['real_time_factor']:.3f}",
                *("" if other == label else _ratio(row["faster_than"][other]) for other in others),
                "not reported" if first is None else f"{first:.3f}",
                f"{row['tokens_per_second']:.0f}",
                f"{system['peak_memory_bytes'] / MEGA:.0f}",
                f"{system['bytes_on_disk'] / MEGA:.1f}",
                _wer(row, label == record["baseline"]),
            )
        )
    return f"{_caption(name, values, record)}\n\n{table(header, rows)}"


def _beside(values: dict[str, Any], record: dict[str, Any]) -> dict[str, str]:
    """Systems that factors are against, and what to say of them.

    Of a system that is given with both libraries for its products, the one that is faster here.
    Records of before both were measured have stock alone.
    """
    rows = values["rows"]
    pair = record.get("both_ways", [record["baseline"]])
    ran = [label for label in pair if label in rows]
    words = {label: "" for label in record["faster_than"] if label in rows and label not in ran}
    if not ran:
        return words
    fastest = min(ran, key=lambda label: float(rows[label]["real_time_factor"]))
    return {fastest: "the faster of two, " if len(ran) > 1 else "stock only, ", **words}


def _caption(name: str, values: dict[str, Any], record: dict[str, Any]) -> str:
    each = f", each {values['repeats']} times" if values["repeats"] > 1 else ""
    return (
        f"**{name}**: n = {values['n']}{each}, {values['audio_seconds'] / 60:.1f} minutes; "
        f"normalizer {values['normalizer']}; p against {record['baseline']}."
    )


def _notes(record: dict[str, Any]) -> str:
    same = "; ".join(f"{label}: {each['describe']}" for label, each in record["systems"].items())
    missing = "".join(f" Not run: {label} ({why})." for label, why in record["missing"].items())
    peers = ", ".join(f"{name} {found}" for name, found in record["peers"].items())
    packages = record["packages"]
    return (
        f"{record['decoding']}. {same}.{missing} Factors are of total times, paired bootstrap over "
        f"recordings. Peak memory is that of the system's process, loading included. "
        f"{record['note']} Measured with {record['threads']} threads on {record['cores']} cores of "
        f"{record['processor']}, torch {packages['torch']}, transformers "
        f"{packages['transformers']}, ctranslate2 {packages['ctranslate2']}, {peers}; command: "
        f"`{record['command']}`."
    )


def _wer(row: dict[str, Any], is_baseline: bool) -> str:
    low, high = row["wer_interval_95"]
    cell = f"{100 * row['wer']:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    against = row["against_baseline"]
    # One recording has no interval and no test.
    if against is not None and against["n"] < 2:
        return f"{100 * row['wer']:.1f}"
    return cell if is_baseline or against is None else f"{cell}, {against['p_value']:.2g}"


def _ratio(value: dict[str, float]) -> str:
    if value["n"] < 2:
        return f"{value['ratio']:.1f}"
    return f"{value['ratio']:.1f} ({value['low']:.1f} to {value['high']:.1f})"
