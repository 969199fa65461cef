"""What a request asks for: its form, read within limits, and the fields of OpenAI's API in it."""

import asyncio
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from whisperslim.server.refusals import RefusedError

FORMS = ("json", "text", "verbose_json", "srt", "vtt")
_GRANULARITIES = ("segment", "word")
_PIECE_SECONDS, _FORM_SECONDS = 30.0, 300.0  # a form's longest pause, and all of it; our choice
_MOST_FIELDS, _FIELD_BYTES = 20, 10_000
_AROUND_BYTES = 100_000  # of a form, around the file itself
_KNOWN = {
    "file", "model", "language", "response_format", "stream", "temperature", "prompt",
    "timestamp_granularities", "timestamp_granularities[]", "chunking_strategy",
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """One request for a transcript.

    Attributes:
        model: Its name, as the server has it.
        file: The upload. It lies on disk when it is larger than 1 MB.
        language: Whisper's code; empty: the server's usual one.
        form: One of `FORMS`.
        stream: Whether the text is sent as it is heard.
        words: Whether to say when each word was said.
    """

    model: str
    file: UploadFile
    language: str
    form: str
    stream: bool
    words: bool

    @property
    def timed(self) -> bool:
        """Whether words have to be timed: subtitles are cut by them."""
        return self.words or self.form in ("srt", "vtt")


async def read_asked(request: Request, most_bytes: int) -> Asked:
    """Read a request's form and check it.

    Raises `RefusedError` for what is too large or too slow, is not a form, or asks for what does
    not exist; `ClientDisconnect` when it breaks off.
    """
    length = request.headers.get("content-length", "")
    most = most_bytes + _AROUND_BYTES
    if length.isdigit() and int(length) > most:
        raise _too_large(most_bytes)
    bounded = Request(request.scope, _bounded(request.receive, most, most_bytes))
    try:
        form = await bounded.form(max_files=1, max_fields=_MOST_FIELDS, max_part_size=_FIELD_BYTES)
    except HTTPException as error:
        raise RefusedError(400, f"the form cannot be read: {error.detail}", "bad_form") from error
    try:
        return _asked(form)
    except RefusedError:
        await form.close()
        raise


def _bounded(receive: Receive, most: int, most_bytes: int) -> Receive:
    """`receive` of a body that may have `most` bytes, and so much time."""
    begun, size = time.monotonic(), 0

    async def bounded() -> MutableMapping[str, Any]:
        nonlocal size
        left = min(_PIECE_SECONDS, begun + _FORM_SECONDS - time.monotonic())
        try:
            message = await asyncio.wait_for(receive(), max(0.0, left))
        except TimeoutError as error:
            raise RefusedError(408, "the request came too slowly", "too_slow") from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        size += len(message.get("body", b""))
        if size > most:
            raise _too_large(most_bytes)
        return message

    return bounded


def _too_large(most_bytes: int) -> RefusedError:
    return RefusedError(
        413,
        f"a recording has up to {most_bytes / 1e6:g} MB here; send a shorter one, or one that is "
        "compressed, such as MP3 or Ogg",
        "too_large",
        param="file",
    )


def _asked(form: FormData) -> Asked:
    unknown = sorted(set(form.keys()) - _KNOWN)
    if unknown:
        raise _wrong(unknown[0], f"{unknown[0]!r} is not supported here; leave it out")
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise _wrong("file", "there is no recording; send one in the form's field 'file'")
    chosen = _one_of(_text(form, "response_format") or "json", "response_format", FORMS)
    stream = _one_of(_text(form, "stream").lower() or "false", "stream", ("true", "false"))
    if stream == "true" and chosen not in ("json", "text"):
        raise _wrong("stream", f"{chosen} is made of the whole text; stream json or text")
    wanted = _granularities(form)
    if wanted and chosen != "verbose_json":
        raise _wrong("timestamp_granularities", "times come with response_format verbose_json")
    _check_left_alone(form)
    return Asked(
        model=_text(form, "model"),
        file=file,
        language=_text(form, "language"),
        form=chosen,
        stream=stream == "true",
        words="word" in wanted,
    )


def _granularities(form: FormData) -> list[str]:
    found = []
    for name in ("timestamp_granularities[]", "timestamp_granularities"):
        for value in form.getlist(name):
            found.append(_one_of(value, "timestamp_granularities", _GRANULARITIES))
    return found


def _check_left_alone(form: FormData) -> None:
    """Fields that may be sent with the value that changes nothing."""
    if _text(form, "prompt").strip():
        raise _wrong("prompt", "a prompt is not supported here; leave it out")
    if _text(form, "chunking_strategy") not in ("", "auto"):
        raise _wrong("chunking_strategy", "recordings are cut where they are quiet: send auto")
    try:
        warm = float(_text(form, "temperature") or 0.0) != 0.0
    except ValueError:
        warm = True
    if warm:
        raise _wrong("temperature", "the likeliest text is written: temperature is 0")


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    if not isinstance(value, str):
        raise _wrong(name, f"{name} is a text and no file")
    return value


def _one_of(value: object, name: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise _wrong(name, f"{name} is {value!r}; one of: {', '.join(choices)}")
    return str(value)


def _wrong(param: str, reason: str) -> RefusedError:
    return RefusedError(400, reason, "invalid_value", param=param)
