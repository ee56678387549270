"""A step of the engine that does not end: everybody is told, nobody is let in, what is heard is made up, until it ends."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest
from served import Serve
from shell_client import Client, ask

import server.engine_thread.runner
from engine.spec import StreamPolicy
from server.protocol.media import Flag


class Stuck:
    """A player whose steps wait while `goes` is not set; in everything else another one."""

    def __init__(self, player: Any) -> None:
        self._player, self.goes = player, Event()
        self.goes.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._player, name)

    def open(self, policy: StreamPolicy) -> Any:
        stream = self._player.open(policy)
        ask = stream.ask  # the first half of a step, alone or with other streams

        def wait(*given: Any) -> Any:
            self.goes.wait()
            return ask(*given)

        stream.ask = wait
        return stream


@pytest.fixture
def player(tiny_player: Any, monkeypatch: pytest.MonkeyPatch) -> Stuck:
    monkeypatch.setattr(server.engine_thread.runner, "STEP_LIMIT_S", 1.0)
    return Stuck(tiny_player)


def hang(player: Stuck, client: Client) -> None:
    """A session plays, and then its step does not end, which it is told."""
    client.start()
    client.play()
    player.goes.clear()
    client.until("error", code="generator_late")


def test_a_step_that_hangs_is_told_and_concealed_until_it_ends(serve: Serve, player: Stuck) -> None:
    with serve(player=player) as served, Client(served.ws) as client:
        client.start()
        client.play()
        client.wait_for(lambda: ask("GET", f"{served.http}/readyz") == (200, {"status": "ready"}))
        player.goes.clear()
        told = client.until("error", code="generator_late")
        assert not told["fatal"]
        assert ask("GET", f"{served.http}/readyz") == (503, {"status": "hanging"})
        assert ask("GET", f"{served.http}/healthz")[0] == 200, "it may still end"
        status, body = ask("POST", f"{served.http}/v1/sessions")
        assert (status, body["error"]["code"]) == (503, "model_unavailable")
        with Client(served.ws) as another:
            another.send("session.start", protocol_minor=0)
            assert another.closed() == 1013
            assert another.messages[-1]["code"] == "model_unavailable"
            assert another.messages[-1]["retry_after_ms"] > 0
        client.hear(client.at + 24_000)
        assert Flag.CONCEALED in client.media[-1].flags
        page = ask("GET", f"{served.http}/metrics")[1]
        assert "cuestream_engine_hangs_total 1.0" in page
        player.goes.set()
        client._until(lambda _: Flag.CONCEALED not in client.media[-1].flags)
        client.wait_for(lambda: ask("GET", f"{served.http}/readyz") == (200, {"status": "ready"}))
        errors = [message["code"] for message in client.messages if message["type"] == "error"]
        assert errors == ["generator_late"], "once"


def test_a_step_that_hangs_for_good_ends_the_server(
    serve: Serve, player: Stuck, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server.sessions.host, "DEAD_AFTER_S", 0.2)
    with serve(player=player) as served, Client(served.ws) as client:
        hang(player, client)
        assert client.until("go_away")["reason"] == "draining"
        assert client.closed() == 1001
    player.goes.set()
    said = capfd.readouterr().err
    assert "a step of the engine will not end, and the server ends" in said
    assert "did not end within 3 s; it is left behind" in said


def test_a_server_that_stood_still_itself_has_no_engine_that_hangs_for_good(
    serve: Serve, player: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the clock a step took hours, which nobody watched."""
    monkeypatch.setattr(server.sessions.host, "DEAD_AFTER_S", 3600.0)
    with serve(player=player) as served, Client(served.ws) as client:
        hang(player, client)
        monkeypatch.setattr(type(served.host), "hangs_s", 9999.0)
        client.wait_for(lambda: ask("GET", f"{served.http}/healthz")[0] == 503)
        monkeypatch.undo()
        player.goes.set()
        client.wait_for(lambda: ask("GET", f"{served.http}/readyz") == (200, {"status": "ready"}))
