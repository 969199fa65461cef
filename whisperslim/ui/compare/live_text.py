"""Live text under the recorder while someone speaks: the page's side of a preview.

The recorder component is not changed, since its complete recording is what is compared. Gradio can
stream a microphone, but loses sound when the server is busy, and then keeps no complete recording.
So a small script reads the microphone beside it and sends the sound in order, piece by piece.
"""

import base64
import binascii
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from whisperslim.errors import UsageError, WhisperSlimError
from whisperslim.ui.context.choices import slim_or_first
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.sides import dense_side, slim_side
from whisperslim.ui.parts.markup import METER
from whisperslim.ui.parts.theme import ASSETS

if TYPE_CHECKING:  # they import torch and the voice detector
    from whisperslim.engines.live.session import LiveSession
    from whisperslim.engines.live.text import Partial
    from whisperslim.speech.audio.stream import SoundStream
    from whisperslim.ui.context.side_choice import SideChoice

_MOST_SESSIONS = 8  # at once, of all pages; each holds some megabytes
_FORGOTTEN_SECONDS = 30.0  # without sound; a closed page does not end its session
_WAIT_SECONDS = 0.4  # to wait for a running pass, so that its text is sent at once
_MOST_ENCODED = 2_000_000  # characters: 7 s at 96 kHz
_DENSE_FIELDS = ("dense", "dense_engine", "dense_window")
_NO_SOUND = np.zeros(0, np.float32)
_SCRIPT = ASSETS / "live_text.js"
# A pass of the dense model delays the slim one's, since both run in one lane.
_LONGEST_DENSE_PASS = 1.5  # seconds; our choice: text later than this is not live
_BEHIND_FROM = 1.5  # seconds; our choice: shorter delays are not mentioned
_TOO_SLOW = (
    "{:.1f} s behind: a pass of the dense model takes that long on this machine. Its text stays as "
    "it is, and the slim model continues alone."
)
_NOT_HERE = (
    "The dense model's live text starts once the model is on this machine and exported for its "
    "engine: press Compare once."
)
_SIDE = (
    '<section class="ws-live-side ws-live-{0}"><h3>{0}</h3>'
    '<p class="ws-live-text" lang="hi" dir="auto"><span class="ws-live-kept"></span> '
    '<span class="ws-live-now"></span></p><p class="ws-live-note"></p></section>'
)
_TEMPLATE = (
    f'{METER}<div class="ws-live" role="status" aria-live="polite" '
    'aria-label="Text while you speak"><p class="ws-live-state"></p>'
    f'<div class="ws-live-sides">{_SIDE.format("dense")}{_SIDE.format("slim")}</div></div>'
)


@dataclass
class _Open:
    session: "LiveSession"
    sound: "SoundStream"
    used: float
    dense: "LiveSession | None" = None
    note: str = ""  # why the dense model has no text
    # The dense side's request, kept until the slim side has text: in the lane they share, the dense
    # model's first passes would delay the first word.
    dense_asked: Mapping[str, Any] | None = None
    unheard: list[np.ndarray] = field(default_factory=list)
    # One call at a time: a client may send two at once, and the filter in `sound` crashes the
    # process when two threads use it.
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Previews:
    """The open previews, by a key that only the page that started one knows."""

    begin_session: Callable[[Mapping[str, Any]], "LiveSession"]
    begin_dense: Callable[[Mapping[str, Any]], "LiveSession"] | None = None
    clock: Callable[[], float] = time.monotonic
    _open: dict[str, _Open] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, asked: object) -> dict[str, Any]:
        """Open one: `slim`, `engine` and `language` as in the form, `rate` of the sound in Hz.

        With `dense`, `dense_engine` and `dense_window` of the form, the dense model transcribes
        too, when it is on this machine and fast enough.
        """
        from whisperslim.speech.audio.stream import SoundStream

        given = _mapping(asked)
        sound = SoundStream(given.get("rate"))  # type: ignore[arg-type]  # it checks
        self._make_room()
        session = self.begin_session(given)
        opened = _Open(session, sound, self.clock())
        if self.begin_dense is not None and given.get("dense"):
            opened.dense_asked = given
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._open[key] = opened
        return {"key": key}

    def feed(self, asked: object) -> dict[str, Any]:
        """Take `pcm`, 16-bit samples in base64, and return the text so far."""
        given = _mapping(asked)
        pcm = _samples(given.get("pcm"))
        with self._alone(given.get("key")) as found:
            heard = found.sound.take(pcm)
            partial = found.session.feed(heard, _WAIT_SECONDS)
            dense = self._fed_dense(found, heard, partial)
            found.used = self.clock()
            state = "full" if partial.full else "listening" if found.session.ready else "loading"
        return {**_as_fields(partial), "state": state, **dense}

    def end(self, asked: object) -> dict[str, Any]:
        """Close one; the text so far."""
        key = _mapping(asked).get("key")
        with self._alone(key) as found:
            with self._lock:
                self._open.pop(str(key), None)
            dense = {} if found.dense is None else {"dense": _as_fields(found.dense.close())}
            return {**_as_fields(found.session.close()), "state": "ended", **dense}

    def _fed_dense(self, found: _Open, heard: np.ndarray, slim: "Partial") -> dict[str, Any]:
        """The dense side's part of an answer; empty when it is not wanted, or not yet started."""
        asked = found.dense_asked
        if asked is None:
            return {"dense": {"note": found.note}} if found.note else {}
        if not slim.full:  # nothing reads beyond it, and what waits must not grow
            found.unheard.append(heard)
        if found.dense is None and not (slim.committed or slim.tentative):
            return {}
        try:
            if found.dense is None:
                found.dense = self._dense_session(asked)
            partial = found.dense.feed(np.concatenate([*found.unheard, _NO_SOUND]))
        except WhisperSlimError as error:  # the slim model's text is not affected
            return _without_dense(found, str(error))
        found.unheard.clear()
        slowest = found.dense.pass_seconds
        if slowest > _LONGEST_DENSE_PASS:  # one pass per recording, so that it never stays empty
            found.dense.close()
            sent = _without_dense(found, _TOO_SLOW.format(slowest))
            return {"dense": {**_as_fields(partial), **sent["dense"]}}
        return {"dense": {**_as_fields(partial), **_behind(partial)}}

    def _dense_session(self, asked: Mapping[str, Any]) -> "LiveSession":
        """Raises `WhisperSlimError` where there cannot be one."""
        if self.begin_dense is None:
            raise UsageError(_NOT_HERE)
        return self.begin_dense(asked)

    @contextmanager
    def _alone(self, key: object) -> Iterator[_Open]:
        found = self._find(key)
        with found.lock:
            self._find(key)  # the call this one waited for may have closed it
            yield found

    def _find(self, key: object) -> _Open:
        with self._lock:
            found = self._open.get(key) if isinstance(key, str) else None
        if found is None:
            raise UsageError("this preview has ended; record again")
        return found

    def _make_room(self) -> None:
        with self._lock:
            now = self.clock()
            gone = [k for k, each in self._open.items() if now - each.used > _FORGOTTEN_SECONDS]
            for key in gone:
                self._open.pop(key)
            if len(self._open) >= _MOST_SESSIONS:
                raise UsageError(
                    f"{_MOST_SESSIONS} pages show live text already, which is the most; the "
                    "recording itself continues"
                )


