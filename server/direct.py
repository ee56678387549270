"""uvicorn's websocket with a way past its queues: what comes is handed over at once, what goes is written where there is room.

On uvicorn's and Starlette's way a message costs two turns of the loop, a queue and, coming in, a pause of the transport: more
than the music in it. Handshake, heartbeat and close stay theirs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import OPEN

HEARTBEAT_TIMEOUT = 4408
EXTENSION = "cuestream.direct"
TEXT, BINARY = 0x81, 0x82
"""Whole frames. Source: RFC 6455, 5.2; those of a server are not masked."""
SHORT, MIDDLE = 125, 0xFFFF


class Direct(WebSocketsSansIOProtocol):
    """One connection. Closes with the protocol's own code when pings are not answered."""

    _hear: Callable[[str | bytes], None] | None = None

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope["extensions"][EXTENSION] = {"socket": self}

    def hand_over(self, hear: Callable[[str | bytes], None]) -> None:
        """Each message to `hear`, once the handshake is over; first those that came before. Nothing waits here any more."""
        self._hear = hear
        waiting = [self.queue.get_nowait() for _ in range(self.queue.qsize())]
        for event in waiting:
            if event["type"] == "websocket.receive":
                text = event.get("text")
                hear(event.get("bytes") or b"" if text is None else text)
            else:
                self.queue.put_nowait(event)
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def send_receive_event_to_app(self) -> None:
        if self._hear is None or self.close_sent:
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        # what is no UTF-8 becomes halves of surrogate pairs, which the protocol refuses in its own words
        self._hear(data.decode(errors="surrogateescape") if self.curr_msg_data_type == "text" else data)

    def write(self, data: str | bytes) -> bool:
        """Whether it is on its way. It is not while the client reads too slowly, nor before or behind the conversation."""
        if not self.writable.is_set() or self.conn.state is not OPEN or self.transport.is_closing():
            return False
        payload = data.encode() if isinstance(data, str) else data
        self.transport.writelines((_head(TEXT if isinstance(data, str) else BINARY, len(payload)), payload))
        return True

    def keepalive_timeout(self) -> None:
        fail = self.conn.fail
        self.conn.fail = lambda code, reason="": fail(HEARTBEAT_TIMEOUT, "heartbeat_timeout")  # type: ignore[method-assign]
        super().keepalive_timeout()


def direct(websocket: WebSocket) -> Direct:
    """The connection below."""
    found = websocket.scope["extensions"][EXTENSION]["socket"]
    assert isinstance(found, Direct)
    return found


def _head(first: int, length: int) -> bytes:
    if length <= SHORT:
        return bytes((first, length))
    if length <= MIDDLE:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)
