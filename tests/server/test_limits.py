"""Who comes too often, or with a token for something else, or back to a place that was taken meanwhile."""

from __future__ import annotations

import gc
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from av.container import OutputContainer
from served import Serve, Served
from shell_client import Client, ask, jpeg, soon
from websockets.exceptions import InvalidStatus

from server.access.rates import MOST_KNOWN, Visitors
from server.http.endless import MOST_LISTENERS
from server.http.rest import MOST_BODY
from server.protocol.media import Flag
from server.system.disk import Room

KEY = "a key for tests"
SOMEBODY, ANOTHER = {"x-forwarded-for": "203.0.113.7"}, {"x-forwarded-for": "203.0.113.8"}
"""As a proxy on this machine says for whom it asks."""


def begin(served: Served, token: str | None = None, **headers: str) -> tuple[str, int]:
    """What became of a session.start: the code of the error and of the close."""
    with Client(served.ws, token, **headers) as client:
        client.send("session.start", protocol_minor=0)
        message = client._until(lambda message: message is not None)
        return ("", 0) if message["type"] == "session.created" else (message["code"], client.closed())


def counted(served: Served, line: str) -> bool:
    return line in ask("GET", f"{served.http}/metrics")[1]


def test_an_address_is_let_in_at_its_rate_and_others_do_not_pay_for_it() -> None:
    visitors = Visitors(per_min=2)
    assert [visitors.allows("203.0.113.7", at_s) for at_s in (0, 0, 0, 29, 31, 31)] == [
        True,
        True,
        False,
        False,
        True,
        False,
    ]
    assert visitors.allows("203.0.113.8", 0)
    assert all(visitors.allows(own, 0) for own in ("127.0.0.1", "::1") for _ in range(9))
    for number in range(MOST_KNOWN + 10):
        visitors.allows(f"2001:db8:0:{number:x}::1", 31)
    assert len(visitors._known) == MOST_KNOWN


def test_a_folder_is_counted_for_a_hundredth_of_the_time_and_again_once_it_is_full(tmp_path: Path) -> None:
    clock = iter([0.0, 0.1, 1.0, 10.2, 10.3, 10.4, 10.5]).__next__  # of two looks one counts, and takes 0.1 s
    room = Room(tmp_path, "takes", folder_bytes=8, free_bytes=0, monotonic=clock)
    assert room.lack() is None
    (tmp_path / "full").write_bytes(bytes(8))
    assert [room.lack(), room.lack()] == [None, "quota"]
    (tmp_path / "full").unlink()
    assert room.lack() is None


def test_one_customers_addresses_count_as_one() -> None:
    visitors = Visitors(per_min=2)
    assert [visitors.allows(f"2001:db8::{number}", 0) for number in range(4)] == [True, True, False, False]
    assert visitors.allows("2001:db8:0:1::", 0)
    assert all(visitors.allows(f"::ffff:203.0.113.{number}", 0) for number in range(4))


def test_429_connections(serve: Serve) -> None:
    with serve(connects_per_min=2) as served:
        for _ in range(2):
            with Client(served.ws, **SOMEBODY):
                pass
        with pytest.raises(InvalidStatus) as refused, Client(served.ws, **SOMEBODY):
            pass
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["retry-after"] == "30"
        with Client(served.ws, **ANOTHER), Client(served.ws):
            assert counted(served, 'cuestream_rate_limited_total{what="connections"} 1.0')


def test_4429_sessions(serve: Serve) -> None:
    with serve(starts_per_min=2) as served:
        assert begin(served, **SOMEBODY) == ("", 0)
        assert ask("POST", f"{served.http}/v1/sessions", **SOMEBODY)[0] == 201
        assert begin(served, **SOMEBODY) == ("quota_exceeded", 4429)
        status, body = ask("POST", f"{served.http}/v1/sessions", **SOMEBODY)
        assert (status, body["error"]["code"]) == (429, "quota_exceeded")
        assert begin(served, **ANOTHER) == ("", 0)
        assert counted(served, 'cuestream_rate_limited_total{what="sessions"} 2.0')


