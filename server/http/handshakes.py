"""Who shakes hands: connections of TLS until their handshake is done, counted and let go as those whose request is not whole.

A server of asyncio's takes any number of them and gives no hold on them, so they are accepted here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

from server.http.connections import Doorkeeper, Doorstep

PAUSE_S = 0.1
"""After what kept one from being accepted: there are no more numbers for files, or memory."""


class Handshake:
    """One connection, until its doorstep has it."""

    def __init__(self, keeper: Doorkeeper, line: socket.socket, doorstep: Doorstep) -> None:
        self.loop = asyncio.get_running_loop()
        self._keeper, self._line, self._doorstep = keeper, line, doorstep

    async def shake(self, context: ssl.SSLContext) -> None:
        keeper = self._keeper
        keeper.began(self, len(self._doorstep.connections))
        try:
            await self.loop.connect_accepted_socket(
                lambda: self._doorstep,
                self._line,
                ssl=context,
                ssl_handshake_timeout=keeper.limits.request_s,
            )
        except OSError:
            self._line.close()
        finally:
            keeper.ended(self)

    def let_go(self, answer: bytes) -> None:
        """Without a word: there is no way yet to say it."""
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)


class SecureServer:
    """As `loop.create_server` makes one, of one socket that is listened at."""

    def __init__(
        self, keeper: Doorkeeper, make: Callable[[], Doorstep], sock: socket.socket, context: ssl.SSLContext
    ) -> None:
        self.sockets = (sock,)
        self._keeper, self._make, self._context = keeper, make, context
        self._shaking: set[asyncio.Task[None]] = set()  # bound: limits.connections
        sock.setblocking(False)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(sock))

    async def _accept(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with sock:
            while True:
                try:
                    line, _ = await loop.sock_accept(sock)
                except OSError:
                    await asyncio.sleep(PAUSE_S)
                    continue
                task = loop.create_task(Handshake(self._keeper, line, self._make()).shake(self._context))
                self._shaking.add(task)
                task.add_done_callback(self._shaking.discard)

    def close(self) -> None:
        self._accepting.cancel()
        for task in self._shaking:
            task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.wait((self._accepting, *self._shaking))


def secure_servers(keeper: Doorkeeper) -> Callable[..., Any]:
    """Instead of `loop.create_server`, for sockets that are listened at already."""

    async def create_server(
        make: Callable[[], Doorstep], *, sock: socket.socket, ssl: ssl.SSLContext, **_: Any
    ) -> SecureServer:
        return SecureServer(keeper, make, sock, ssl)

    return create_server
