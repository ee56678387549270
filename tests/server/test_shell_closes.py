"""Every way in which the shell ends a connection, by its code; and what a client may get wrong without being let go."""

from __future__ import annotations

import select
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from served import Serve, Served
from shell_client import Client, ask, keep_sending, last_code, raw, soon
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from engine.spec import StreamPolicy
from server.protocol.media import Kind, Media, StreamId, encode_media

KEY = "a key for tests"


def fatal(client: Client) -> tuple[str, int]:
    """The error that is said before the close, and the close."""
    code = client.closed()
    last = client.messages[-1]
    assert last["type"] == "error"
    assert last["fatal"]
    return last["code"], code


class Broken:
    """A player whose model cannot be opened; in everything else another one."""

    def __init__(self, player: Any) -> None:
        self._player = player

    def __getattr__(self, name: str) -> Any:
        return getattr(self._player, name)

    def open(self, policy: StreamPolicy) -> Any:
        raise RuntimeError("the weights are gone")


def test_another_subprotocol_is_refused_before_the_upgrade(served: Served) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(served.ws, subprotocols=[Subprotocol("cuestream.v2")]),
    ):
        pass
    assert refused.value.response.status_code == 400


def test_a_page_of_another_site_is_refused(served: Served) -> None:
    with pytest.raises(InvalidStatus) as refused, Client(served.ws, origin="http://elsewhere.example"):
        pass
    assert refused.value.response.status_code == 403


def test_1003_media_before_the_session(served: Served) -> None:
    with Client(served.ws) as client:
        client.show()
        assert fatal(client) == ("unexpected_message", 1003)


def test_1003_a_second_start(served: Served) -> None:
    with Client(served.ws) as client:
        client.start()
        client.send("session.start", protocol_minor=0)
        assert fatal(client) == ("unexpected_message", 1003)


def test_1007_text_that_is_not_utf8(served: Served) -> None:
    with Client(served.ws) as client:
        client.start()
        client.ws.send(b"\xff\xfe", text=True)
        assert fatal(client) == ("invalid_utf8", 1007)


def test_1008_too_many_errors(serve: Serve) -> None:
    with serve(errors_per_min=3) as served, Client(served.ws) as client:
        client.start()
        for _ in range(4):
            client.ws.send("not JSON")
        assert fatal(client) == ("too_many_errors", 1008)
        refused = [message["code"] for message in client.messages if message["type"] == "error"]
        assert refused == ["invalid_json"] * 4 + ["too_many_errors"]


def test_1008_too_many_pictures_that_are_none(serve: Serve) -> None:
    """They have a limit of their own: they come more often than messages."""
    with serve(bad_pictures_per_min=3, errors_per_min=1) as served, Client(served.ws) as client:
        client.start()
        for _ in range(3):
            client.show(b"no picture")
            assert not client.until("error", code="decode_failed")["fatal"]
        client.play()
        client.show(b"no picture")
        assert fatal(client) == ("too_many_errors", 1008)


@pytest.mark.parametrize("over", [1, 200_000])
def test_1009_a_message_that_is_too_long(serve: Serve, over: int) -> None:
    with serve(image_bytes=100_000) as served, Client(served.ws) as client:
        client.start()
        client.ws.send(encode_media(Media(Kind.JPEG, StreamId.VIDEO, 0, 0, bytes(100_000 + over))))
        assert client.closed() == 1009


def test_1009_a_message_that_never_ends(served: Served) -> None:
    """An empty fragment adds nothing to the length of its message."""
    with Client(served.ws) as client:
        client.start()
        client.ws.send(["", *'{"type":"ping","t_us":7}', *[""] * 4000])
        assert client.until("pong")["t_us"] == 7
        with suppress(ConnectionClosed):
            client.ws.send([""] * 4200)
        assert client.closed() == 1009


@pytest.mark.parametrize(
    ("wrong", "code"),
    [(b"\x82\xff" + (1 << 40).to_bytes(8, "big"), 1009), (b"\x83\x80", 1002)],
    ids=["long", "strange"],
)
def test_what_is_still_on_its_way_does_not_drown_the_close(served: Served, wrong: bytes, code: int) -> None:
    """Who closes with something unread cuts the connection off, and its last words with it."""
    with raw(served.port) as line:
        received = line.recv(4096)
        line.sendall(wrong + bytes(4))
        select.select([line], [], [], 10)
        keep_sending(line)
        assert last_code(received, line) == code


