"""Who stands at the door: uvicorn's HTTP connection with an end to its patience.

A request that is not whole in time is let go, whether its client says nothing, a byte a second or half a body. Of too many such
connections the oldest goes, so that slow clients keep nobody else out. It is given time to ask (`YOUNG_S`), since a client that
opens a thousand asks late, unless there is no other place. A client that reads nothing of its answer is let go, too.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.metrics import Metrics

TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
YOUNG_S = 5.0
"""A connection that is awaited for less is not counted as half open. A client that opened 1000 websockets at once had sent its
last request after 2.1 s, where both shared two busy cores."""
FULL = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """request_s: from the first byte, or from the beginning of a connection, to the last byte of the request."""

    request_s: float = 10.0
    half_open: int = 64
    """Connections whose handshake is not done, or whose request not whole after `YOUNG_S`; one more, and the oldest of them is
    closed."""
    connections: int = 1024
    """Of every kind; one more, and the oldest whose request is not whole is answered with 503, or itself where there is none."""
    unread_s: float = 300.0
    """Until an answer of which nothing is read any more is given up; a player of endless sound may be paused for so long."""
    reading: float = 0.2
    """Share of the event loop's time that what one websocket sends may take; what comes beyond it is heard later."""
    reading_all: float = 0.4
    """The same of all websockets together; beyond it they are heard in turns."""


class Caller(Protocol):
    """A connection whose request, or whose handshake, is awaited."""

    loop: asyncio.AbstractEventLoop

    def let_go(self, answer: bytes) -> None: ...


class Doorkeeper:
    """All connections of a server. To be given to uvicorn as its `http` class."""

    def __init__(self, limits: DoorLimits, metrics: Metrics) -> None:
        self.limits, self._metrics = limits, metrics
        self._half_open: dict[Caller, float] = {}  # since when, the oldest first; bound: limits.connections
        self._shaking: set[Caller] = set()  # those of them whose handshake is not done
        self._glance: asyncio.TimerHandle | None = None

    def __call__(self, **choices: Any) -> asyncio.Protocol:
        return Doorstep(self, **choices)

    def began(self, handshake: Caller, connections: int) -> None:
        """Its handshake is awaited. connections: how many there are beside handshakes."""
        self._shaking.add(handshake)
        if connections + len(self._shaking) > self.limits.connections:
            self.make_room(handshake)
        if handshake in self._shaking:
            self.came(handshake)

    def ended(self, handshake: Caller) -> None:
        """It is done, or the connection is gone."""
        self._shaking.discard(handshake)
        self.left(handshake)

    def came(self, connection: Caller) -> None:
        """Its request is awaited."""
        self._half_open[connection] = connection.loop.time()
        self._look_later(connection.loop)

    def make_room(self, connection: Caller) -> None:
        """One more came than there may be: the oldest goes whose request is not whole, or itself where there is none."""
        self.drop(next(iter(self._half_open), connection), "connections", FULL)

    def left(self, connection: Caller) -> None:
        """Its request is whole, or it is gone."""
        self._half_open.pop(connection, None)

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        """When the oldest of too many is young no more."""
        if len(self._half_open) > self.limits.half_open and self._glance is None:
            oldest_s = next(iter(self._half_open.values()))
            self._glance = loop.call_at(oldest_s + YOUNG_S, self._thin_out, loop)

    def _thin_out(self, loop: asyncio.AbstractEventLoop) -> None:
        self._glance = None
        old_s = loop.time() - YOUNG_S
        while len(self._half_open) > self.limits.half_open:
            oldest, since_s = next(iter(self._half_open.items()))
            if since_s > old_s:
                break
            self.drop(oldest, "half_open", TOO_LATE)
        self._look_later(loop)

    def drop(self, connection: Caller, reason: str, answer: bytes) -> None:
        self.ended(connection)
        self._metrics.dropped.labels(reason).inc()
        connection.let_go(answer)

    def give_up(self, connection: Doorstep) -> None:
        """It reads nothing, so it is told nothing."""
        self._metrics.dropped.labels("unread").inc()
        connection.transport.abort()


class Doorstep(H11Protocol):
    """One connection, until it becomes a websocket."""

    def __init__(self, keeper: Doorkeeper, **choices: Any) -> None:
        super().__init__(**choices)
        self._keeper = keeper
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._keeper.limits.connections:
            self._keeper.make_room(self)
        if not transport.is_closing():
            self._await_request()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._is_whole:
            self._stop_waiting()
        elif self._late is None:
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._is_read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self._keeper.limits.unread_s, self._keeper.give_up, self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._is_read()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop_waiting()
        self._is_read()
        super().handle_websocket_upgrade(event)

    def let_go(self, answer: bytes) -> None:
        """Say so where nothing was answered yet, and close."""
        self._stop_waiting()
        if self.cycle is None or not self.cycle.response_started:
            self.transport.write(answer)
        self.transport.close()

    @property
    def _is_whole(self) -> bool:
        """A websocket's connection is not ours any more."""
        return self.conn.their_state not in (h11.IDLE, h11.SEND_BODY) or self not in self.connections

    def _await_request(self) -> None:
        keeper = self._keeper
        self._late = self.loop.call_later(keeper.limits.request_s, keeper.drop, self, "slow", TOO_LATE)
        keeper.came(self)

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._keeper.left(self)
