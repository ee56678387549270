"""A data channel as another line of the protocol: JSON both ways, as on the websocket. Music and pictures have tracks.

A data channel has no close codes: where a websocket would be closed with one, the peer connection ends, and the message before
says why.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from aiortc import RTCDataChannel

from server.protocol.errors import ErrorCode
from server.sessions.conversation import Conversation
from server.sessions.outbox import Line

LABEL = "cuestream"
FAREWELL_S = 1.0
"""How long the last messages may take to leave."""
LOOK_S = 0.01


class Channel:
    """`Conversation` and `Line` on the client's channel, once it is there. most_bytes: see `PeerLimits.channel_bytes`."""

    def __init__(self, line: Line, conversation: Conversation, most_bytes: int) -> None:
        self._line, self._conversation, self._most_bytes = line, conversation, most_bytes
        self._channel: RTCDataChannel | None = None
        self._opened, self._began, self._room = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def take(self, channel: RTCDataChannel, closed: Callable[[], object]) -> None:
        """The first one of our name; others are closed. closed: called when the client closes it."""
        if self._channel is not None or channel.label != LABEL:
            channel.close()
            return
        self._channel = channel
        channel.bufferedAmountLowThreshold = self._most_bytes // 2
        channel.on("message", self._receive)
        channel.on("bufferedamountlow", self._room.set)
        channel.on("close", closed)
        self._opened.set()

    def _receive(self, data: str | bytes) -> None:
        self._conversation.receive(data)
        if self._conversation.hosted:
            self._began.set()

    async def begin(self, handshake_s: float) -> None:
        """Returns when a session was started or resumed; fails the line when none was in time."""
        try:
            async with asyncio.timeout(handshake_s):
                await self._began.wait()
        except TimeoutError:
            self._line.fail(ErrorCode.BAD_HANDSHAKE, f"nothing began within {handshake_s:g} s")
            self._opened.set()

    async def carry(self) -> None:
        """Until the line is closed and what it had to say has left."""
        await self._opened.wait()
        while (data := await self._line.next()) is not None:
            await self._send(data)
        if channel := self._channel:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL_S):
                    await _empty(channel)

    async def _send(self, data: str | bytes) -> None:
        """What cannot be sent any more is left out: its client is gone."""
        channel = self._channel
        while channel and channel.readyState == "open" and channel.bufferedAmount > self._most_bytes:
            self._room.clear()
            await self._room.wait()
        if channel and channel.readyState == "open":
            channel.send(data)


async def _empty(channel: RTCDataChannel) -> None:
    while channel.bufferedAmount and channel.readyState == "open":
        await asyncio.sleep(LOOK_S)
