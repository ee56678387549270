"""A real server over loopback, in a thread, and clients that wait for messages, never for time; and a browser."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from flashing import flashing_camera

from benchmarks.reaction.chromium import Chromium, find_chromium
from cuestream.players import find_player
from engine.player import Player
from server.app import make_app
from server.host import Host
from server.protocol.limits import Limits
from server.serving import Server, make_server
from server.settings import Settings
from server.tls import Certificate

STARTED_S = 20.0
UVICORN = logging.getLogger("uvicorn")


@pytest.fixture(autouse=True)
def logged() -> None:
    """uvicorn's configuration of the log would keep it from `caplog`."""
    UVICORN.propagate = True


class Served:
    """A server that runs. `host` is looked at by tests, never changed."""

    def __init__(
        self, player: Player[Any], settings: Settings, drain_s: float, certificate: Certificate | None
    ) -> None:
        self.app = make_app(player, settings)
        self.host: Host = self.app.state.host
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

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/stream"


Serve = Callable[..., contextlib.AbstractContextManager[Served]]


@pytest.fixture(scope="session")
def tiny_player() -> Player[Any]:
    return find_player(str(Path(__file__).parents[2] / "models" / "random-tiny"), threads=1)


@pytest.fixture(scope="session")
def serve(tiny_player: Player[Any]) -> Serve:
    """Starts a server of its own: serve(player=..., drain_s=..., api_key=..., session_s=... and other limits)."""

    @contextlib.contextmanager
    def started(
        player: Player[Any] | None = None,
        drain_s: float = 0.0,
        certificate: Certificate | None = None,
        **choices: Any,
    ) -> Iterator[Served]:
        limits = {name: choices.pop(name) for name in list(choices) if name in Limits.__dataclass_fields__}
        choices = {"most_busy": 1.0, **choices}  # what else this machine does keeps nobody out
        settings = replace(Settings(**choices), limits=Limits(**limits))
        served = Served(player or tiny_player, settings, drain_s, certificate)
        served.start()
        try:
            yield served
        finally:
            served.stop()

    return started


@pytest.fixture(scope="session")
def served(serve: Serve) -> Iterator[Served]:
    """One server for every test that needs nothing special."""
    with serve(raw_video=True, max_sessions=64, resume_window_s=3) as shared:
        yield shared


@pytest.fixture(scope="module")
def camera_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's camera shows; a module may have its own."""
    path = tmp_path_factory.mktemp("camera") / "camera.y4m"
    flashing_camera(path)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, camera_file: Path) -> Iterator[Chromium]:
    """One window for a module: each server is another site to it."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium, or name one in CUESTREAM_CHROMIUM")
    with Chromium(path, tmp_path_factory.mktemp("browser") / "profile", camera_file) as window:
        yield window


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """aioice leaves 127.0.0.1 out; here it is the only address of servers and clients."""
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
