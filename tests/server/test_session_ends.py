"""Every way in which a session ends is counted, once, by its reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, get_args

import pytest
from served import Serve, Served
from shell_client import Client, ask, soon

from server.sessions.lifetime import Ended

ENDED = re.compile(r'^cuestream_sessions_ended_total\{reason="(\w+)"\} (.+)$', re.MULTILINE)
Way = Callable[[Served, Client, pytest.MonkeyPatch], object]


def ends(served: Served) -> dict[str, float]:
    """Of what happened at all; some are told as 0 from the beginning."""
    counts = ENDED.findall(served.host.metrics.page().decode())
    return {reason: float(count) for reason, count in counts if float(count)}


def asked(served: Served, client: Client, patch: pytest.MonkeyPatch) -> None:
    client.send("session.end", fade_ms=0)
    assert client.closed() == 1000  # with the code of a client that leaves


def broken(served: Served, client: Client, patch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError

    patch.setattr(served.host.find(client.messages[0]["session_id"]), "tick", breaks)


def deleted(served: Served, client: Client, patch: pytest.MonkeyPatch) -> None:
    assert ask("DELETE", f"{served.http}/v1/sessions/{client.messages[0]['session_id']}")[0] == 204


WAYS: list[tuple[str, dict[str, Any], Way]] = [
    ("asked", {}, asked),
    ("asked", {}, deleted),
    ("left", {}, lambda served, client, patch: client.ws.close(1000)),
    ("idle", {"idle_s": 0.1}, lambda *_: None),
    ("session_limit", {"session_s": 0.1}, lambda *_: None),
    ("expired", {"resume_window_s": 0.1}, lambda served, client, patch: client.drop()),
    ("evicted", {"max_parked": 0, "resume_grace_s": 0.1}, lambda served, client, patch: client.drop()),
    ("internal", {}, broken),
    ("stopped", {}, lambda served, client, patch: served.stop()),
]


@pytest.mark.parametrize(("reason", "choices", "way"), WAYS)
def test_a_session_that_ends_is_counted_once_by_why(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, reason: str, choices: dict[str, Any], way: Way
) -> None:
    with serve(**choices) as served, Client(served.ws) as client:
        client.start()
        if reason == "evicted":
            client.play()
        way(served, client, monkeypatch)
        soon(lambda: not served.host.sessions or reason == "stopped")
        served.stop()
        assert ends(served) == {reason: 1.0}


def test_who_asks_again_puts_no_end_off(serve: Serve) -> None:
    with serve() as served, Client(served.ws) as client:
        client.start()
        client.play()
        client.send("session.end", fade_ms=100, event_id="first")
        client.send("session.end", fade_ms=60_000, event_id="again")
        assert ask("DELETE", f"{served.http}/v1/sessions/{client.messages[0]['session_id']}")[0] == 204
        assert client.until("session.ended")["event_id"] == "first"
        assert client.closed() == 1000


def test_who_asks_again_may_end_it_sooner(serve: Serve) -> None:
    with serve() as served, Client(served.ws) as client:
        client.start()
        client.play()
        client.send("session.end", fade_ms=60_000, event_id="first")
        client.send("session.end", fade_ms=0, event_id="again")
        assert client.until("session.ended")["event_id"] == "again"


def test_every_reason_is_tried() -> None:
    failed = {"generator_failed"}  # in test_shell_closes
    assert {reason for reason, _, _ in WAYS} | failed == set(get_args(Ended))
