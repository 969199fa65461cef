"""Limits on connections: how many there may be, and how long each may take to send a request."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20.0  # until a request's head is complete
LINGER_SECONDS = 10.0  # that the rest of a body which was refused may still take to arrive
MOST_CONNECTIONS = 600  # a page has up to three; a process has some thousand files at once
MOST_OF_ONE = 300  # from one address; our choice, as are the figures above


class BoundedConnection(H11Protocol):
    """One connection, closed when its request does not arrive in time, or when there are too many.

    `proxy` is the address that may hold all connections, since everybody comes through it.
    """

    proxy: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As in uvicorn, unless there is no room for one more."""
        self._deadline: asyncio.TimerHandle | None = None
        self._answered = False
        super().connection_made(transport)
        if self._too_many():
            transport.abort()
        else:
            self._look()

    def data_received(self, data: bytes) -> None:
        """As in uvicorn; a complete head ends the wait for it, and none of its pieces does."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """As in uvicorn; what is left of the request has a time of its own."""
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """As in uvicorn."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """As in uvicorn, unless an answer has begun: that cannot be taken back."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _look(self) -> None:
        waits_for_head = self.conn.their_state is h11.IDLE
        answered = (
            not waits_for_head and self.cycle is not None and bool(self.cycle.response_complete)
        )
        if not waits_for_head and not answered:
            return self._stop_waiting()
        if self._deadline is None or answered != self._answered:
            self._stop_waiting()
            seconds = LINGER_SECONDS if answered else HEAD_SECONDS
            self._answered = answered
            self._deadline = self.loop.call_later(seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self.transport.abort()

    def _too_many(self) -> bool:
        host = _host_of(self)
        of_one = sum(_host_of(each) == host for each in self.connections)
        return len(self.connections) > MOST_CONNECTIONS or (
            host != self.proxy and of_one > MOST_OF_ONE
        )


def _host_of(connection: object) -> str:
    found = isinstance(connection, H11Protocol) and connection.client
    return found[0] if found else ""
