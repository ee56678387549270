"""A little RTSP server for tests: H.264 of small pictures, interleaved with its TCP connection; or one that redirects."""

from __future__ import annotations

import contextlib
import ssl
import struct
import time
from collections.abc import Iterator
from fractions import Fraction
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

import av
import numpy as np
from flashing import FPS

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track\r\n"
)


@contextlib.contextmanager
def rtsp(redirect: str | None = None, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[str]]]:
    """Its address, and the requests that came. redirect: where whoever asks for a description is sent."""
    asked: list[str] = []

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                while lines := self._request():
                    asked.append(lines[0])
                    if self._answer(lines):
                        self._play()
                        return

        def _request(self) -> list[str]:
            lines = []
            while (line := self.rfile.readline().decode().strip()) or not lines:
                if not line:
                    return []
                lines.append(line)
            return lines

        def _answer(self, lines: list[str]) -> bool:
            """Whether it is to be played now."""
            verb = lines[0].split()[0]
            number = next(line.partition(":")[2].strip() for line in lines if line.lower().startswith("cseq"))
            status, headers, body = "200 OK", "Session: 1\r\n", ""
            if verb == "OPTIONS":
                headers = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            elif verb == "DESCRIBE" and redirect:
                status, headers = "302 Moved", f"Location: {redirect}\r\n"
            elif verb == "DESCRIBE":
                headers, body = "Content-Type: application/sdp\r\n", SDP
            elif verb == "SETUP":
                headers += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            length = f"Content-Length: {len(body)}\r\n" if body else ""
            self.wfile.write(f"RTSP/1.0 {status}\r\nCSeq: {number}\r\n{headers}{length}\r\n{body}".encode())
            return verb == "PLAY"

        def _play(self) -> None:
            encoder: Any = av.CodecContext.create("libx264", "w")
            encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = (
                64,
                48,
                "yuv420p",
                Fraction(1, FPS),
            )
            encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "5"}
            begun_s, seq = time.monotonic(), 0
            for number in range(30 * FPS):
                pixels = np.full((48, 64, 3), 20 if number // FPS % 2 == 0 else 230, np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
                frame.pts = number
                time.sleep(max(0.0, begun_s + number / FPS - time.monotonic()))
                units = [unit for packet in encoder.encode(frame) for unit in nal_units(bytes(packet))]
                for at, unit in enumerate(units):
                    last = 0x80 if at == len(units) - 1 else 0
                    head = struct.pack(">BBHII", 0x80, 96 | last, seq & 0xFFFF, number * 90_000 // FPS, 1)
                    self.wfile.write(struct.pack(">cBH", b"$", 0, len(head) + len(unit)) + head + unit)
                    seq += 1

    class Server(ThreadingTCPServer):
        daemon_threads, block_on_close = True, False

    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True) if tls else server.socket
        scheme = "rtsps://localhost" if tls else "rtsp://127.0.0.1"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"{scheme}:{server.server_address[1]}/live", asked
        finally:
            server.shutdown()
            thread.join()


def nal_units(stream: bytes) -> list[bytes]:
    """Of an access unit as Annex B has it."""
    return [unit for unit in stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]
