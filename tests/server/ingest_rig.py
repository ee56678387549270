"""Where videos come from, servers and publishers, and ears for the synthetic player."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from served import Served
from shell_client import PATIENCE_S, ask

from cuestream.players import find_player
from engine.synthetic import tone_hz
from server.ingest.limits import IngestLimits

RATE = 48_000
SYNTHETIC = find_player("synthetic")
MORE_PATIENCE_S = 3 * PATIENCE_S
"""A worker has to start, and the machine may be busy."""


def limits(**changes: Any) -> IngestLimits:
    """This machine may be read, and nobody waits long before the next attempt."""
    return IngestLimits(**{"private": True, "backoff_s": 0.05, "most_backoff_s": 0.1} | changes)


def feed(
    served: Served, url: str, session_id: str | None = None, key: str | None = None, **more: Any
) -> tuple[int, str, Any]:
    """Make a session and feed it: the status, its address, the answer."""
    if session_id is None:
        session_id = ask("POST", f"{served.http}/v1/sessions", key=key)[1]["session_id"]
    one = f"{served.http}/v1/sessions/{session_id}"
    status, answer = ask("POST", f"{one}/ingest", {"url": url, **more}, key)
    return status, one, answer


def state_of(one: str, *wanted: str) -> dict[str, Any]:
    """How the ingest of a session stands, once its state is one of these."""
    end_s = time.monotonic() + MORE_PATIENCE_S
    while (about := ask("GET", f"{one}/ingest")[1])["state"] not in wanted:
        assert time.monotonic() < end_s, f"waited for {wanted}, it is {about}"
        time.sleep(0.02)
    return about


def hears_both_tones(one: str) -> bool:
    """Whether the dark and the bright picture are heard, in the session's endless sound."""
    missing = {tone_hz(0, False), tone_hz(0, True)}
    end_s = time.monotonic() + MORE_PATIENCE_S
    with urllib.request.urlopen(f"{one}/audio.wav", timeout=PATIENCE_S) as sound:
        sound.read(44)
        while missing and time.monotonic() < end_s:
            block = np.frombuffer(sound.read(4 * RATE // 10), "<i2")[::2].astype(float)
            if np.abs(block).max() > 1000:
                loudest = 10 * int(np.abs(np.fft.rfft(block * np.hanning(len(block)))).argmax())
                missing -= {hz for hz in missing if abs(hz - loudest) <= 10}
    return not missing


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextlib.contextmanager
def web(
    folder: Path | None = None, answers: dict[str, Answer] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """A server of files, and of answers by path: its address, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            (answers or {}).get(self.path, lambda _: SimpleHTTPRequestHandler.do_GET(self))(self)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(folder or Path(__file__).parent / "none"))
    )
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def says(body: bytes, kind: str = "application/octet-stream") -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", kind)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def redirects(to: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("location", to)
        handler.send_header("content-length", "0")
        handler.end_headers()

    return answer


OBS_APART = 250
"""Pictures from a keyframe to the next, as OBS has it where its keyframe interval is not set."""
PUBLISH = """
import sys, time
url, pictures, listen, apart, *sys.path[:0] = sys.argv[1:]
from flashing import write_video
form, options = "flv", {"flush_packets": "1"}
if listen:  # the muxer that passes options on to the address
    form, options = "fifo", {"fifo_format": "flv", "format_opts": "listen=1:flush_packets=1"}
until_s = time.monotonic() + 30
while time.monotonic() < until_s:
    try:
        write_video(url, int(pictures), form, True, loud=True, apart=int(apart), **options)
        break
    except ConnectionRefusedError:  # nobody listens yet
        time.sleep(0.05)
"""


def publisher(url: str, pictures: int, listen: bool = False) -> subprocess.Popen[bytes]:
    """A process that publishes in real time. listen: to whoever comes to it."""
    told = [url, str(pictures), "1" if listen else "", str(OBS_APART), str(Path(__file__).parent)]
    return subprocess.Popen([sys.executable, "-c", PUBLISH, *told], stderr=subprocess.DEVNULL)
