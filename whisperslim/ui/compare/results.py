"""One comparison on the page, new or earlier: votes, files to save, the list of earlier ones."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from whisperslim.errors import RunError
from whisperslim.ui.compare.blind import hide, tally_html
from whisperslim.ui.compare.fields import NOTHING, ResultFields
from whisperslim.ui.compare.history import FOLDER, History
from whisperslim.ui.compare.record import SAME, Compared, title_of
from whisperslim.ui.context import saved_file
from whisperslim.ui.context.context import for_people, warn
from whisperslim.ui.context.models import MAX_SECONDS
from whisperslim.ui.context.saved_file import place_for
from whisperslim.ui.parts.updates import Updates

_MOST_LISTED = 200
_TEXT_SHOWN = 32  # characters of a transcript in the list


def connect(shown: ResultFields, history: History) -> None:
    """Wire votes, deletion, the files to save and the list."""

    @for_people
    def vote(place: int, key: str) -> Updates:
        choices = choices_of(history.find(key))
        choice = choices[place] if place < len(choices) else None  # `history` refuses that
        return updates(shown, history, history.vote(key, choice))

    @for_people
    def pick(key: str | None) -> Updates:
        return updates(shown, history, history.find(key))

    @for_people
    def delete(key: str) -> Updates:
        history.delete(key)
        gr.Info("The comparison, its recording and its vote are gone.", title="Deleted")
        return updates(shown, history, None)

    def page(key: object) -> Path:
        # Imported late: the alignment of words loads the normalizer's libraries.
        from whisperslim.ui.compare.html import write_page

        return write_page(history.find(key), history.recording(key), place_for(FOLDER))

    def record(key: object) -> Path:
        from whisperslim.ui.compare.html import write_record

        return write_record(history.find(key), place_for(FOLDER))

    acting: dict[str, Any] = {
        "api_visibility": "private",
        "show_progress": "hidden",
        "concurrency_id": "act",
        "concurrency_limit": 1,
    }
    for place, button in enumerate((shown.first, shown.same, shown.second, shown.third)):
        button.click(partial(vote, place), shown.key, shown.outputs(), **acting)
    shown.earlier.input(pick, shown.earlier, shown.outputs(), **acting)
    shown.delete.click(delete, shown.key, shown.outputs(), **acting)
    saved_file.connect(shown.page, page, shown.key)
    saved_file.connect(shown.record, record, shown.key)


def keep(
    shown: ResultFields, history: History, compared: Compared, recording: str, *, blind: bool
) -> Updates:
    """Keep a comparison just made and show it.

    Raises `RunError` when a blind one cannot be kept, since its vote must be; an open one is shown
    with a warning.
    """
    made = hide(compared) if blind else compared
    try:
        history.save(made, recording, MAX_SECONDS)
    except RunError as error:
        if blind:
            raise
        warn(str(error))
        # No votes, files or deletion: there is nothing on disk.
        hidden = gr.update(visible=False)
        page = updates(shown, history, made)
        return {**page, shown.key: "", shown.votes: hidden, shown.files: hidden}
    return updates(shown, history, made)


def updates(shown: ResultFields, history: History, compared: Compared | None) -> Updates:
    """One comparison on the page, or none."""
    if compared is None:
        gone = gr.update(visible=False)
        return {
            shown.key: "",
            shown.result: NOTHING,
            shown.heard_as: None,
            shown.times: "",
            shown.score: "",
            shown.votes: gone,
            shown.files: gone,
            **listing(shown, history, ""),
        }
    sound = history.recording(compared.key)
    # Only now: the alignment of words brings the normalizer's libraries with it.
    from whisperslim.ui.compare.html import comparison_html, times_html
    from whisperslim.ui.compare.score import score_html

    listed = history.listed()
    first, same, second, *third = vote_labels(compared)
    saved = gr.update(visible=not compared.hidden)
    return {
        shown.key: compared.key,
        shown.heard_as: None,
        shown.result: comparison_html(compared, sound),
        shown.times: times_html(compared),
        shown.score: score_html(compared, listed),
        shown.votes: gr.update(visible=compared.hidden or not compared.blind),
        shown.first: gr.update(value=first),
        shown.same: gr.update(value=same),
        shown.second: gr.update(value=second),
        shown.third: gr.update(value="".join(third), visible=bool(third)),
        shown.files: gr.update(visible=True),
        shown.page.button: saved,
        shown.record.button: saved,
        **_listed(shown, listed, compared.key),
    }


def listing(shown: ResultFields, history: History, key: str) -> Updates:
    """The list, with `key` chosen, and the votes, both read again."""
    return _listed(shown, history.listed(), key)


def _listed(shown: ResultFields, listed: Sequence[Compared], key: str) -> Updates:
    choices = [(list_label(each), each.key) for each in listed[:_MOST_LISTED]]
    known = any(key == listed_key for _, listed_key in choices)
    earlier = gr.update(choices=choices, value=key if known else None)
    return {shown.earlier: earlier, shown.tally: tally_html(listed)}


def choices_of(compared: Compared) -> tuple[str, ...]:
    """What the buttons vote for: one side, none, the other, and a third where there is one."""
    if compared.blind:
        return ("A", SAME, "B")
    dense, *others = (side.role for side in compared.sides)
    return (dense, SAME, *others)


def vote_labels(compared: Compared) -> tuple[str, ...]:
    """The buttons' words."""
    names = {"A": "A", "B": "B"} if compared.blind else {}
    names |= {side.role: title_of(side) for side in compared.sides}
    words = {
        choice: f"{name[:1].upper()}{name[1:]} heard it better" for choice, name in names.items()
    }
    words[SAME] = "Both the same" if len(compared.sides) == 2 else "All the same"
    return tuple(
        f"✓ {words[choice]}" if choice == compared.vote else words[choice]
        for choice in choices_of(compared)
    )


def list_label(compared: Compared) -> str:
    """One line of the list: time, slim model and text."""
    when = f"{datetime.fromisoformat(compared.made).astimezone():%d %b %Y, %H:%M}"
    if compared.hidden:
        return f"{when} · blind, waiting for your vote"
    said = compared.reference or compared.side("slim").text or "nothing recognized"
    cut = said if len(said) <= _TEXT_SHOWN else f"{said[:_TEXT_SHOWN].rsplit(' ', 1)[0]} …"
    return f"{when} · {compared.side('slim').model} · {cut}"