def test_4429_wrong_tokens_and_then_the_right_one_is_not_looked_at(serve: Serve) -> None:
    with serve(api_key=KEY, bad_tokens_per_min=2) as served:
        assert begin(served, "guess-1", **SOMEBODY) == ("unauthorized", 4401)
        assert ask("GET", f"{served.http}/v1/sessions/s-1", key="guess-2", **SOMEBODY)[0] == 401
        bearer = {"authorization": f"Bearer {KEY}"}
        assert begin(served, **bearer, **SOMEBODY) == ("quota_exceeded", 4429)
        assert ask("POST", f"{served.http}/v1/sessions", key=KEY, **SOMEBODY)[0] == 429
        assert begin(served, **bearer, **ANOTHER) == ("", 0)
        assert counted(served, 'cuestream_rate_limited_total{what="tokens"} 2.0')


def test_4403_a_token_that_is_for_something_else(serve: Serve) -> None:
    with serve(api_key=KEY) as served:
        made = ask("POST", f"{served.http}/v1/sessions", key=KEY)[1]
        listening, secret = (
            made["urls"]["audio"]["ogg"].partition("token=")[2],
            made["client_secret"]["value"],
        )
        assert begin(served, listening) == ("forbidden", 4403)
        address = f"{served.http}/v1/sessions/{made['session_id']}"
        for token in (listening, secret):
            for method in ("GET", "PATCH", "DELETE"):
                status, body = ask(method, address, {} if method == "PATCH" else None, key=token)
                assert (status, body["error"]["code"]) == (403, "forbidden")
        assert begin(served, secret) == ("", 0), "what was refused did not use it up"
        assert begin(served, secret) == ("unauthorized", 4401)


# --- places


def parked(served: Served, client: Client) -> str:
    """Let a client's line break and wait until its session is parked; the handle."""
    client.start()
    client.play()
    return parked_again(served, client)


def parked_again(served: Served, client: Client) -> str:
    """The same of one that plays already."""
    handle: str = client.until("resume.handle")["handle"]
    session_id = client.messages[0]["session_id"]
    client.drop()
    hosted = served.on_loop(lambda: served.host.sessions[session_id])
    client.wait_for(lambda: hosted.core.parked)
    return handle


def test_a_session_without_its_client_takes_no_place_and_waits_for_one(serve: Serve) -> None:
    with serve(max_sessions=1, resume_grace_s=0.1) as served, Client(served.ws) as first:
        handle = parked(served, first)
        with Client(served.ws) as second:
            second.start()
            second.play()
            with Client(served.ws) as back:
                asked: dict[str, Any] = {"received_through_sample": first.at, "played_through_sample": 0}
                back.send("session.resume", protocol_minor=0, handle=handle, **asked)
                assert back.closed() == 1013
                assert back.messages[-1]["code"] == "capacity"
                assert back.messages[-1]["retry_after_ms"] > 0
            second.send("session.end", fade_ms=0)
            assert second.closed() == 1000
        with Client(served.ws) as back:
            assert back.resume(handle, first.at)["first_sample"] == first.at
            more = first.at + 48_000  # than was made before it was parked
            back._until(lambda _: back.at > more and Flag.CONCEALED not in back.media[-1].flags)


def test_a_busy_server_takes_nobody_more_and_plays_on_for_those_it_has(serve: Serve) -> None:
    most = 0.003  # one session takes 0.01 and more, none takes a hundredth of this
    with serve(most_busy=most, resume_grace_s=0.1) as served, Client(served.ws) as first:
        assert ask("GET", f"{served.http}/readyz") == (200, {"status": "ready"})
        first.start()
        first.play()
        first.wait_for(lambda: served.host.busy > most)
        assert begin(served) == ("capacity", 1013)
        assert ask("GET", f"{served.http}/readyz") == (503, {"status": "full"})
        assert not counted(served, "cuestream_loop_busy_ratio 0.0\n")
        more = first.at + 48_000
        first._until(lambda _: first.at > more)
        handle = parked_again(served, first)
        assert served.host.busy > most
        with Client(served.ws) as back:  # it was let in before
            assert back.resume(handle, first.at)["first_sample"] == first.at


def test_of_too_many_sessions_without_clients_the_one_that_waits_longest_ends(serve: Serve) -> None:
    with serve(max_sessions=2, max_parked=1, resume_grace_s=0.1) as served:
        with Client(served.ws) as one:
            gone = parked(served, one)
        with Client(served.ws) as two:
            waits = parked(served, two)
            two.wait_for(lambda: len(served.host.sessions) == 1)
        asked: dict[str, Any] = {"received_through_sample": 0, "played_through_sample": 0}
        with Client(served.ws) as back:
            back.send("session.resume", protocol_minor=0, handle=gone, **asked)
            assert back.closed() == 4404
        with Client(served.ws) as back:
            back.resume(waits, two.at)
        assert counted(served, 'cuestream_sessions_ended_total{reason="evicted"} 1.0')


