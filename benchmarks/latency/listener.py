"""One listener: shows pictures at a steady rate, plays on a virtual sound card, says what it heard. All by absolute deadlines.

It takes the bytes from the socket itself, without a queue or a task between, so that "came" means that it was in hand.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from benchmarks.latency.card import RATE, Card
from server.protocol import PROTOCOL_MINOR, SUBPROTOCOL
from server.protocol.media import EXTENSION, HEADER, SOURCE, Flag, Kind, Media, StreamId, encode_media

REPORT_S = 0.2
"""How often it says what was played; the protocol asks for no less."""
SCENE_S = 2.0
"""The picture is dark and bright in turn for so long."""
CLICK = 0.35
"""Of full scale; the synthetic player's tones stay under it, its clicks do not."""
MOST_LOUD = 1 << 16
PATIENCE_S = 60.0
"""How long the server may take to answer."""


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
    concealed: int
    error: str | None


class Listener(asyncio.Protocol):
    """`opened`, `created`, `sounds`, `done`: how far it came; all of them when the connection ended."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._websocket = ClientProtocol(parse_uri(plan.url), subprotocols=[Subprotocol(SUBPROTOCOL)])
        self._transport: Any = None
        self.opened, self.created, self.sounds, self.done = (asyncio.Event() for _ in range(4))
        self.card = Card(plan.buffer_s)
        self.loud_s: deque[float] = deque(maxlen=MOST_LOUD)  # full: the oldest goes
        self.concealed = 0
        self.error: str | None = None
        self._was_loud = False
        self._newest_us = 0

    # --- what comes

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._websocket.send_request(self._websocket.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        came_s = time.monotonic()
        self._websocket.receive_data(data)
        for event in self._websocket.events_received():
            if isinstance(event, Frame):
                self._frame(event, came_s)
            elif isinstance(event, Response):
                self.opened.set()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        for event in (self.opened, self.created, self.sounds, self.done):
            event.set()

    def _frame(self, frame: Frame, came_s: float) -> None:
        if frame.opcode is Opcode.BINARY:
            self._music(bytes(frame.data), came_s)
        elif frame.opcode is Opcode.TEXT:
            self._message(json.loads(bytes(frame.data)))

    def _message(self, message: dict[str, Any]) -> None:
        if message["type"] == "session.created":
            self.created.set()
        if message["type"] == "error":
            self.error = message["text"]

    def _music(self, data: bytes, came_s: float) -> None:
        _, flags, _, _, first, _, count, ext_len = HEADER.unpack_from(data)
        if ext_len:  # otherwise the source of the message before holds
            self._newest_us = SOURCE.unpack_from(data, HEADER.size + EXTENSION.size)[0]
        self.concealed += bool(flags & Flag.CONCEALED)
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
        self._websocket.send_text(json.dumps({"type": type, **fields}).encode())
        self._flush()

    def show(self, seq: int, at_us: int, picture: bytes) -> None:
        self._websocket.send_binary(encode_media(Media(Kind.JPEG, StreamId.VIDEO, seq, at_us, picture)))
        self._flush()

    def leave(self) -> None:
        if not self.done.is_set():
            self._websocket.send_close(1000)
            self._flush()

    def _flush(self) -> None:
        for data in self._websocket.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.close()


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
    except (TimeoutError, InvalidState) as error:
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
        listener.concealed,
        listener.error,
    )
