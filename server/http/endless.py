"""Endless sound over HTTP for OBS, VLC and mpv: /v1/sessions/{id}/audio.wav, .flac, .ogg (Opus), .mp3.

A listener hears what is placed from now on; silence while nothing plays, so that a player never runs dry. A tap on the session
fills a bounded queue; a worker thread encodes.
"""

from __future__ import annotations

import asyncio
import io
import struct
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Protocol

import av
import numpy as np
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from engine.frames import F32
from server.audio.packing import frame_of
from server.audio.resampling import WIRE_RATE, pcm16
from server.core.delivery import Delivery, Patience
from server.http.refusals import Refused
from server.sessions.host import Host
from server.sessions.hosted import Hosted

MOST_LISTENERS = 8
"""Of one session."""
MOST_WAITING_S = 4.0
"""A listener that reads more slowly misses what came before."""
SILENT_AFTER_S = 0.1
BLOCK_S = 0.1
"""Encoded at once."""
CHANNELS = 2


class Tap:
    """One listener: it has a turn in each tick of its session, read by its response."""

    def __init__(self, hosted: Hosted, host: Host) -> None:
        self.hosted, self._host = hosted, host
        core = hosted.core
        self._delivery = Delivery(Patience(credit=None), core.playout.ring.end)
        self._feed = hosted.feed(self._delivery.cursor)
        self._waiting: deque[F32] = deque()  # bound: MOST_WAITING_S, then the oldest goes
        self._samples = 0
        self._change = asyncio.Event()
        self._heard_s = host.monotonic()

    def tick(self, now_s: float) -> None:
        for out in self._delivery.take(self.hosted.core.playout, now_s):
            self._put(self._feed.push(out)[1])
            self._heard_s = now_s
        if (missing_s := now_s - self._heard_s) > SILENT_AFTER_S:
            self._heard_s = now_s
            self._put(np.zeros(int(missing_s * WIRE_RATE), np.float32))

    def end(self) -> None:
        self._change.set()

    def _put(self, samples: F32) -> None:
        self._waiting.append(samples)
        self._samples += len(samples)
        while self._samples > MOST_WAITING_S * WIRE_RATE:
            lost = len(self._waiting.popleft())
            self._samples -= lost
            self._host.metrics.skipped.inc(lost)
        if self._samples >= BLOCK_S * WIRE_RATE:
            self._change.set()

    async def next(self) -> F32 | None:
        """The next block, None at the end of the session."""
        while self._samples < BLOCK_S * WIRE_RATE and not self.hosted.gone:
            self._change.clear()
            await self._change.wait()
        if not self._waiting:
            return None
        block = np.concatenate(self._waiting)
        self._waiting.clear()
        self._samples = 0
        return block


class Encoder(Protocol):
    """Blocks of mono samples at 48 kHz in, bytes of a file without end out."""

    def encode(self, samples: F32) -> bytes: ...

    def finish(self) -> bytes: ...

    def close(self) -> None:
        """Also when it was not finished; FFmpeg's would lie around until the garbage collector comes."""


class Wav:
    """Its header says the longest length there is."""

    def __init__(self) -> None:
        form = struct.pack("<HHIIHH", 1, CHANNELS, WIRE_RATE, WIRE_RATE * CHANNELS * 2, CHANNELS * 2, 16)
        sizes = struct.pack("<I", 0xFFFFFFFF)
        self._head = b"RIFF" + sizes + b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + sizes

    def encode(self, samples: F32) -> bytes:
        head, self._head = self._head, b""
        return head + pcm16(samples, CHANNELS).tobytes()

    def finish(self) -> bytes:
        return b""

    def close(self) -> None: ...


class Muxed:
    """Through a muxer of FFmpeg that writes into memory and never seeks."""

    def __init__(self, form: str, codec: str, options: dict[str, str]) -> None:
        self._sink = _Sink()
        self._container: Any = av.open(self._sink, "w", format=form, options={"flush_packets": "1"} | options)
        stream: Any = self._container.add_stream(codec, rate=WIRE_RATE)
        stream.layout = "stereo"
        self._stream = stream
        self._at = 0

    def encode(self, samples: F32) -> bytes:
        frame = frame_of(pcm16(samples, CHANNELS), self._at)
        self._at += len(samples)
        self._container.mux(self._stream.encode(frame))
        return self._sink.taken()

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.taken()

    def close(self) -> None:
        if self._container:
            self._container.close()
        self._container = self._stream = None


class _Sink(io.RawIOBase):
    """What was written and not yet taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []  # bound: one block's worth

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _encoder(ending: str) -> Encoder:
    match ending:
        case "wav":
            return Wav()
        case "flac":
            return Muxed("flac", "flac", {})
        case "ogg":
            return Muxed("ogg", "libopus", {"page_duration": "100000"})
        case _:
            return Muxed("mp3", "libmp3lame", {"write_xing": "0", "id3v2_version": "0"})


ENDINGS = {"wav": "audio/wav", "ogg": "audio/ogg", "mp3": "audio/mpeg", "flac": "audio/flac"}


async def listen(request: Request) -> Response:
    """The route. A key, or the token of the session's addresses, where the server asks for one."""
    host: Host = request.app.state.host
    session_id, ending = request.path_params["session_id"], request.path_params["ending"]
    if host.door.asks_for_a_key and not host.door.may_listen(
        session_id, request.query_params.get("token", "")
    ):
        raise Refused(401, "unauthorized", "this address needs the session's token")
    hosted = host.find(session_id)
    if hosted is None or ending not in ENDINGS:
        raise Refused(404, "session_not_found", "no such session or format here")
    if len(hosted.taps) >= MOST_LISTENERS:
        host.metrics.listeners_refused.inc()
        raise Refused(503, "capacity", f"{MOST_LISTENERS} listeners are here already")
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    if request.method == "HEAD":
        return Response(media_type=ENDINGS[ending], headers=headers)
    tap = Tap(hosted, host)
    return Listening(tap, host, _sound(tap, ending), media_type=ENDINGS[ending], headers=headers)


class Listening(StreamingResponse):
    """Counts from the moment it is made, so that no more are let in meanwhile, to its end, also when nothing was sent."""

    def __init__(self, tap: Tap, host: Host, sound: AsyncIterator[bytes], **choices: Any) -> None:
        super().__init__(sound, **choices)
        self._tap, self._host = tap, host
        tap.hosted.taps.append(tap)
        host.metrics.listeners.inc()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._tap.hosted.taps.remove(self._tap)
            self._host.metrics.listeners.dec()


async def _sound(tap: Tap, ending: str) -> AsyncIterator[bytes]:
    encoder = await asyncio.to_thread(_encoder, ending)
    work: asyncio.Future[bytes] | None = None
    try:
        while (block := await tap.next()) is not None:
            work = asyncio.ensure_future(asyncio.to_thread(encoder.encode, block))
            if data := await asyncio.shield(work):
                yield data
        work = asyncio.ensure_future(asyncio.to_thread(encoder.finish))
        yield await asyncio.shield(work)
    finally:
        if work is None or work.done():
            encoder.close()
        else:  # it left meanwhile
            work.add_done_callback(lambda _: encoder.close())
