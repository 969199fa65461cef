"""The replay of a training: how layer after layer got sparse, drawn by a small script on the page.

Plotly's own frames cannot pass through the page's plot component; and a table of percentages is
one that a screen reader reads and a dark page suits. Nothing is sent while it plays.
"""

import json
from collections.abc import Mapping, Sequence

from whisperslim.jobs.sparsity_history import BEFORE, CUT, Frame
from whisperslim.ui.gauge_charts import STACKS, spot
from whisperslim.ui.layers import BEFORE_WORDS
from whisperslim.ui.markup import text
from whisperslim.ui.theme import ASSETS

SCRIPT = ASSETS / "replay.js"
_SHOWN = (("gone", "Units all zero or cut out"), ("zero", "Weights zero or cut out"))


def replay_html(frames: Sequence[Frame]) -> str:
    """Tables of the last moment, with all moments for the script. Needs one frame at least."""
    keys = list(frames[-1].gone)
    data = {
        "keys": keys,
        "names": [moment(frame) for frame in frames],
        **{name: [_permille(getattr(frame, name), keys) for frame in frames] for name, _ in _SHOWN},
    }
    options = "".join(f'<option value="{key}">{text(words)}</option>' for key, words in _SHOWN)
    tables = "".join(_table(frames[-1].gone, stack) for stack in STACKS)
    last = len(frames) - 1
    return (
        f'<div class="ws-card ws-replay" data-frames="{text(json.dumps(data))}">'
        '<div class="ws-run-head"><h3>Replay: how it got smaller</h3>'
        f'<span class="ws-replay-at" aria-live="off">{text(moment(frames[-1]))}</span></div>'
        '<div class="ws-replay-acts"><button type="button" class="ws-replay-play">Play</button>'
        f'<input type="range" class="ws-replay-time" min="0" max="{last}" step="1" value="{last}" '
        f'aria-label="Moment of the run" aria-valuetext="{text(moment(frames[-1]))}">'
        f'<select class="ws-replay-shown" aria-label="What is shown">{options}</select></div>'
        f'<div class="ws-sides">{tables}</div></div>'
    )


def moment(frame: Frame) -> str:
    """A frame's place in the run, in words."""
    if frame.stage == BEFORE:
        return BEFORE_WORDS
    return "after the cut" if frame.stage == CUT else f"{frame.stage}, step {frame.step}"


def percent_words(share: float) -> str:
    """Nothing for 0, so that what happens stands out; never "100" for less than all."""
    if share <= 0.0:
        return ""
    whole = round(100 * share)
    return "<1" if whole == 0 else ">99" if whole == 100 and share < 1.0 else str(whole)


def _permille(shares: Mapping[str, float], keys: Sequence[str]) -> list[float]:
    # Four digits: enough to tell "some" from "none", few enough to travel.
    return [round(shares[key], 4) for key in keys]


def _table(shares: Mapping[str, float], stack: str) -> str:
    spots = {key: spot(key) for key in shares if spot(key).stack == stack}
    if not spots:
        return ""
    places = list(dict.fromkeys(each.place for each in spots.values()))
    layers = sorted({each.layer for each in spots.values()})
    at = {(each.layer, each.place): key for key, each in spots.items()}
    head = "".join(f'<th scope="col" class="num">{text(_short(place))}</th>' for place in places)
    rows = "".join(
        f'<tr><th scope="row">{layer}</th>'
        + "".join(_cell(at.get((layer, place)), shares) for place in places)
        + "</tr>"
        for layer in layers
    )
    return (
        '<div class="ws-scroll" tabindex="0"><table class="ws-table ws-replay-table">'
        f"<caption>{text(stack.capitalize())}, percent</caption>"
        f'<thead><tr><th scope="col">layer</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(key: str | None, shares: Mapping[str, float]) -> str:
    if key is None:
        return "<td></td>"
    share = shares[key]
    return (
        f'<td class="num ws-heat" data-key="{text(key)}" style="--share:{share:.3f}">'
        f"{text(percent_words(share))}</td>"
    )


def _short(place: str) -> str:
    return place.removesuffix(" heads")
