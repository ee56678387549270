"""One line between FFmpeg and a place that was checked, for RTSP and RTMP, whose connections FFmpeg makes by itself.

FFmpeg connects to this process, and the bytes go on to the place; TLS is made here. From the moment that FFmpeg is connected the
process may open nothing any more (`RLIMIT_NOFILE`): it cannot follow to where a server redirects it, or a description points.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import sys
from threading import Thread

from server.ingest.address import Forbidden

STANDARD_FILES = 3
AT_ONCE = 64 * 1024
"""Bytes that wait for a side that reads slowly; the other side waits then."""


def check_relayed(scheme: str) -> None:
    """Raises Forbidden where nothing would hold FFmpeg to the one line."""
    if sys.platform == "win32":
        raise Forbidden(f"{scheme} is not read on Windows, where FFmpeg could follow to other addresses")


class Relay:
    """far: connected. Everything that the process needs later must be open by now."""

    def __init__(self, far: socket.socket) -> None:
        self._far = far
        self._door = socket.create_server(("127.0.0.1", 0), backlog=1)
        self.port: int = self._door.getsockname()[1]
        self._wait = selectors.DefaultSelector()
        Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        near, _ = self._door.accept()
        close_the_process()
        try:
            self._pump(near)
        except OSError:
            pass  # one side broke; the other one is told below
        finally:
            near.close()
            self._far.close()

    def _pump(self, near: socket.socket) -> None:
        for line, other in ((near, self._far), (self._far, near)):
            line.setblocking(True)
            self._wait.register(line, selectors.EVENT_READ, (line, other))
        while True:
            for key, _ in self._wait.select():
                if not _pass_on(*key.data):
                    return


def _pass_on(line: socket.socket, other: socket.socket) -> bool:
    """What came; False at the end. What TLS has decrypted already is not seen by a selector, so nothing of it is left behind."""
    while (data := _received(line)) is not None:
        if not data:
            return False
        other.sendall(data)
        if not (isinstance(line, ssl.SSLSocket) and line.pending()):
            break
    return True


def _received(line: socket.socket) -> bytes | None:
    """None when there is nothing: TLS may have had something to say that is not for us."""
    line.setblocking(False)
    try:
        return line.recv(AT_ONCE)
    except (BlockingIOError, ssl.SSLWantReadError):
        return None
    finally:
        line.setblocking(True)


def close_the_process() -> None:
    """No file and no socket can be opened any more. Input, output and errors stay open, so no number is free below the limit.

    Windows has no such limit: see `check_relayed`.
    """
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (STANDARD_FILES, STANDARD_FILES))
