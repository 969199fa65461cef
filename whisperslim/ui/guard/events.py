"""Which events the page has, and what their values may be."""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gradio as gr
from gradio.blocks import Block, BlocksConfig
from gradio.renderable import Renderable

from whisperslim.ui.guard.refusals import RefusedError

_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONGEST_NAME = 200  # characters, of an event or a function
# Set only by Gradio's own clients and batches; the page sends none of these.
_NOT_THE_PAGES = ("batched", "event_id", "simple_format", "oauth_token")


class CheckedBlocks(gr.Blocks):
    """A page whose events refuse values that their fields cannot hold, without a traceback, and
    whose sessions cost little.

    Gradio prints one for each such value, and anyone who reaches the page can send them.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.default_config = _Config(self)

    async def preprocess_data(self, *args: Any, **kwargs: Any) -> Any:
        """As in Gradio, but a bad value is refused with a message on the page instead of a program
        error.
        """
        try:
            return await super().preprocess_data(*args, **kwargs)
        except gr.Error as error:
            error.print_exception = False
            raise
        except (TypeError, ValueError, LookupError, AttributeError, OSError) as error:
            raise gr.Error(
                "The page sent a value that its field cannot hold; reload the page.",
                print_exception=False,
            ) from error


class _Config(BlocksConfig):
    """The components and events of a page, whose sessions share the descriptions of components.

    Gradio describes all of them anew for each session, in the thread that answers all requests: 60
    ms for this page, and anyone can open sessions without number.
    """

    def __init__(self, page: gr.Blocks) -> None:
        super().__init__(page)
        self._described: dict[int, dict[str, Any]] | None = None  # only of a session

    def __copy__(self) -> "_Config":
        """The configuration of a new session."""
        new = _Config(self.root_block)
        vars(new).update(vars(super().__copy__()))
        new._described = self._known
        return new

    @cached_property
    def _known(self) -> dict[int, dict[str, Any]]:
        # Of the page when its first session begins: from then on, only sessions change anything.
        describe = super().config_for_block
        return {number: describe(number, [], block) for number, block in self.blocks.items()}

    def config_for_block(  # type: ignore[override]
        self,
        _id: int,
        rendered_ids: list[int],
        block: Block,
        renderable: Renderable | None = None,
    ) -> dict[str, Any]:
        """As Gradio describes it. What a session may write to is a copy of its own."""
        is_as_built = block is self.root_block.blocks.get(_id)
        if self._described is None or renderable is not None or not is_as_built:
            found: dict[str, Any] = super().config_for_block(_id, rendered_ids, block, renderable)
            return found
        known = self._described[_id]
        return {**known, "props": dict(known["props"])}


@dataclass(frozen=True)
class Events:
    """The events of one page by number, its components by theirs, and what waits for an answer.

    `pending` are the events of each session that it has not had the answer of.
    """

    numbers: frozenset[int]
    components: frozenset[int]
    pending: Mapping[str, Container[str]]

    @classmethod
    def of(cls, blocks: gr.Blocks) -> "Events":
        """Those of a built page. Events that only run a script are never sent."""
        asked = (number for number, each in blocks.fns.items() if each.fn is not None)
        pending = blocks._queue.pending_event_ids_session
        return cls(frozenset(asked), frozenset(blocks.blocks), pending)

    def check(self, path: str, body: Any) -> None:
        """Raise `RefusedError` unless a JSON body is what the page sends to the address `path`."""
        if not isinstance(body, dict):
            raise RefusedError(422, "the request is not a JSON object")
        action = path.rstrip("/").rpartition("/")[2]
        if action == "reset":
            return _check_name(body, "event_id")
        check_session(body.get("session_hash"))
        if action == "cancel":
            _check_name(body, "event_id")
            # Gradio takes an event off the queue whose ever it is.
            if body["event_id"] not in self.pending.get(body["session_hash"], ()):
                raise RefusedError(404, "there is no such event in this session")
            return _check_number(body, "fn_index", self.numbers)
        if action == "component_server":
            _check_name(body, "fn_name")
            return _check_number(body, "component_id", self.components)
        if any(body.get(name) for name in _NOT_THE_PAGES):
            raise RefusedError(422, f"the page sends none of: {', '.join(_NOT_THE_PAGES)}")
        if not isinstance(body.get("data"), list):
            raise RefusedError(422, "data is not a list")
        # A page load is a trigger but not a component, so any number is accepted.
        if body.get("trigger_id") is not None:
            _check_number(body, "trigger_id")
        return _check_number(body, "fn_index", self.numbers)


def check_session(given: object) -> None:
    """Raise `RefusedError` unless this can be a page's session name."""
    if not isinstance(given, str) or not _SESSION.fullmatch(given):
        raise RefusedError(422, "session_hash is up to 64 letters, digits, - or _")


def _check_number(body: Mapping[str, Any], name: str, known: frozenset[int] | None = None) -> None:
    given = body.get(name)
    if isinstance(given, bool) or not isinstance(given, int):
        raise RefusedError(422, f"{name} is not a whole number")
    if known is not None and given not in known:
        raise RefusedError(404, f"there is no such {name}")


def _check_name(body: Mapping[str, Any], name: str) -> None:
    given = body.get(name)
    if not isinstance(given, str) or not 0 < len(given) <= _LONGEST_NAME:
        raise RefusedError(422, f"{name} is text of up to {_LONGEST_NAME} characters")
