"""A uvicorn around the app: where it may listen, which heartbeat it keeps, and how it leaves."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from engine.errors import CuestreamError
from server.access.forwarded import Forwarded
from server.access.rates import is_own
from server.http.connections import Doorkeeper
from server.http.handshakes import secure_servers
from server.http.tls import Certificate, TlsError
from server.http.turns import Turns
from server.http.websocket import Direct
from server.sessions.host import Host
from server.sessions.leaving import leave

logger = logging.getLogger("uvicorn.error")
OWN_PROXIES = ("127.0.0.1", "::1")
"""This machine's, which are believed for whom they ask."""
SPARE_BYTES = 64 * 1024
"""Messages that are a little too long are refused with an error; those that are longer by this, by the websocket itself."""
GRACE_S = 3
"""Seconds in which answers that are on their way may end."""
AT_ONCE_S = 1
COLLECT_AFTER = (10_000, 20, 20)
"""Objects made, and collections of the younger ones, before the garbage collector looks."""
SWITCH_S = 0.0005
"""How long one thread of Python may keep the others waiting; 5 ms by default, which is what a chunk may take in all."""
LOOP = "server.http.windows_loop:WindowsLoop" if sys.platform == "win32" else "auto"
"""As uvicorn is told of it; by itself it takes uvloop where that is."""


class RefusedAddress(CuestreamError):
    """It would be open to everybody, or cannot be listened to."""


class Server(uvicorn.Server):
    """The first signal drains, the second leaves at once, a third one waits for nothing.

    on_ready: takes the port, once it is listened on.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        host: Host,
        drain_s: float,
        on_ready: Callable[[int], object],
        certificate: Certificate | None,
    ) -> None:
        super().__init__(config)
        self._certificate = certificate
        self._host, self._drain_s, self._on_ready = host, drain_s, on_ready
        self._signals = 0
        self._draining: asyncio.Task[None] | None = None
        self._broken = False
        host.on_broken = self._break_off

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        if self._certificate:
            keeper: Any = self.config.http
            sockets = sockets or listen(self.config.host, self.config.port)
            loop.create_server = secure_servers(keeper)  # type: ignore[method-assign]
            if sys.platform != "win32" and threading.current_thread() is threading.main_thread():
                loop.add_signal_handler(signal.SIGHUP, self.reload_certificate)
        await super().startup(sockets)
        if self.started:
            self._host.decoders.begin()
            self._on_ready(self.servers[0].sockets[0].getsockname()[1])

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Until it is told to leave, or nothing can play any more; the process ends with status 1 then.

        The threads of engine and pictures hold up the loop for a moment at most meanwhile. What was loaded by now stays, so the
        garbage collector need not look at it again: with forty sessions a full collection was seen to stop everything for 180 ms.
        Without it, it was 0.3 ms with eight sessions and 6 ms with sixty.
        """
        sys.setswitchinterval(SWITCH_S)
        gc.set_threshold(*COLLECT_AFTER)
        gc.collect()
        gc.freeze()
        self._host.collect = gc.collect
        super().run(sockets)
        if self._broken:
            raise SystemExit(1)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        loop = asyncio.get_running_loop()
        self._signals += 1
        if self._signals == 1 and self.started:
            loop.call_soon_threadsafe(self.leave)
            return
        self.should_exit, self.force_exit = True, self._signals > 2
        logger.disabled |= self.force_exit  # of everything that is cancelled then a traceback would be told
        self.config.timeout_graceful_shutdown = AT_ONCE_S
        loop.call_soon_threadsafe(self._host.end_all)

    def reload_certificate(self) -> None:
        """Read its files again; when they are no good, the one that holds stays."""
        assert self._certificate is not None
        assert self.config.ssl is not None
        try:
            self._certificate.check()
            self._certificate.load_into(self.config.ssl)
        except TlsError as error:
            logger.error("the certificate stays as it was: %s", error)

    def leave(self) -> None:
        """Drain, then stop. To be called on the loop."""
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    def _break_off(self) -> None:
        self._broken = True
        if self._draining is None:
            self.leave()

    async def _drain(self) -> None:
        await leave(self._host, self._drain_s)
        self.should_exit = True


def is_loopback(host: str) -> bool:
    return host == "localhost" or is_own(host)


def check_address(host: str, api_key: str | None, insecure: bool, names: Sequence[str] = ()) -> None:
    """names: of a proxy in front. Raises RefusedAddress when others could reach a server that asks for no key."""
    if (is_loopback(host) and not names) or api_key or insecure:
        return
    called = names[0] if names else host
    raise RefusedAddress(
        f"{called} can be reached by others: choose a key with --api-key, or say --insecure to let everybody in"
    )


def listen(host: str, port: int) -> list[socket.socket]:
    """At every address of the host that this machine has; port: 0 takes a free one. Raises RefusedAddress."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise RefusedAddress(f"{host} is no host that is known here") from error
    lines = [line for family, _, _, _, address in dict.fromkeys(found) if (line := _line(family, address))]
    if not lines:
        raise RefusedAddress(f"{host} is no address of this machine")
    return lines


def _line(family: int, address: tuple[Any, ...]) -> socket.socket | None:
    """None where this machine has no such address."""
    try:
        return socket.create_server(address, family=family)
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return None
        why = (error.strerror or str(error)).partition(" (while")[0]  # Python says the address, too
        raise RefusedAddress(f"{address[0]} port {address[1]} cannot be listened to: {why}") from error


def make_server(
    app: Starlette,
    host: str,
    port: int,
    drain_s: float,
    on_ready: Callable[[int], object],
    certificate: Certificate | None = None,
) -> Server:
    """port: 0 takes a free one. Raises TlsError."""
    if certificate:
        certificate.check()
    sessions: Host = app.state.host
    limits = sessions.settings.limits
    # what makes a connection; uvicorn only calls it
    door = sessions.settings.door
    http: Any = Doorkeeper(door, sessions.metrics)
    websocket: Any = partial(Direct, door.reading, Turns(door.reading_all), sessions.metrics.put_off.inc)
    config = uvicorn.Config(
        Forwarded(app, (*OWN_PROXIES, *sessions.settings.proxies)),
        host=host,
        port=port,
        http=http,
        proxy_headers=False,
        ssl_certfile=certificate.cert if certificate else None,
        ssl_keyfile=certificate.key if certificate else None,
        ws=websocket,
        ws_max_size=max(limits.image_bytes, limits.audio_bytes, limits.text_bytes) + SPARE_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=limits.heartbeat_s,
        ws_ping_timeout=limits.heartbeat_s,
        loop=LOOP,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=10,
    )
    logger.addFilter(_is_news)
    return Server(config, sessions, drain_s, on_ready, certificate)


def _is_news(record: logging.LogRecord) -> bool:
    """uvicorn takes a websocket that we refuse with an answer of HTTP for one that we forgot."""
    return "without completing handshake" not in str(record.msg)
