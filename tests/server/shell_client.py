"""A client of the wire for tests: it speaks `cuestream.v1`, keeps every sample by its index, and waits for messages."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from server.protocol.media import Kind, Media, StreamId, decode_media, encode_media

PATIENCE_S = 10.0
PCM16 = NDArray[np.int16]


def jpeg(seed: int, codec: str = "mjpeg", side: tuple[int, int] = (96, 64)) -> bytes:
    """A picture of one colour with a block on it."""
    rng, (width, height) = np.random.default_rng(seed), side
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = rng.integers(0, 255, 3)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = rng.integers(0, 255, 3)
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.time_base = width, height, Fraction(1, 25)
    encoder.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24", "libwebp": "yuv420p"}[codec]
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=encoder.pix_fmt)
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def soon(holds: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Wait until it does."""
    end_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@contextlib.contextmanager
def raw(port: int, tls: ssl.SSLContext | None = None) -> Iterator[socket.socket]:
    """A connection whose every byte is the test's, once it asked to be a websocket."""
    with contextlib.ExitStack() as held:
        line = held.enter_context(socket.create_connection(("127.0.0.1", port)))
        if tls:
            line = held.enter_context(tls.wrap_socket(line, server_hostname="localhost"))
        key = base64.b64encode(os.urandom(16)).decode()
        line.sendall(
            f"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: cuestream.v1\r\n\r\n".encode()
        )
        line.settimeout(10)
        yield line


def keep_sending(line: socket.socket) -> None:
    """Pongs that nobody asked for, for longer than it takes to hear of the end."""
    until_s = time.monotonic() + 0.4
    while time.monotonic() < until_s:
        line.sendall(Frame(Opcode.PONG, bytes(125)).serialize(mask=True) * 80)
        time.sleep(0.01)


def last_code(received: bytes, line: socket.socket) -> int:
    """Of the close that ends what the server says."""
    while part := line.recv(4096):
        received += part
    return int.from_bytes(received.rpartition(b"\x88")[2][1:3])


class Client:
    """`messages`: every control message. `at`, `pcm`: where the music stands, and all of it [n, 2]."""

    def __init__(self, address: str, token: str | None = None, **headers: str) -> None:
        names = ["cuestream.v1"] + ([f"cuestream.token.{token}"] if token else [])
        spoken = [Subprotocol(name) for name in names]
        self._line = connect(
            address, subprotocols=spoken, additional_headers=headers, compression=None, max_queue=None
        )
        self.ws: ClientConnection = self._line.__enter__()
        self.messages: list[dict[str, Any]] = []
        self.media: list[Media] = []
        self.first = self.at = 0
        self.seq = 0
        self.reports = True

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.__exit__(None, None, None)

    def send(self, type: str, **fields: Any) -> None:
        self.ws.send(json.dumps({"type": type, **fields}))

    def start(self, **fields: Any) -> dict[str, Any]:
        self.send("session.start", protocol_minor=0, **fields)
        return self.until("session.created")

    def resume(self, handle: str, received: int, **fields: Any) -> dict[str, Any]:
        """Go on behind what another client received."""
        self.come_back(handle, received, **fields)
        self.first = self.at = received
        return self.until("session.resumed")

    def come_back(self, handle: str, received: int = 0, **fields: Any) -> None:
        """Ask for it, whatever the answer is."""
        self.send(
            "session.resume",
            protocol_minor=0,
            handle=handle,
            received_through_sample=received,
            played_through_sample=received,
            **fields,
        )

    def show(self, data: bytes | None = None, kind: Kind = Kind.JPEG, **fields: Any) -> None:
        payload = jpeg(self.seq) if data is None else data
        at_us = 1000 * self.seq
        self.ws.send(encode_media(Media(kind, StreamId.VIDEO, self.seq, at_us, payload, **fields)))
        self.seq += 1

    def play(self) -> None:
        """Show a picture and hear the first sound."""
        self.show()
        self.send("playback", action="play")
        self.hear(1)

    def hear(self, samples: int) -> None:
        """Receive until so much music came since the beginning."""
        self._until(lambda _: self.at >= samples)

    def until(self, type: str, **fields: Any) -> dict[str, Any]:
        """The next message of this type and with these fields."""
        wanted = {"type": type} | fields
        return self._until(lambda message: message is not None and wanted.items() <= message.items())

    def consumed_at_least(self, count: int) -> dict[str, Any]:
        """The first handle that confirms so many messages."""
        wanted = {"type": "resume.handle"}
        return self._until(
            lambda message: (
                message is not None
                and wanted.items() <= message.items()
                and message["consumed_messages"] >= count
            )
        )

    def hear_the_rest(self) -> None:
        """What is still on its way from a server that is gone."""
        with contextlib.suppress(ConnectionClosed):
            self._until(lambda _: False)

    def closed(self) -> int:
        """Receive until the server closes; the code."""
        with pytest.raises(ConnectionClosed) as end:
            self._until(lambda _: False)
        assert end.value.rcvd is not None
        return end.value.rcvd.code

    def wait_for(self, holds: Callable[[], bool]) -> None:
        """Until something is so in the server."""
        end_s = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < end_s
            time.sleep(0.01)

    def drop(self) -> None:
        """As a line that breaks: no close frame."""
        self.ws.socket.close()
        self.ws.close_socket()

    @property
    def pcm(self) -> PCM16:
        parts = [np.frombuffer(media.payload, "<i2").reshape(-1, 2) for media in self.media if media.payload]
        return np.concatenate(parts)

    def _until(self, is_it: Callable[[dict[str, Any] | None], bool]) -> dict[str, Any]:
        end_s = time.monotonic() + PATIENCE_S
        while (left_s := end_s - time.monotonic()) > 0:
            message = self._receive(left_s)
            if is_it(message):
                return cast(dict[str, Any], message)
        raise TimeoutError(f"waited for {PATIENCE_S:g} s; the last messages were {self.messages[-3:]}")

    def _receive(self, timeout_s: float) -> dict[str, Any] | None:
        data = self.ws.recv(timeout=timeout_s)
        if isinstance(data, str):
            self.messages.append(json.loads(data))
            return self.messages[-1]
        media = decode_media(data)
        assert isinstance(media, Media)
        self.first = media.ts if not self.media else self.first
        self.media.append(media)
        self.at = media.ts + media.dur
        if self.reports and len(self.media) % 5 == 0:
            with contextlib.suppress(ConnectionClosed):  # the server may have said goodbye meanwhile
                self.send("playout.report", played_through_sample=self.at, buffer_ms=0.0)
        return None


def ask(method: str, url: str, body: Any = None, key: str | None = None, **headers: str) -> tuple[int, Any]:
    """A request; its status, and its body: of JSON the value, otherwise text."""
    sent = {"authorization": f"Bearer {key}"} if key else {}
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, sent | headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, _value(answer)
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, _value(answer)


def _value(answer: Any) -> Any:
    text = answer.read().decode()
    return json.loads(text) if "json" in answer.headers.get("content-type", "") else text