def test_of_listeners_that_come_together_no_more_are_let_in_than_there_is_room_for(serve: Serve) -> None:
    with serve() as served, Client(served.ws) as client, ExitStack() as held:
        path = f"/v1/sessions/{client.start()['session_id']}/audio.wav"
        lines = [
            held.enter_context(socket.create_connection(("127.0.0.1", served.port), 10)) for _ in range(20)
        ]
        for line in lines:
            line.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        answers = [line.recv(12) for line in lines]
        assert answers.count(b"HTTP/1.1 200") == MOST_LISTENERS
        assert answers.count(b"HTTP/1.1 503") == 20 - MOST_LISTENERS
        for line in lines:
            line.close()
        client.wait_for(lambda: counted(served, "cuestream_http_listeners 0.0"))


# --- what a limit that was reached is counted as


def test_pictures_that_are_too_many_are_counted_for_everybody(serve: Serve) -> None:
    picture = jpeg(0)
    with serve(fps=12) as served, Client(served.ws) as client:
        client.start()
        for _ in range(100):
            client.show(picture)
        soon(lambda: counted(served, 'cuestream_inbound_frames_total{result="taken"} 100.0'))
        pictures = served.on_loop(
            lambda: served.host.sessions[client.messages[0]["session_id"]].watching.counts
        )
        assert pictures["too_many"] > 0
        for result in ("too_many", "dropped"):
            assert counted(
                served, f'cuestream_inbound_frames_total{{result="{result}"}} {pictures[result]:.1f}'
            )
        client.send("session.end", fade_ms=0)
        assert client.closed() == 1000
        assert counted(
            served, f'cuestream_inbound_frames_total{{result="too_many"}} {pictures["too_many"]:.1f}'
        )


def test_music_that_a_slow_client_missed_is_counted(serve: Serve) -> None:
    with serve(skip_behind_ms=300) as served, Client(served.ws) as client:
        client.reports = False
        client.start()
        client.play()
        hosted = served.on_loop(lambda: served.host.sessions[client.messages[0]["session_id"]])
        soon(lambda: hosted.core.delivery.behind(hosted.core.playout, served.host.monotonic()) > 32 * 400)
        client.send("flow.credit", credit_ms=5000)
        client._until(lambda _: bool(client.media) and Flag.DISCONTINUITY in client.media[-1].flags)
        skipped = served.on_loop(lambda: hosted.core.playout.counts["skipped_samples"])
        assert skipped
        assert counted(served, f"cuestream_skipped_samples_total {skipped:.1f}")


def test_listeners_and_bodies_that_are_too_many_and_too_long_are_counted(serve: Serve) -> None:
    with serve() as served, Client(served.ws) as client, ExitStack() as held:
        session = f"/v1/sessions/{client.start()['session_id']}"
        for _ in range(MOST_LISTENERS):
            line = held.enter_context(socket.create_connection(("127.0.0.1", served.port), 10))
            line.sendall(f"GET {session}/audio.wav HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
            assert line.recv(12) == b"HTTP/1.1 200"
        assert ask("GET", f"{served.http}{session}/audio.wav")[0] == 503
        assert counted(served, "cuestream_http_listeners_refused_total 1.0")
        assert ask("POST", f"{served.http}{session}/output", {"url": "hls:show"})[0] == 409
        assert counted(served, 'cuestream_outputs_refused_total{code="output_refused"} 1.0')
        assert ask("PATCH", f"{served.http}{session}", b" " * (MOST_BODY + 1))[0] == 413
        assert counted(served, 'cuestream_protocol_errors_total{code="message_too_large"} 1.0')


def test_a_listener_that_left_leaves_no_encoder_behind(serve: Serve) -> None:
    def encoders() -> int:
        return sum(type(each) is OutputContainer for each in gc.get_objects())

    gc.collect()
    before = encoders()
    gc.disable()
    try:
        with serve() as served, Client(served.ws) as client:
            path = f"/v1/sessions/{client.start()['session_id']}/audio"
            for ending in ("ogg", "flac", "mp3"):
                with socket.create_connection(("127.0.0.1", served.port), 10) as line:
                    line.sendall(f"GET {path}.{ending} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
                    for _ in range(4):  # of its sound too
                        assert line.recv(4096)
            soon(lambda: counted(served, "cuestream_http_listeners 0.0"))
            soon(lambda: encoders() == before)
    finally:
        gc.enable()
