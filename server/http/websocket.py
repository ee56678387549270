"""uvicorn's websocket with a way past its queues: what comes is handed over at once, what goes is written where there is room.

On uvicorn's and Starlette's way a message costs two turns of the loop, a queue and, coming in, a pause of the transport: more
than the music in it. Handshake, heartbeat and close stay theirs.

A client that sends more than its share of the loop's time can hear is read more slowly; where all of them together send too
much, they are read in turns. So the music of the others is in time.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from time import thread_time
from typing import Any

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request
from websockets.protocol import OPEN

from server.http.turns import Turns, later

HEARTBEAT_TIMEOUT = 4408
EXTENSION = "cuestream.direct"
TEXT, BINARY = 0x81, 0x82
"""Whole frames. Source: RFC 6455, 5.2; those of a server are not masked."""
SHORT, MIDDLE = 125, 0xFFFF
READ_BYTES = 8 * 1024
"""That are heard before it is looked how long that took: of the shortest frames 10 ms."""
MOST_FRAGMENTS = 4096
"""Of one message. A fragment may be empty, so the longest message alone bounds nothing; ours come in one."""
GONE_S = 12.0
"""How long what was said last may wait to be read once the conversation is over; uvicorn waits 10 s for the other end's close."""
LAST_S = 0.8
"""The same where the server leaves, or would not hear that close over TLS."""


class Direct(WebSocketsSansIOProtocol):
    """One connection. Closes with the protocol's own code when pings are not answered.

    share: of the loop's time, for what comes; turns: the same of all connections; put_off: is called when more came, which is
    then heard later.
    """

    _hear: Callable[[str | bytes], None] | None = None

    def __init__(self, share: float, turns: Turns, put_off: Callable[[], object], **choices: Any) -> None:
        super().__init__(**choices)
        self._share, self._turns, self._put_off = share, turns, put_off
        self._unheard = memoryview(b"")  # bound: what the transport reads at once; meanwhile it reads nothing
        self._due_s = 0.0  # when what was heard is paid for
        self._rest: asyncio.TimerHandle | None = None  # until then
        self._in_line, self._taken_s = False, 0.0  # for its turn; what it took by now
        self._gone: asyncio.TimerHandle | None = None  # until what nobody reads is given up

    def data_received(self, data: bytes) -> None:
        self._unheard = memoryview(bytes(self._unheard) + data if self._unheard else data)
        if self._rest is None and not self._in_line:
            self._go_on()
        else:
            self.transport.pause_reading()

    def _go_on(self) -> None:
        """Hear what came, a piece at a time, while its share lasts."""
        rested, self._rest, self._in_line = self._rest is not None or self._in_line, None, False
        while self._unheard and not self.transport.is_closing():
            now_s = self.loop.time()
            if self._due_s > now_s:
                self._rest = self.loop.call_at(self._due_s, self._go_on)
            elif not self._turns.are_due(now_s):
                self._in_line = True
                self._turns.wait(self.loop, self._taken_s, self._go_on)
            else:
                self._hear_piece(now_s)
                continue
            self.transport.pause_reading()
            self._put_off()
            return
        if rested and not self.read_paused:
            self.transport.resume_reading()

    def _hear_piece(self, now_s: float) -> None:
        piece, self._unheard = self._unheard[:READ_BYTES], self._unheard[READ_BYTES:]
        began_s = thread_time()  # not while others have the processor
        super().data_received(bytes(piece))
        took_s = thread_time() - began_s
        self._due_s = later(self._due_s, now_s, took_s, self._share)
        self._taken_s = self._turns.heard(now_s, self._taken_s, took_s)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._rest, self._gone):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    async def run_asgi(self) -> None:
        await super().run_asgi()
        if not self.disconnected:
            self._gone = self.loop.call_later(GONE_S, self.transport.abort)

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

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) < MOST_FRAGMENTS:
            super().handle_cont(event)
        elif not self.close_sent:
            self.frames = []
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, "message_too_large")
            self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        """Nothing is understood any more, the other end's close neither; what comes is thrown away until the connection ends.

        Whoever ends it with something unread cuts it off, and the client may never read why.
        """
        ends_in_halves = self.transport.can_write_eof()  # TLS only as a whole
        if not self.close_sent:
            close = self.conn.close_sent
            assert close is not None
            self.queue.put_nowait(
                {"type": "websocket.disconnect", "code": close.code, "reason": close.reason}
            )
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            within_s = self.close_timeout if ends_in_halves else LAST_S
            self.close_timer = self.loop.call_later(within_s, self.transport.close)
            if self.read_paused:
                self.read_paused = False
                self.transport.resume_reading()
        if ends_in_halves:
            self.transport.write_eof()

    def shutdown(self) -> None:
        """Whoever was told why it ends may read that, and close."""
        if self.close_timer is None:
            super().shutdown()
            return
        self.stop_keepalive()
        self.close_timer.cancel()
        self.close_timer = self.loop.call_later(LAST_S, self.transport.close)

    def handle_ping(self) -> None:
        """Answered while the client reads; otherwise answers would pile up, and it may leave out older ones (RFC 6455, 5.5.3)."""
        answer = b"".join(self.conn.data_to_send())
        if self.writable.is_set():
            self.transport.write(answer)

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
        if not self.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": HEARTBEAT_TIMEOUT})
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
