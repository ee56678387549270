"""One listener: shows pictures at a steady rate, plays on a virtual sound card, says what it heard. All by absolute deadlines.

It takes the bytes from the socket itself, without a queue or a task between, so that "came" means that it was in hand.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from websockets.client import OPEN, ClientProtocol
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from benchmarks.latency.card import RATE, Card
from benchmarks.latency.framing import BINARY, CLOSE, PING, PONG, TEXT, Frames, masked
from server.protocol import PROTOCOL_MINOR, SUBPROTOCOL
from server.protocol.media import EXTENSION, HEADER, Flag, Kind, Media, StreamId, encode_media

REPORT_S = 0.2
"""How often it says what was played; the protocol asks for no less."""
SCENE_S = 2.0
"""The picture is dark and bright in turn for so long."""
CLICK = 0.35
"""Of full scale; the synthetic player's tones stay under it, its clicks do not."""
MOST_LOUD = 1 << 16
PATIENCE_S = 60.0
"""How long the server may take to answer."""
NEWEST_US = struct.Struct("<Q")
"""The beginning of a source; the rest is not looked at."""
CONCEALED = int(Flag.CONCEALED)
LEFT = struct.pack("!H", 1000)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a listener does. url: ws://host:port/v1/stream. dark, bright: encoded pictures. seconds: after the first sound."""

    url: str
    fps: float
    codec: str
    seconds: float
    dark: tuple[bytes, ...]
    bright: tuple[bytes, ...]
    buffer_s: float
    begins_s: float
    """Of the clock that all processes share."""
    clicks: bool
    """Whether to look for clicks in the sound."""


class Said(msgspec.Struct, frozen=True):
    """What is looked at of a control message."""

    type: str
    text: str = ""
    level: int = 0


SAID = msgspec.json.Decoder(Said)


@dataclass(frozen=True, slots=True)
class Heard:
    """What one listener noted, in seconds of the machine's monotonic clock. hello_s: before it connected.

    rows: as `Card.rows` gives them.
    """

    hello_s: float
    first_s: float | None
    rows: NDArray[np.float64]
    pictures: NDArray[np.float64]
    """[m, 2]: when it was sent, whether the scene turned with it."""
    loud_s: tuple[float, ...]
    """When stretches came that begin a click."""
    underruns: int
    gaps: int
    """Stretches that did not begin where the one before ended."""
    concealed: int
    degraded: int
    """Stretches that came while the server said that it gives something up."""
    error: str | None


