"""A uvicorn around the app: where it may listen, which heartbeat it keeps, and how it leaves."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from engine.errors import CuestreamError
from server.host import Host
from server.protocol.limits import Limits

SPARE_BYTES = 64 * 1024
"""Messages that are a little too long are refused with an error; those that are longer by this, by the websocket itself."""
HEARTBEAT_TIMEOUT = 4408
SWITCH_S = 0.0005
"""How long one thread of Python may keep the others waiting; 5 ms by default, which is what a chunk may take in all."""


class RefusedAddress(CuestreamError):
    """It would be open to everybody."""


class Heartbeat(WebSocketsSansIOProtocol):
    """Closes with the protocol's own code when pings are not answered."""

    def keepalive_timeout(self) -> None:
        fail = self.conn.fail
        self.conn.fail = lambda code, reason="": fail(HEARTBEAT_TIMEOUT, "heartbeat_timeout")  # type: ignore[method-assign]
        super().keepalive_timeout()


class Server(uvicorn.Server):
    """The first signal drains, the second leaves at once. on_ready: takes the port, once it is listened on."""

    def __init__(
        self, config: uvicorn.Config, host: Host, drain_s: float, on_ready: Callable[[int], object]
    ) -> None:
        super().__init__(config)
        self._host, self._drain_s, self._on_ready = host, drain_s, on_ready
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready(self.servers[0].sockets[0].getsockname()[1])

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Until it is told to leave. The threads of engine and pictures then hold up the loop for a moment at most."""
        sys.setswitchinterval(SWITCH_S)
        super().run(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._host.draining or not self.started:
            self.force_exit = sig == signal.SIGINT
            self.should_exit = True
            return
        self._host.draining = True
        asyncio.get_running_loop().call_soon_threadsafe(self.leave)

    def leave(self) -> None:
        """Drain, then stop. To be called on the loop."""
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        await self._host.drain(self._drain_s)
        self.should_exit = True


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_address(host: str, api_key: str | None, insecure: bool) -> None:
    """Raises RefusedAddress when others could reach a server that asks for no key."""
    if not (is_loopback(host) or api_key or insecure):
        raise RefusedAddress(
            f"{host} can be reached by others: choose a key with --api-key, or say --insecure to let everybody in"
        )


def make_server(
    app: Starlette,
    host: str,
    port: int,
    limits: Limits,
    drain_s: float,
    on_ready: Callable[[int], object],
) -> Server:
    """port: 0 takes a free one."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        ws=Heartbeat,
        ws_max_size=max(limits.image_bytes, limits.audio_bytes, limits.text_bytes) + SPARE_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=limits.heartbeat_s,
        ws_ping_timeout=limits.heartbeat_s,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=3,
        timeout_keep_alive=10,
    )
    state: Any = app.state
    return Server(config, state.host, drain_s, on_ready)
