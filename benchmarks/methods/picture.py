"""Draw the stored grid of methods: error against what each model costs.

    python -m benchmarks.methods.picture [--set NAME] [--png FILE]

Writes `benchmarks/results/method_table.html`; with --png also a picture of it, by Chromium.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from plotly import graph_objects as go
from plotly.subplots import make_subplots

from benchmarks.shared.provenance import RESULTS

COLORS = (
    "#0f766e", "#b45309", "#4338ca", "#be123c", "#4d7c0f",
    "#0369a1", "#7e22ce", "#57534e", "#ec4899", "#111827", "#eab308",
)  # fmt: skip
BROWSER = "/usr/bin/chromium"
_WIDTH, _HEIGHT = 1200, 520
_HIGHEST = 100.0  # % of WER; beyond, nothing of what was said is left


def main() -> None:
    """Draw what `method_table` stored."""
    arguments = _arguments()
    record = json.loads((RESULTS / f"{arguments.table}.json").read_text("utf-8"))
    made = picture(record, arguments.set)
    page = RESULTS / f"{arguments.table}.html"
    made.write_html(page, include_plotlyjs="cdn" if not arguments.png else True)
    if arguments.png:
        _photograph(page, arguments.png)
        # The page with plotly inside was for the browser only: it is five megabytes.
        page.unlink()


def picture(record: dict[str, Any], name: str = "") -> go.Figure:
    """WER with its 95 % interval against parameters, operations and seconds per clip."""
    rows = record["rows"]
    sets = next(iter(rows.values()))["sets"]
    name = name or next(iter(sets))
    first = sets[name]
    axes = ("parameters, M", "GFLOPs", "seconds per clip")
    made = make_subplots(1, 3, shared_yaxes=True, horizontal_spacing=0.04, x_title="")
    labels = list(dict.fromkeys(values["label"] for values in rows.values()))
    for label, color in zip(labels, cycle(COLORS), strict=False):
        own = {row: values for row, values in rows.items() if values["label"] == label}
        for column, values in enumerate(_costs(own, record), start=1):
            made.add_trace(_points(label, color, own, values, name, column == 1), 1, column)
    for column, title in enumerate(axes, start=1):
        made.update_xaxes(title_text=title, row=1, col=column, gridcolor="#e5e7eb")
    beyond = _beyond(rows, name)
    made.update_yaxes(gridcolor="#e5e7eb", rangemode="tozero")
    if beyond:
        made.update_yaxes(range=[0, _HIGHEST])
    made.update_yaxes(title_text="WER, %", row=1, col=1)
    normalizer = list(first["scores"])[-1]
    made.update_layout(
        title={
            "text": f"{name}, n = {first['n']}; normalizer {normalizer}, window {first['window']}; "
            f"{record['updates']} updates of {record['batch_size']} clips each; bars: 95 %"
            f"{beyond}",
            "font": {"size": 14},
        },
        width=_WIDTH, height=_HEIGHT, plot_bgcolor="white", margin={"t": 60, "r": 20},
    )  # fmt: skip
    return made


def _beyond(rows: dict[str, Any], name: str) -> str:
    """A line naming what is too wrong for the picture; empty when all of it fits."""
    wer = {
        row: 100 * list(values["sets"][name]["scores"].values())[-1]["wer"]
        for row, values in rows.items()
    }
    found = [f"{row} ({value:.0f} %)" for row, value in wer.items() if value > _HIGHEST]
    return f"<br>Beyond the picture: {'; '.join(found)}" if found else ""


def _costs(own: dict[str, Any], record: dict[str, Any]) -> Sequence[list[float | None]]:
    latency = record["latency"]["seconds_per_clip"]
    return (
        [values["cost"]["parameters"] / 1e6 for values in own.values()],
        [values["cost"]["flops"] / 1e9 for values in own.values()],
        [latency[row]["median"] if row in latency else None for row in own],
    )


def _points(
    label: str, color: str, own: dict[str, Any], costs: list[float | None], name: str, legend: bool
) -> go.Scatter:
    scores = [list(values["sets"][name]["scores"].values())[-1] for values in own.values()]
    wer = [100 * score["wer"] for score in scores]
    low, high = zip(*(score["wer_interval_95"] for score in scores), strict=True)
    return go.Scatter(
        x=costs, y=wer, name=label, legendgroup=label, showlegend=legend, mode="markers",
        marker={"color": color, "size": 9},
        text=list(own),
        hovertemplate="%{text}<br>WER %{y:.1f} %<extra></extra>",
        error_y={
            "type": "data", "symmetric": False, "color": color, "thickness": 1.2,
            "array": [100 * h - w for h, w in zip(high, wer, strict=True)],
            "arrayminus": [w - 100 * lo for lo, w in zip(low, wer, strict=True)],
        },
    )  # fmt: skip


def _photograph(page: Path, png: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": _WIDTH + 20, "height": _HEIGHT + 20})
        view.goto(page.resolve().as_uri())
        view.wait_for_selector(".main-svg")
        view.screenshot(path=png)
        browser.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", default="method_table", help="name of the stored record")
    parser.add_argument("--set", default="", help="evaluation set; the first by default")
    parser.add_argument("--png", type=Path, help="file for a picture")
    return parser.parse_args()


if __name__ == "__main__":
    main()