class Listener(asyncio.Protocol):
    """`opened`, `created`, `sounds`, `done`: how far it came; all of them when the connection ended."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._websocket = ClientProtocol(parse_uri(plan.url), subprotocols=[Subprotocol(SUBPROTOCOL)])
        self._transport: Any = None
        self._frames = Frames()
        self.opened, self.created, self.sounds, self.done = (asyncio.Event() for _ in range(4))
        self.card = Card(plan.buffer_s)
        self.loud_s: deque[float] = deque(maxlen=MOST_LOUD)  # full: the oldest goes
        self.concealed = self.degraded = self._level = 0
        self.error: str | None = None
        self._was_loud = False
        self._newest_us = 0

    # --- what comes

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._websocket.send_request(self._websocket.connect())
        transport.writelines(self._websocket.data_to_send())

    def data_received(self, data: bytes) -> None:
        came_s = time.monotonic()
        if not self.opened.is_set():
            self._open(data)
            return
        for opcode, payload in self._frames.feed(data):
            self._frame(opcode, payload, came_s)

    def _open(self, data: bytes) -> None:
        """The handshake; the server says nothing before it is asked to."""
        self._websocket.receive_data(data)
        if any(isinstance(event, Response) for event in self._websocket.events_received()):
            if self._websocket.state is not OPEN:
                self.error = "the server opened no websocket"
                self._transport.close()
            self.opened.set()

    def connection_lost(self, exc: Exception | None) -> None:
        for event in (self.opened, self.created, self.sounds, self.done):
            event.set()

    def _frame(self, opcode: int, payload: memoryview, came_s: float) -> None:
        if opcode == BINARY:
            self._music(payload, came_s)
        elif opcode == TEXT:
            self._message(SAID.decode(payload))
        elif opcode == PING:
            self._send(PONG, bytes(payload))

    def _message(self, said: Said) -> None:
        if said.type == "session.created":
            self.created.set()
        if said.type == "state":
            self._level = said.level
        if said.type == "error":
            self.error = said.text

    def _music(self, data: memoryview, came_s: float) -> None:
        _, flags, _, _, first, _, count, ext_len = HEADER.unpack_from(data)
        if ext_len:  # otherwise the source of the message before holds
            (self._newest_us,) = NEWEST_US.unpack_from(data, HEADER.size + EXTENSION.size)
        self.concealed += flags & CONCEALED > 0
        self.degraded += self._level > 0
        if not count:
            return
        self.card.hear(came_s, first, count, self._newest_us)
        if not self.sounds.is_set():
            self.sounds.set()
        if self._plan.clicks:
            self._listen(np.frombuffer(data, "<i2", offset=HEADER.size + ext_len), came_s)

    def _listen(self, samples: NDArray[np.int16], came_s: float) -> None:
        loud = int(samples.max()) > CLICK * 32767
        if loud and not self._was_loud:
            self.loud_s.append(came_s)
        self._was_loud = loud

    # --- what goes

    def say(self, type: str, **fields: Any) -> None:
        self._send(TEXT, msgspec.json.encode({"type": type, **fields}))

    def show(self, seq: int, at_us: int, picture: bytes) -> None:
        self._send(BINARY, encode_media(Media(Kind.JPEG, StreamId.VIDEO, seq, at_us, picture)))

    def leave(self) -> None:
        self._send(CLOSE, LEFT)

    def _send(self, opcode: int, payload: bytes) -> None:
        """To a server that is still there."""
        if not self._transport.is_closing():
            self._transport.write(masked(opcode, payload))


async def listen(plan: Plan) -> Heard:
    """One session from hello to goodbye."""
    await asyncio.sleep(max(0.0, plan.begins_s - time.monotonic()))
    address = parse_uri(plan.url)
    hello_s = time.monotonic()
    _, listener = await asyncio.get_running_loop().create_connection(
        lambda: Listener(plan), address.host, address.port
    )
    sent: list[tuple[float, float]] = []
    showing: asyncio.Task[None] | None = None
    try:
        await _known(listener.opened)
        form = {"codec": plan.codec, "sample_rate": RATE, "channels": 2}
        listener.say("session.start", protocol_minor=PROTOCOL_MINOR, audio=form)
        await _known(listener.created)
        showing = asyncio.create_task(_show(listener, plan, sent))
        listener.say("playback", action="play")
        await _known(listener.sounds)
        await _play(listener, plan.seconds)
        showing.cancel()
        listener.leave()
        await _known(listener.done)
    except TimeoutError as error:
        listener.error = listener.error or f"the server did not answer, or left: {type(error).__name__}"
    finally:
        if showing:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
    return _heard(listener, hello_s, sent)


async def _known(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await event.wait()


async def _show(listener: Listener, plan: Plan, sent: list[tuple[float, float]]) -> None:
    began_s = time.monotonic()
    was_bright = False
    for seq in range(1 << 32):
        due_s = began_s + seq / plan.fps
        await asyncio.sleep(due_s - time.monotonic())
        bright = (due_s - began_s) % (2 * SCENE_S) >= SCENE_S
        pictures = plan.bright if bright else plan.dark
        now_s = time.monotonic()
        sent.append((now_s, float(bright != was_bright)))
        was_bright = bright
        listener.show(seq, int(now_s * 1e6), pictures[seq % len(pictures)])


async def _play(listener: Listener, seconds: float) -> None:
    """Say what was played, for so long or until the server leaves."""
    began_s = time.monotonic()
    for turn in range(1, int(seconds / REPORT_S) + 1):
        await asyncio.sleep(began_s + turn * REPORT_S - time.monotonic())
        if listener.done.is_set():
            listener.error = listener.error or "the server left"
            return
        card = listener.card
        played = card.played(time.monotonic())
        listener.say(
            "playout.report",
            played_through_sample=played,
            buffer_ms=round((card.end - played) * 1000 / RATE, 1),
            underruns=card.underruns,
        )


def _heard(listener: Listener, hello_s: float, sent: list[tuple[float, float]]) -> Heard:
    rows = listener.card.rows()
    return Heard(
        hello_s,
        float(rows[0, 0]) if len(rows) else None,
        rows,
        np.array(sent).reshape(-1, 2),
        tuple(listener.loud_s),
        listener.card.underruns,
        listener.card.gaps,
        listener.concealed,
        listener.degraded,
        listener.error,
    )