def test_a_server_that_restarts_is_heard_by_who_sends_all_the_while(serve: Serve, tmp_path: Path) -> None:
    with serve(checkpoints=tmp_path) as served, raw(served.port) as line:
        received = line.recv(4096)
        start = b'{"type":"session.start","protocol_minor":0}'
        line.sendall(Frame(Opcode.TEXT, start).serialize(mask=True))
        while b"session.created" not in received:
            received += line.recv(4096)
        served.leave()
        keep_sending(line)
        assert last_code(received, line) == 1012


def test_1009_a_text_that_is_too_long(served: Served) -> None:
    with Client(served.ws) as client:
        client.start()
        client.ws.send('{"type":"' + "x" * 70_000 + '"}')
        assert fatal(client) == ("message_too_large", 1009)


def test_1011_the_model_fails(serve: Serve, tiny_player: Any, caplog: pytest.LogCaptureFixture) -> None:
    with serve(player=Broken(tiny_player)) as served, Client(served.ws) as client:
        client.start()
        assert fatal(client) == ("generator_failed", 1011)
        assert "the weights are gone" in client.messages[-1]["text"]
        ended = 'cuestream_sessions_ended_total{reason="generator_failed"} 1.0'
        assert ended in ask("GET", f"{served.http}/metrics")[1]
    assert "its music cannot go on: " in caplog.text
    assert "the weights are gone" in caplog.text


def test_1013_every_place_is_taken(serve: Serve) -> None:
    with serve(max_sessions=1) as served, Client(served.ws) as first:
        first.start()
        with Client(served.ws) as second:
            second.send("session.start", protocol_minor=0)
            assert fatal(second) == ("capacity", 1013)
            assert second.messages[-1]["retry_after_ms"] > 0
        assert ask("GET", f"{served.http}/readyz") == (503, {"status": "full"})
        status, body = ask("POST", f"{served.http}/v1/sessions")
        assert (status, body["error"]["code"]) == (503, "capacity")


def test_4400_nothing_is_said(serve: Serve) -> None:
    with serve(handshake_s=0.2) as served, Client(served.ws) as client:
        assert fatal(client) == ("bad_handshake", 4400)


def test_4400_another_message_comes_first(served: Served) -> None:
    with Client(served.ws) as client:
        client.send("playback", action="play")
        assert fatal(client) == ("bad_handshake", 4400)


def test_4401_wrong_key_no_key_and_a_used_secret(serve: Serve) -> None:
    with serve(api_key=KEY) as served:
        made = ask("POST", f"{served.http}/v1/sessions", key=KEY)[1]
        secret = made["client_secret"]["value"]
        with Client(served.ws, secret) as client:
            assert client.start()["session_id"] == made["session_id"]
        for token in (None, "wrong", secret):
            with Client(served.ws, token) as client:
                client.send("session.start", protocol_minor=0)
                assert fatal(client) == ("unauthorized", 4401)
        with Client(served.ws, authorization=f"Bearer {KEY}") as client:
            client.start()


def test_4404_a_handle_of_another_server_and_of_a_session_that_is_over(serve: Serve) -> None:
    with serve() as served:
        with Client(served.ws) as client:
            client.start()
            client.play()
            handle = client.until("resume.handle")["handle"]
            client.send("session.end", fade_ms=0)
            assert client.closed() == 1000
        for tried, code in ((handle, "session_expired"), ("e30.forged", "session_not_found")):
            with Client(served.ws) as client:
                client.come_back(tried)
                assert fatal(client) == (code, 4404)


def test_4404_a_handle_of_a_session_whose_name_another_one_has_now(serve: Serve) -> None:
    with serve(api_key=KEY) as served:

        def invited() -> Client:
            status, made = ask("POST", f"{served.http}/v1/sessions", {"session_id": "show"}, KEY)
            assert status == 201
            return Client(served.ws, made["client_secret"]["value"])

        with invited() as first:
            first.start()
            handle = first.until("resume.handle")["handle"]
            first.drop()
        assert ask("DELETE", f"{served.http}/v1/sessions/show", key=KEY)[0] == 204
        soon(lambda: served.host.find("show") is None)
        with invited() as second:
            second.start()
            with Client(served.ws) as again:
                again.come_back(handle)
                assert fatal(again) == ("session_expired", 4404)
            second.play()


