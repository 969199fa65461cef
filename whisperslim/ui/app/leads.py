"""Buttons that lead to the first run from tabs that have nothing to show before it."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def lay_out_lead(tab: str, words: str = "No finished run yet: try it first") -> gr.Button:
    """Make the button in the open Blocks context; hidden until it is needed."""
    return gr.Button(
        words,
        variant="primary",
        visible=False,
        elem_id=f"lead-{tab}",
    )


def connect_leads(
    leads: Sequence[tuple[gr.Tab, gr.Button]], has_any: Callable[[], bool], tabs: gr.Tabs
) -> None:
    """Show each until their tabs have something; all lead to "Try it" on the Compress tab."""

    def see() -> dict[str, Any]:
        shown: dict[str, Any] = gr.update(visible=not has_any())
        return shown

    def lead() -> dict[str, Any]:
        opened: dict[str, Any] = gr.update(selected="compress")
        return opened

    for page, button in leads:
        page.select(see, None, button, **_QUIET)
        button.click(lead, None, tabs, **_QUIET)
