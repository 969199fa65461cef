"""How an open page learns that a run has changed: it asks, and all pages get one answer.

An event of Gradio takes two requests and its whole queue, most of them only to hear that there is
nothing new. So a page asks by a plain call, and begins an event once the answer has changed.
"""

import hashlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import gradio as gr

from whisperslim.ui.parts.theme import ASSETS

KEPT_SECONDS = 1.0  # our choice: pages ask every two seconds
_SCRIPT = ASSETS / "watch.js"
_LONGEST_NAME = 255  # characters; no run has a longer name


@dataclass
class _Mark:
    text: str = ""
    made: float = -math.inf
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Latest:
    """A mark of what is to be seen of a run by its name, made once for all pages that ask.

    Attributes:
        look: What is to be seen of a run. Pages may ask for names that are none.
        clock: In seconds.
    """

    look: Callable[[str], object]
    clock: Callable[[], float] = time.monotonic
    _marks: dict[str, _Mark] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def mark(self, name: object) -> str:
        """Changes when there is something new to see; up to `KEPT_SECONDS` old.

        Who asks while it is made waits for it, and for that of no other run.
        """
        asked = name if isinstance(name, str) and len(name) <= _LONGEST_NAME else ""
        with self._lock:
            self._marks = {
                each: mark
                for each, mark in self._marks.items()
                if self._is_fresh(mark) or mark.lock.locked()
            }
            mark = self._marks.setdefault(asked, _Mark())
        with mark.lock:
            if not self._is_fresh(mark):
                mark.text, mark.made = _fingerprint(self.look(asked)), self.clock()
            return mark.text

    def _is_fresh(self, mark: _Mark) -> bool:
        return self.clock() - mark.made < KEPT_SECONDS


def _fingerprint(seen: object) -> str:
    return hashlib.sha256(repr(seen).encode("utf-8", "replace")).hexdigest()[:16]


def lay_out_watch(latest: Latest) -> gr.HTML:
    """Make what asks, in the Blocks context now open. Its value is the run's name.

    Its `submit` is the event that there may be something new.
    """

    def mark(name: object) -> str:
        return latest.mark(name)

    return gr.HTML(
        "",
        html_template="",
        js_on_load=_SCRIPT.read_text("utf-8"),
        elem_classes=["ws-file"],
        server_functions=[mark],
    )