def test_4408_a_client_that_never_answers_pings(serve: Serve) -> None:
    with serve(heartbeat_s=0.2) as served, raw(served.port) as line:
        received = b""
        while part := line.recv(4096):
            received += part
        assert received.endswith(b"\x88\x13" + (4408).to_bytes(2, "big") + b"heartbeat_timeout")
        soon(
            lambda: (
                'cuestream_websocket_closes_total{code="4408"} 1.0' in ask("GET", f"{served.http}/metrics")[1]
            )
        )


def test_4409_another_connection_takes_the_session(served: Served) -> None:
    with Client(served.ws) as first:
        first.start()
        first.play()
        handle = first.until("resume.handle")["handle"]
        with Client(served.ws) as second:
            second.come_back(handle, first.at)
            second.until("session.resumed")
            assert fatal(first) == ("session_superseded", 4409)
            second.hear(first.at + 960)


def test_4413_a_listener_that_reports_nothing(serve: Serve) -> None:
    with serve(skip_behind_ms=300, slow_consumer_ms=600) as served, Client(served.ws) as client:
        client.start()
        client.reports = False
        client.play()
        assert fatal(client) == ("slow_consumer", 4413)
        # the credit of half a second; what a busy machine left out counts for nobody
        assert len(client.pcm) <= 24_000


def test_4440_the_session_is_as_long_as_one_may_be(serve: Serve) -> None:
    with serve(session_s=0.5) as served, Client(served.ws) as client:
        client.start()
        assert client.until("go_away")["reason"] == "session_limit"
        assert client.closed() == 4440
        assert client.messages[-1] == {"type": "session.ended", "reason": "session_limit", "samples": 0}


def test_1000_nothing_happens_for_long(serve: Serve) -> None:
    with serve(idle_s=0.5) as served, Client(served.ws) as client:
        client.start()
        assert client.closed() == 1000
        assert client.messages[-1]["reason"] == "idle"


def test_1001_who_is_here_when_the_draining_is_over(serve: Serve) -> None:
    with serve(drain_s=0.1) as served, Client(served.ws) as client:
        client.start()
        served.leave()
        assert client.until("go_away")["reason"] == "draining"
        assert client.closed() == 1001


def test_4503_who_comes_while_others_may_still_leave(serve: Serve) -> None:
    with serve(drain_s=60.0) as served, Client(served.ws) as client, Client(served.ws) as late:
        client.start()
        served.leave()
        assert client.until("go_away")["reason"] == "draining"
        assert ask("GET", f"{served.http}/readyz")[0] == 503
        late.send("session.start", protocol_minor=0)
        assert fatal(late) == ("draining", 4503)
        client.play()


def test_what_is_refused_leaves_the_session_as_it_was(served: Served) -> None:
    with Client(served.ws) as client:
        client.start()
        client.ws.send('{"type": "ping"')
        client.until("error", code="invalid_json")
        client.send("session.update", config={"gain_db": 99}, event_id="e3")
        error = client.until("error", event_id="e3")
        assert (error["code"], error["param"]) == ("bad_request", "config.gain_db")
        client.send("sparkle", event_id="e4")
        assert client.until("warning", event_id="e4")["code"] == "unknown_type"
        client.send("session.update", config={"loud": 1}, event_id="e5")
        assert client.until("warning", event_id="e5")["param"] == "config.loud"
        client.ws.send(b"too short")
        client.until("error", code="invalid_media")
        client.ws.send(bytes([0x7F]) + bytes(30))  # a kind that nobody knows: counted
        client.show(b"no picture")
        client.until("error", code="decode_failed")
        client.send("playout.report", played_through_sample=10**9, buffer_ms=0.0)
        client.until("error", code="bad_request")
        client.play()


def test_too_many_pixels_are_skipped(serve: Serve) -> None:
    with serve(image_pixels=1000) as served, Client(served.ws) as client:
        client.start()
        client.show()
        assert not client.until("error", code="frame_too_large")["fatal"]


def test_too_many_messages_are_skipped(serve: Serve) -> None:
    with serve(messages_per_s=5) as served, Client(served.ws) as client:
        client.start()
        for _ in range(12):
            client.send("ping", t_us=0)
        assert not client.until("error", code="rate_limited")["fatal"]


def test_original_sound_of_a_codec_that_is_not_heard(served: Served) -> None:
    with Client(served.ws) as client:
        original = {"codec": "opus", "sample_rate": 48000, "channels": 2}
        client.send("session.start", protocol_minor=0, original=original)
        assert client.until("error")["code"] == "unsupported_codec"
        client.start()
