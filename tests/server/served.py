"""A real server over loopback, in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

from engine.player import Player
from server.app import make_app
from server.http.serving import Server, make_server
from server.http.tls import Certificate
from server.sessions.host import Host
from server.settings import Settings

STARTED_S = 20.0
UVICORN = logging.getLogger("uvicorn")


class Served:
    """A server that runs. `host` is looked at by tests, never changed."""

    def __init__(
        self, player: Player[Any], settings: Settings, drain_s: float, certificate: Certificate | None
    ) -> None:
        self.app = make_app(player, settings)
        self.host: Host = self.app.state.host
        self._counted = self._counters()
        self._started = Event()
        self.port = 0
        self._server: Server = make_server(self.app, "127.0.0.1", 0, drain_s, self._ready, certificate)
        UVICORN.propagate = True
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()
        if not self._started.wait(STARTED_S):
            raise TimeoutError("the server did not start")

    def _run(self) -> None:
        asyncio.run(self._server.serve())

    def _ready(self, port: int) -> None:
        self.port, self._loop = port, asyncio.get_running_loop()
        self._started.set()

    def leave(self) -> None:
        """As at the first Ctrl-C."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._server.leave)

    def on_loop(self, work: Callable[[], Any]) -> Any:
        """What `work` returns when it is called on the server's loop."""
        assert self._loop is not None

        async def call() -> Any:
            return work()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(STARTED_S)
        assert not self._thread.is_alive()
        assert self._counters() == self._counted

    def _counters(self) -> set[str]:
        """With their labels, all of which are known from the beginning."""
        page = self.host.metrics.page().decode()
        return set(re.findall(r"^(\w+_total(?:\{.*?\})?) ", page, re.MULTILINE))

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/stream"


Serve = Callable[..., contextlib.AbstractContextManager[Served]]
