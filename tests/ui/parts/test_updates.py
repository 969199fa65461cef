"""Handlers answer by component: what Gradio makes of that, and that no handler counts positions."""

import ast
import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.test_layers import PACKAGE, sources
from whisperslim.ui.parts.updates import Updates, inputs_of, read, unchanged

BY_POSITION = ("list[Any]", "tuple[Any, ...]", "list[object]", "tuple[object, ...]")


@dataclass(frozen=True)
class Page:
    """A page of three components, one of which keeps a value of the session."""

    blocks: gr.Blocks
    name: gr.Textbox
    count: gr.Number
    state: gr.State


@dataclass(frozen=True)
class Asked:
    """Two of them."""

    count: object
    name: object


@pytest.fixture
def page() -> Page:
    with gr.Blocks() as blocks:
        made = Page(blocks, gr.Textbox(), gr.Number(), gr.State("kept"))
        gr.Button().click(lambda: None, None, [made.name, made.count, made.state])
        gr.Button().click(lambda: None, None, made.name)
    return made


def sent(page: Page, answer: Updates, event: int = 0) -> list[Any]:
    """What Gradio sends to the page for an answer, in the order of the outputs."""
    return asyncio.run(page.blocks.postprocess_data(page.blocks.fns[event], answer, None))


def test_a_component_left_out_is_not_sent(page: Page) -> None:
    name, count, _ = sent(page, {page.count: 3})
    assert count == 3 and name == {"__type__": "update"}
    name, count, _ = sent(page, {page.name: gr.update(visible=False)})
    assert name["visible"] is False and "value" not in name and count == {"__type__": "update"}


def test_nothing_changed_is_said_and_not_left_empty(page: Page) -> None:
    nothing = {"__type__": "update"}
    assert sent(page, unchanged())[:2] == [nothing, nothing]
    assert sent(page, unchanged(), event=1) == [nothing]
    with pytest.raises(ValueError, match="enough output values"):
        sent(page, {})


def test_values_are_read_by_name(page: Page) -> None:
    assert inputs_of(Asked, page) == {page.name, page.count}
    values = {page.name: "a", page.count: 2, page.state: "more"}
    assert read(Asked, page, values) == Asked(count=2, name="a")


# --- the source -------------------------------------------------------------------------------


def nodes() -> Iterator[tuple[Path, Any]]:
    """Every part of the app's source."""
    for path, tree in sources():
        if PACKAGE / "ui" in path.parents:
            yield from ((path, node) for node in ast.walk(tree))


def test_no_handler_answers_by_position() -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    wrong = [
        f"{path}:{node.lineno}: {node.name} returns {ast.unparse(node.returns)}"
        for path, node in nodes()
        if isinstance(node, functions) and node.returns is not None
        if any(counted in ast.unparse(node.returns) for counted in BY_POSITION)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_skipped_outputs_are_counted() -> None:
    wrong = [
        f"{path}:{node.lineno}: {ast.unparse(node)}"
        for path, node in nodes()
        if isinstance(node, (ast.List, ast.Tuple, ast.ListComp)) and "skip()" in ast.unparse(node)
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_go_by_their_own_names() -> None:
    wrong = [
        f"{path}:{node.lineno}: {alias.name} as {alias.asname}"
        for path, node in nodes()
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("whisperslim.ui")
        for alias in node.names
        if alias.asname is not None and alias.name.islower()
    ]
    assert not wrong, "\n".join(wrong)
