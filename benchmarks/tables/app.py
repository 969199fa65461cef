"""Tables of the app in use."""

from typing import Any

from benchmarks.tables.parts import MEGA, spread, table, where


def app_page(record: dict[str, Any]) -> str:
    """How long a user waits at the page, and the app's memory."""
    cold = "{:.2f} the first time, which loads the models; then {}".format
    rows = [
        ("page load, in a browser that was never there", spread(record["page_load"], "{:.2f}")),
        (
            f"press of Record to the first slim word (the recording is silent for its first "
            f"{record['silent_at_first']:.2f} s)",
            cold(record["first_text_cold"], spread(record["first_text"], "{:.2f}")),
        ),
        (
            f"press of {record.get('pair_from', 'Compare')} to both texts, "
            f"{record['audio_seconds']:.1f} s of speech",
            cold(record["final_pair_cold"], spread(record["final_pair"], "{:.2f}")),
        ),
    ]
    # Records made before these were measured have neither.
    if "first_text_dense" in record:
        dense = record["first_text_dense"]
        said = spread(dense, "{:.2f}") if dense else "none before Stop"
        rows.insert(2, ("press of Record to the first dense word", said))
    if frames := record.get("frames_per_second"):
        rows.append(("frames drawn in a second of recording", spread(frames, "{:.0f}")))
    if slow := record.get("slow_frames"):
        each = {name: 100 * slow[name] for name in ("median", "min", "max")}
        later = spread({**slow, **each}, "{:.1f}")
        rows.append(("of these more than 1/30 s after the one before, in percent", later))
    made = table(("at the page", "seconds (median, range)"), rows)
    memory = (
        f"Memory that only the app holds (unique set size, browser left out): "
        f"{record['memory_idle'] / MEGA:.0f} MB idle, {record['memory_two_models'] / MEGA:.0f} MB "
        f"after comparing with both models."
    )
    return f"{made}\n\n{record['name']} {memory} {where(record)}"


def live_latency(record: dict[str, Any]) -> str:
    """Text while speaking, without the page."""
    first, age = record["first_text_seconds"], record["staleness_seconds"]
    return (
        f"Text while speaking, recordings played in real time into the app's session, browser left "
        f"out ({record['model']}; {record['data']}, n = {record['clips']}): first text "
        f"{first['median']:.2f} s after the first voiced sample (95th percentile "
        f"{first['p95']:.2f}, most {first['max']:.2f}); afterwards the text is "
        f"{age['median']:.2f} s old (95th percentile {age['p95']:.2f}, most {age['max']:.2f}). "
        f"{where(record)}"
    )


def app_load(record: dict[str, Any]) -> str:
    """Many users at once, and for long."""
    rows = [
        (words, str(each["answered"]), str(each["refused"]), f"{each['median']:.2f}",
         f"{each['p95']:.2f}", f"{each['max']:.2f}")
        for words, each in (
            ("comparisons, all at one moment, heard together", record["comparisons"]),
            (f"looks of {record['pollers']} pages meanwhile", record["looks"]),
        )
    ]  # fmt: skip
    if alone := record.get("ten_one_after_another"):
        alone_words = "ten comparisons one after another, nobody else there"
        rows.insert(0, (alone_words, "10", "0", f"{alone:.2f} in all", "", ""))
    header = ("asked", "answered", "refused", "median s", "p95 s", "longest s")
    made = table(header, rows)
    memory = (
        f"Memory that only the app holds: {record['memory_before'] / MEGA:.0f} MB before, "
        f"{record['memory_after'] / MEGA:.0f} MB after."
    )
    return f"{made}\n\n{memory} {where(record)}"


def app_memory(record: dict[str, Any]) -> str:
    """Whether memory grows while comparisons go on."""
    by_minute = record["by_minute"]
    sizes = [each["bytes"] / MEGA for each in by_minute]
    said = f"{record['note']} " if record["note"] else ""
    return (
        f"Memory that only the app holds over {record['minutes']:g} minutes of comparing "
        f"({by_minute[-1]['comparisons']} comparisons, {record['pause_seconds']:.0f} s between "
        f"two): {sizes[0]:.0f} MB at first, {sizes[len(sizes) // 3]:.0f} after a third of the "
        f"time, {sizes[-1]:.0f} at the end, {max(sizes):.0f} at most. "
        f"{said}{where(record)}"
    )
