"""Tables of engines: one model as each runs it, and many clients before a server."""

from typing import Any

from benchmarks.tables.parts import MEGA, sets, table, where


def engine_table(record: dict[str, Any]) -> str:
    """WER of every row on every set, with its size and its difference from the baseline."""
    names = sets(record)
    header = ("model", "parameters M", "files MB", "× smaller", *(f"WER % on {n}" for n in names))
    base = record["rows"][record["baseline"]]["bytes_on_disk"]
    rows = [
        (
            row,
            f"{values['parameters'] / MEGA:.1f}",
            f"{values['bytes_on_disk'] / MEGA:.1f}",
            f"{base / values['bytes_on_disk']:.1f}",
            *(_cell(values["sets"][name], row == record["baseline"]) for name in names),
        )
        for row, values in record["rows"].items()
    ]
    first = next(iter(record["rows"].values()))["sets"]
    facts = next(iter(first.values()))
    sizes = ", ".join(f"{name} n = {values['n']}" for name, values in first.items())
    caption = (
        f"{sizes}; normalizer {facts['normalizer']}, window {facts['window']}, "
        f"{facts['decoding']}, language {facts['language']}. "
        f"In brackets 95 % intervals; points against {record['baseline']}, with interval and p."
    )
    notes = [record["note"]] if record["note"] else []
    return "\n\n".join([caption, table(header, rows), *notes, where(record)])


def serving(record: dict[str, Any]) -> str:
    """What many clients at once got from each system behind the same server."""
    header = (
        "system", "answered", "lost", "other text than alone", "refused, tried again",
        "seconds to the answer (median, 95 %)", "seconds of speech a second", "memory MB",
    )  # fmt: skip
    rows = [
        (
            row["system"],
            str(row["answered"]),
            str(row["lost"]),
            str(row["other_text_than_alone"]),
            str(row["refused_and_tried_again"]),
            f"{row['median_seconds']:.1f}, {row['p95_seconds']:.1f}",
            f"{row['audio_seconds_per_second']:.1f}",
            f"{row['memory_bytes'] / MEGA:.0f}",
        )
        for row in record["rows"]
    ]
    about = (
        f"{record['clients']} clients at once, each of which sends {record['rounds']} of "
        f"{record['clips']} recordings ({record['audio_seconds']:.0f} s in all), one after the "
        "other. A client that is refused waits as it is told."
    )
    notes = [record["note"]] if record["note"] else []
    return "\n\n".join([table(header, rows), about, *notes, where(record)])


def _cell(values: dict[str, Any], is_baseline: bool) -> str:
    score, against = values["score"], values["against_baseline"]
    low, high = score["wer_interval_95"]
    wer = f"{100 * score['wer']:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    if is_baseline:
        return wer
    low, high = against["interval"]["low"], against["interval"]["high"]
    points = f"{100 * against['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{wer}; {points}, p {against['p_value']:.2g}"
