"""The server's addresses: what each answers, and who is let in."""

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Set
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from whisperslim.engines.base import Transcript
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.errors import AudioError, MemoryShortageError, UsageError
from whisperslim.listening.address import goes_by, is_own_page
from whisperslim.server import answers
from whisperslim.server.asked import Asked, read_asked
from whisperslim.server.lanes import ClosedError, FullError, Job, Lane
from whisperslim.server.metrics import CONTENT_TYPE, Metrics
from whisperslim.server.refusals import RefusedError
from whisperslim.speech.audio.decoding import decode
from whisperslim.text.languages import code_of

MOST_UPLOADS = 64  # forms being read at once; our choice
_LEFT = 499  # a common code for a client that hung up
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bounds:
    """What the server takes.

    Attributes:
        language: Of requests that name none; Whisper's code.
        waiting: Requests that may wait for each model.
        bytes: Of one upload.
        seconds: Of one recording, counted in decoded sound.
        patience: Seconds a request may take from the end of its form to its answer.
    """

    language: str = "hi"
    waiting: int = 32
    bytes: int = 25_000_000
    seconds: float = 3600.0
    patience: float = 600.0


class Service:
    """The server as an ASGI app.

    Attributes:
        lanes: Model's name -> its lane.
        draining: Whether it is ending: what it has taken is finished, and nothing more is taken.
    """

    def __init__(
        self,
        engines: Mapping[str, WindowedTranscriber],
        bounds: Bounds | None = None,
        *,
        key: str | None = None,
        names: Set[str] | None = None,
        any_address: bool = False,
    ) -> None:
        """`key` is asked for when set; `names` are those it goes by, as `goes_by` has them."""
        self.bounds = bounds or Bounds()
        self.lanes = {
            name: Lane(name, engine, self.bounds.waiting, self.bounds.seconds)
            for name, engine in engines.items()
        }
        self.draining = False
        self._key, self._names, self._any_address = key, names, any_address
        self._metrics, self.uploads, self._since = Metrics(), 0, int(time.time())
        routes = [
            Route("/v1/audio/transcriptions", self._transcribe, methods=["POST"]),
            Route("/v1/models", self._models),
            Route("/v1/models/{name:path}", self._model),
            Route("/health", self._health),
            Route("/metrics", self._count),
        ]
        handlers: dict[Any, Callable[..., Any]] = {
            RefusedError: _refuse,
            HTTPException: _refuse_plainly,
            ClientDisconnect: _let_go,
            Exception: _own_fault,
        }
        self._app = Starlette(
            routes=routes, exception_handlers=handlers, lifespan=self._closing_lanes
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it before any of its body is read."""
        if scope["type"] == "http":
            try:
                self._check(Request(scope))
            except RefusedError as refused:
                return await refused.response()(scope, receive, send)
        await self._app(scope, receive, send)

    def _check(self, request: Request) -> None:
        host, given = request.headers.get("host", ""), request.headers.get("authorization", "")
        if self._key is None:
            # A page of another site could have a visitor's browser send recordings here.
            own = is_own_page(request.headers.get("origin", ""), host)
            if not own or request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
                raise RefusedError(403, "pages of other sites may not ask here", "other_site")
            if not goes_by(host, self._names, any_address=self._any_address):
                raise RefusedError(
                    403, "this server does not go by that name; ask it by its address", "host"
                )
        elif request.url.path != "/health":
            scheme, _, key = given.partition(" ")
            right = hmac.compare_digest(key.strip().encode("utf-8", "replace"), self._key.encode())
            if scheme.lower() != "bearer" or not right:
                raise RefusedError(
                    401, "the API key is missing or wrong; send it as: Authorization: Bearer KEY",
                    "invalid_api_key",
                )  # fmt: skip

    @asynccontextmanager
    async def _closing_lanes(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.gather(*(asyncio.to_thread(lane.close) for lane in self.lanes.values()))

    async def _health(self, request: Request) -> Response:
        if self.draining or not all(lane.is_alive for lane in self.lanes.values()):
            return JSONResponse({"status": "stopping"}, 503)
        return JSONResponse({"status": "ok"})

    async def _count(self, request: Request) -> Response:
        text = self._metrics.text(self.lanes.values())
        return PlainTextResponse(text, headers={"content-type": CONTENT_TYPE})

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._about(name) for name in self.lanes]})

    async def _model(self, request: Request) -> Response:
        return JSONResponse(self._about(self._lane(request.path_params["name"]).name))

    def _about(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._since, "owned_by": "whisperslim"}

    def _lane(self, name: str) -> Lane:
        if not name:
            raise RefusedError(400, "name the model in the field 'model'", "missing", param="model")
        if name not in self.lanes:
            raise RefusedError(
                404, f"there is no model {name[:100]!r}; one of: {', '.join(self.lanes)}",
                "model_not_found", param="model",
            )  # fmt: skip
        return self.lanes[name]

    async def _transcribe(self, request: Request) -> Response:
        began, status = time.perf_counter(), 500
        try:
            answer = await self._taken(request)
            status = answer.status_code
            return answer
        except RefusedError as refused:
            status = refused.status
            raise
        except ClientDisconnect:
            status = _LEFT
            raise
        except asyncio.CancelledError:
            if not self.draining:
                raise
            status = 503  # the time to finish what was taken is over
            return _refusal(ClosedError()).response()
        finally:
            self._metrics.answered(status, time.perf_counter() - began)

    async def _taken(self, request: Request) -> Response:
        asked = await self._read(request)
        lane = self._lane(asked.model)
        language = code_of(asked.language) or self.bounds.language
        listener = _Listener()
        job = Job(
            lambda: self._sound(asked), language, asked.timed, listener.say,
            lambda how: self._note(lane, how, listener),
        )  # fmt: skip
        try:
            lane.submit(job)
        except FullError as full:
            await asked.file.close()
            raise _full(full) from full
        except ClosedError as closed:
            raise _refusal(closed) from closed

        def let_go() -> None:
            if lane.cancel(job):
                asked.file.file.close()

        deadline = time.monotonic() + self.bounds.patience
        try:
            item = await _unless_gone(listener, request.receive, deadline, asked.stream)
        except BaseException:
            let_go()
            raise
        if asked.stream:
            return _Stream(_events(item, listener, deadline), let_go)
        assert isinstance(item, Transcript)
        return answers.answer(item, asked, language)

    async def _read(self, request: Request) -> Asked:
        if self.draining:
            raise _refusal(ClosedError())
        if self.uploads >= MOST_UPLOADS:
            raise RefusedError(429, "too many uploads at once", "too_many_uploads", retry_after=1)
        if all(lane.is_full for lane in self.lanes.values()):  # before megabytes are sent for it
            fulls = [lane.full() for lane in self.lanes.values()]
            raise _full(min(fulls, key=lambda each: each.retry_after))
        self.uploads += 1
        try:
            return await read_asked(request, self.bounds.bytes)
        finally:
            self.uploads -= 1

    def _sound(self, asked: Asked) -> Any:
        """The recording, decoded when it is its turn: until then it lies on disk."""
        with asked.file.file as file:
            file.seek(0)
            return decode(file.read(), max_seconds=self.bounds.seconds)

    def _note(self, lane: Lane, how: Transcript | Exception, listener: "_Listener") -> None:
        if isinstance(how, Transcript):
            self._metrics.heard(lane.name, how)
        listener.say(how)


class _Listener:
    """What a lane's thread says of a job, for the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[str | Transcript | Exception] = asyncio.Queue()

    def say(self, item: str | Transcript | Exception) -> None:
        """From another thread: a part's text, or how it ended."""
        with suppress(RuntimeError):  # the loop has ended, and with it whoever listened
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    async def next(self, deadline: float) -> str | Transcript:
        """What comes next. Raises `RefusedError` for an error, and when it is too late."""
        try:
            left = max(0.0, deadline - time.monotonic())
            item = await asyncio.wait_for(self._items.get(), left)
        except TimeoutError as error:
            raise RefusedError(
                504, "it took too long; send a shorter recording, or try when less is asked",
                "too_long",
            ) from error  # fmt: skip
        if isinstance(item, Exception):
            raise _refusal(item) from item
        return item

    async def first(self, deadline: float, parts: bool) -> str | Transcript:
        """The first part, if `parts` are wanted, or else the transcript."""
        while True:
            item = await self.next(deadline)
            if parts or isinstance(item, Transcript):
                return item


async def _unless_gone(
    listener: _Listener, receive: Receive, deadline: float, parts: bool
) -> str | Transcript:
    """As `_Listener.first`. Raises `ClientDisconnect` when the client hangs up before."""
    heard = asyncio.create_task(listener.first(deadline, parts))
    gone = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({heard, gone}, return_when=asyncio.FIRST_COMPLETED)
        if heard.done():
            return heard.result()
        raise ClientDisconnect
    finally:
        for task in (heard, gone):
            task.cancel()
        await asyncio.gather(heard, gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


class _Stream(StreamingResponse):
    """Server-sent events. `ended` is called when it is over, and when the client has hung up."""

    def __init__(self, events: AsyncIterator[bytes], ended: Callable[[], None]) -> None:
        super().__init__(
            events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
        )
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


async def _events(
    item: str | Transcript, listener: _Listener, deadline: float
) -> AsyncIterator[bytes]:
    try:
        while isinstance(item, str):
            yield answers.delta(item)
            item = await listener.next(deadline)
        yield answers.done(item)
    except RefusedError as refused:  # the status has been sent
        yield answers.event("error", **refused.record())


def _full(full: FullError) -> RefusedError:
    return RefusedError(
        429, f"{full}; try again in a moment", "queue_full", retry_after=full.retry_after
    )


def _refusal(error: Exception) -> RefusedError:
    """An error as a client sees it, without paths of this computer."""
    if isinstance(error, AudioError):
        return RefusedError(400, str(error), "invalid_audio", param="file")
    if isinstance(error, UsageError):
        return RefusedError(400, str(error), "invalid_value")
    if isinstance(error, ClosedError):
        return RefusedError(503, "the server is ending", "ending", retry_after=5)
    if isinstance(error, MemoryShortageError):
        logger.error("%s", error)
        return RefusedError(503, "there is not enough memory now", "memory", retry_after=5)
    logger.error("a recording could not be heard: %s", error)
    return RefusedError(
        500, "the model failed over this recording; the server's log says why", "model_failed"
    )


async def _refuse(request: Request, refused: RefusedError) -> Response:
    return refused.response()


async def _refuse_plainly(request: Request, error: HTTPException) -> Response:
    answer = RefusedError(error.status_code, str(error.detail), "no_such_address").response()
    answer.headers.update(error.headers or {})
    return answer


async def _let_go(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=_LEFT)


async def _own_fault(request: Request, error: Exception) -> Response:
    return RefusedError(500, "a fault in the program; the server's log has it", "fault").response()
