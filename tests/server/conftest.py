"""Fixtures of the server: one over loopback, and a browser before it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flashing import flashing_camera
from served import UVICORN, Serve, Served

from benchmarks.reaction.chromium import Chromium, find_chromium
from cuestream.players import find_player
from engine.player import Player
from server.http.tls import Certificate
from server.protocol.limits import Limits
from server.settings import Settings


@pytest.fixture(autouse=True)
def logged() -> None:
    """uvicorn's configuration of the log would keep it from `caplog`."""
    UVICORN.propagate = True


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
