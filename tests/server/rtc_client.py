"""A WebRTC client for tests, with aiortc: it publishes, plays, or does both as a browser does. Over loopback only."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
    VideoStreamTrack,
)
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray

PATIENCE_S = 10.0
SDP = "application/sdp"
F32 = NDArray[np.float32]


class Lamp(VideoStreamTrack):
    """A grey picture, 20 a second, that is as bright as `level` says. shown: how many."""

    def __init__(self, size: tuple[int, int] = (160, 120), level: int = 40) -> None:
        super().__init__()
        self.size, self.level, self.shown = size, level, 0

    async def recv(self) -> av.VideoFrame:
        if self.shown:
            await asyncio.sleep(0.05)
        width, height = self.size
        frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), self.level, np.uint8), format="rgb24")
        frame.pts, frame.time_base = self.shown * 4500, Fraction(1, 90_000)
        self.shown += 1
        return frame


class Ears:
    """What comes in on a sound track. `pcm`: int16 [n, 2] so far."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.int16]] = []
        self.change = asyncio.Event()

    async def listen(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame: Any = await track.recv()
                self._parts.append(frame.to_ndarray().reshape(-1, 2))
                self.change.set()

    @property
    def pcm(self) -> NDArray[np.int16]:
        return np.concatenate([np.zeros((0, 2), np.int16), *self._parts])

    def forget(self) -> None:
        self._parts.clear()

    async def until(self, holds: Callable[[NDArray[np.int16]], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds(self.pcm):
                self.change.clear()
                await self.change.wait()


class RtcClient:
    """`location`, `session`: by the answer. `messages`: what came on the channel. `ended`: set when the connection is over."""

    def __init__(self) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.ears, self.messages, self.ended = Ears(), list[dict[str, Any]](), asyncio.Event()
        self.location = self.session = ""
        self.channel: RTCDataChannel | None = None
        self.answer: dict[str, str] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._change = asyncio.Event()
        self.pc.on("track", self._track)
        self.pc.on("connectionstatechange", self._changed)

    def _track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            self._tasks.append(asyncio.create_task(self.ears.listen(track)))

    def _changed(self) -> None:
        if self.pc.connectionState in ("failed", "closed"):
            self.ended.set()

    def open_channel(self, label: str = "cuestream") -> None:
        self.channel = self.pc.createDataChannel(label)
        self.channel.on("message", self._heard)
        self.channel.on("open", self._change.set)

    def _heard(self, data: str) -> None:
        self.messages.append(json.loads(data))
        self._change.set()

    def send(self, type: str, **fields: Any) -> None:
        assert self.channel is not None
        self.channel.send(json.dumps({"type": type, **fields}))

    async def until(self, type: str, **fields: Any) -> dict[str, Any]:
        """The first message of this type and with these fields, also one that came before."""
        wanted = {"type": type} | fields
        async with asyncio.timeout(PATIENCE_S):
            while not (found := [m for m in self.messages if wanted.items() <= m.items()]):
                self._change.clear()
                await self._change.wait()
        return found[0]

    async def offer(self) -> str:
        """The offer's SDP, with the candidates."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return str(self.pc.localDescription.sdp)

    async def post(self, url: str, key: str | None = None, sdp: str | None = None) -> tuple[int, Any, Any]:
        """Offer it; status, body, headers. What was answered is taken."""
        offer = sdp or await self.offer()
        status, body, headers = await asyncio.to_thread(send, "POST", url, offer, SDP, key)
        if status == 201:
            await self.take(body, headers)
        return status, body, headers

    async def take(self, sdp: str, headers: Any) -> None:
        self.location, self.session = headers["location"], headers.get("cuestream-session", "")
        self.answer = dict(headers)
        await self.pc.setRemoteDescription(RTCSessionDescription(sdp, "answer"))

    async def meet(self, base: str, key: str | None = None) -> int:
        """Offer it as a browser does."""
        body = {"type": "offer", "sdp": await self.offer()}
        status, answer, headers = await asyncio.to_thread(
            send, "POST", base + "/v1/offer", json.dumps(body), "application/json", key
        )
        if status == 201:
            await self.take(json.loads(answer)["sdp"], headers)
        return status

    async def start(self, **fields: Any) -> dict[str, Any]:
        await self.opened()
        self.send("session.start", protocol_minor=0, **fields)
        return await self.until("session.created")

    async def opened(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.channel is None or self.channel.readyState != "open":
                self._change.clear()
                await self._change.wait()

    async def connected(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.pc.connectionState != "connected":
                assert not self.ended.is_set()
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        await self.pc.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def publisher(
    video: MediaStreamTrack | None = None, audio: MediaStreamTrack | None = None, codec: str = "VP8"
) -> RtcClient:
    client = RtcClient()
    if audio:
        client.pc.addTransceiver(audio, "sendonly")
    sends = client.pc.addTransceiver(video or Lamp(), "sendonly")
    known = RTCRtpSender.getCapabilities("video")
    assert known is not None
    sends.setCodecPreferences([each for each in known.codecs if each.name == codec])
    return client


def player() -> RtcClient:
    client = RtcClient()
    client.pc.addTransceiver("audio", "recvonly")
    return client


def browser(lamp: Lamp | None = None) -> RtcClient:
    client = RtcClient()
    client.pc.addTransceiver(lamp or Lamp(), "sendonly")
    client.pc.addTransceiver("audio", "recvonly")
    client.open_channel()
    return client


@contextlib.asynccontextmanager
async def closing(*clients: RtcClient) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for client in clients:
            await client.close()


async def eventually(holds: Callable[[], Any]) -> None:
    """Until something is so in the server."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.02)


def send(
    method: str,
    url: str,
    body: str | None = None,
    kind: str | None = None,
    key: str | None = None,
    **more: str,
) -> tuple[int, str, Any]:
    """A request without redirects; status, body, headers."""
    import http.client
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    line = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE_S)
    headers = {"content-type": kind} if kind else {}
    headers |= {"authorization": f"Bearer {key}"} if key else {}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    with contextlib.closing(line):
        line.request(method, path, body, headers)
        answer = line.getresponse()
        return answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.getheaders()}