def _without_dense(found: _Open, note: str) -> dict[str, Any]:
    found.dense, found.dense_asked, found.note = None, None, note
    found.unheard.clear()
    return {"dense": {"note": note}}


def _behind(partial: "Partial") -> dict[str, str]:
    """How much sound the text does not cover yet, where that is worth mentioning."""
    seconds = partial.audio_seconds - partial.heard_seconds
    late = partial.speaking and seconds > _BEHIND_FROM
    return {"note": f"{seconds:.0f} s behind"} if late else {}


def _as_fields(partial: "Partial") -> dict[str, Any]:
    return {"kept": partial.committed, "now": partial.tentative}


def lay_out(previews: Previews) -> gr.HTML:
    """The area for the text, with the script that fills it."""

    def begin(asked: Any) -> dict[str, Any]:
        return _answered(previews.begin, asked)

    def feed(asked: Any) -> dict[str, Any]:
        return _answered(previews.feed, asked)

    def end(asked: Any) -> dict[str, Any]:
        return _answered(previews.end, asked)

    return gr.HTML(
        "",
        html_template=_TEMPLATE,
        js_on_load=_SCRIPT.read_text("utf-8"),
        elem_id="live-text",
        server_functions=[begin, feed, end],
    )


def previews_of(context: AppContext) -> Previews:
    """Previews with the models of this app."""

    def begin(given: Mapping[str, Any]) -> "LiveSession":
        code = str(given.get("language")).strip().lower()[:3] or "hi"
        slim = slim_or_first(context, given.get("slim"))
        side = slim_side(context, slim, given.get("engine"))
        return context.listening.preview(_held(side, given), code)

    def begin_dense(given: Mapping[str, Any]) -> "LiveSession":
        side = dense_side(context, *(given.get(name) for name in _DENSE_FIELDS))
        if not context.listening.is_here(side):
            raise UsageError(_NOT_HERE)
        side = _held(side, given)
        return context.listening.preview(side, str(given.get("language")).strip().lower()[:3])

    return Previews(begin, begin_dense)


def _held(side: "SideChoice", given: Mapping[str, Any]) -> "SideChoice":
    return replace(side, script="own" if given.get("own_script") is True else "any")


def _answered(act: Callable[[object], dict[str, Any]], asked: object) -> dict[str, Any]:
    """Errors are sent as text: these calls are not events, so no error box would show them."""
    try:
        return act(asked)
    except WhisperSlimError as error:
        return {"error": str(error)}


def _mapping(asked: object) -> dict[str, Any]:
    if not isinstance(asked, dict):
        raise UsageError("a preview is requested with a JSON object")
    return asked


def _samples(pcm: object) -> bytes:
    if not isinstance(pcm, str) or len(pcm) > _MOST_ENCODED:
        raise UsageError(f"sound is sent as up to {_MOST_ENCODED} characters of base64")
    try:
        return base64.b64decode(pcm, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError("the sound is not base64") from error
