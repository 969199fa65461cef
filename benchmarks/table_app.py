"""The README's tables of the app at work."""

from typing import Any

from benchmarks.table_parts import MEGA, spread, table, where


def app_page(record: dict[str, Any]) -> str:
    """What a person waits for at the page, and the app's memory."""
    cold = "{:.2f} the first time, which loads the models; then {}".format
    rows = [
        ("page load, in a browser that was never there", spread(record["page_load"], "{:.2f}")),
        (
            f"press of Record to the first slim word (the recording is silent for its first "
            f"{record['silent_at_first']:.2f} s)",
            cold(record["first_text_cold"], spread(record["first_text"], "{:.2f}")),
        ),
        (
            f"press of Compare to both texts, {record['audio_seconds']:.1f} s of speech",
            cold(record["final_pair_cold"], spread(record["final_pair"], "{:.2f}")),
        ),
    ]
    made = table(("at the page", "seconds (median, range)"), rows)
    memory = (
        f"Memory that only the app holds (unique set size, browser left out): "
        f"{record['memory_idle'] / MEGA:.0f} MB idle, {record['memory_two_models'] / MEGA:.0f} MB "
        f"after comparing with both models."
    )
    return f"{made}\n\n{record['name']} {memory} {where(record)}"


def app_load(record: dict[str, Any]) -> str:
    """Many at once, and for long."""
    rows = [
        (words, str(each["answered"]), str(each["refused"]), f"{each['median']:.2f}",
         f"{each['p95']:.2f}", f"{each['max']:.2f}")
        for words, each in (
            ("comparisons, all at one moment, worked off in turn", record["comparisons"]),
            (f"looks of {record['pollers']} pages meanwhile", record["looks"]),
        )
    ]  # fmt: skip
    header = ("asked", "answered", "refused", "median s", "p95 s", "longest s")
    made = table(header, rows)
    return f"{made}\n\n{_memory(record)} {where(record)}"


def _memory(record: dict[str, Any]) -> str:
    short = (
        f"Memory that only the app holds: {record['memory_before'] / MEGA:.0f} MB before, "
        f"{record['memory_after'] / MEGA:.0f} MB after."
    )
    by_minute = record["memory_by_minute"]
    if not by_minute:
        return f"{short} Over a longer time: not measured."
    sizes = [each["bytes"] / MEGA for each in by_minute]
    third = len(sizes) // 3 or 1
    return (
        f"{short} Over {len(sizes) - 1} minutes of comparing, {record['pause_seconds']:.0f} s "
        f"between two ({by_minute[-1]['comparisons']} comparisons): {sizes[0]:.0f} MB at first, "
        f"{sizes[third]:.0f} after a third of the time, {sizes[-1]:.0f} at the end, "
        f"{max(sizes):.0f} at most."
    )
