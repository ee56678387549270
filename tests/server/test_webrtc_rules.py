"""WHIP (RFC 9725), WHEP and the browser's offer as plain HTTP: every status, who may, and where one is sent without room."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from obs_offer import AV1, HEVC, OBS
from rtc_client import SDP, send
from served import Serve, Served
from shell_client import Client, ask, soon

from cuestream.players import find_player
from server.access.secrets import HANDLE_SPARE_S, new_identity
from server.protocol.limits import Limits
from server.sessions.host import Host
from server.settings import Settings
from server.webrtc.browser import Browser
from server.webrtc.limits import PeerLimits
from server.webrtc.peers import Peers

KEY = "a key for tests"
HERE = {"ice_addresses": ("127.0.0.1",), "player": find_player("synthetic")}
FRAGMENT = "application/trickle-ice-sdpfrag"
TRICKLED = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:/YKg\r\na=ice-pwd:68VxeP3dhigRFPuLpuX/PU\r\n"
    "a=candidate:1 1 udp 2122260223 127.0.0.1 9 typ host\r\n"
)
PLAYER = OBS[: OBS.index("m=video")].replace("BUNDLE 0 1", "BUNDLE 0").replace("sendonly", "recvonly")
Ask = Callable[..., tuple[int, str, dict[str, str]]]


@pytest.fixture(scope="module")
def guarded(serve: Serve) -> Iterator[Served]:
    with serve(api_key=KEY, max_sessions=64, **HERE) as served:
        yield served


@pytest.fixture(scope="module")
def opened(serve: Serve) -> Iterator[Served]:
    with serve(max_sessions=64, **HERE) as served:
        yield served


def publish(served: Served, sdp: str = OBS, path: str = "/v1/whip", **more: Any) -> tuple[int, str, Any]:
    return send("POST", served.http + path, sdp, more.pop("kind", SDP), more.pop("key", KEY), **more)


def invite(served: Served) -> tuple[str, str, dict[str, Any]]:
    """A session's id, its client secret and its addresses."""
    made = ask("POST", f"{served.http}/v1/sessions", key=KEY if served.host.door.asks_for_a_key else None)[1]
    return made["session_id"], made["client_secret"]["value"], made["urls"]


def code(body: str) -> str:
    return str(json.loads(body)["error"]["code"])


# --- offers


def test_an_offer_gets_201_with_answer_address_and_tag(guarded: Served) -> None:
    status, answer, headers = publish(guarded)
    assert (status, headers["content-type"]) == (201, SDP)
    assert headers["location"].startswith("/v1/peers/")
    assert "?" not in headers["location"]  # OBS takes it for a path
    assert headers["etag"].startswith('"')
    assert guarded.host.find(headers["cuestream-session"])
    assert answer.startswith("v=0\r\n")
    assert answer.count("a=recvonly") == 2
    assert "a=setup:active" in answer
    assert "127.0.0.1" in answer
    assert answer.count("a=end-of-candidates") == 2  # complete: OBS takes no candidates later


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"kind": "text/plain"}, 415, "bad_request"),
        ({"kind": None}, 415, "bad_request"),
        ({"key": None}, 401, "unauthorized"),
        ({"key": "wrong"}, 401, "unauthorized"),
        ({"sdp": "hello"}, 400, "bad_request"),
        ({"sdp": b"\xff"}, 400, "bad_request"),
        ({"sdp": HEVC}, 422, "unsupported_codec"),
        ({"sdp": AV1}, 422, "unsupported_codec"),
        ({"sdp": OBS + "a=x\r\n" * 20_000}, 413, "message_too_large"),
        ({"path": "/v1/whip/a.b"}, 404, "session_not_found"),
    ],
)
def test_an_offer_that_is_refused(guarded: Served, change: dict[str, Any], status: int, said: str) -> None:
    sessions = set(guarded.host.sessions)
    answered, body, headers = publish(guarded, **change)
    assert (answered, code(body)) == (status, said)
    assert ("www-authenticate" in headers) == (status == 401)
    assert set(guarded.host.sessions) == sessions


def test_the_text_of_422_says_what_would_be_taken(guarded: Served) -> None:
    assert "H.264 or VP8 here; offered: H265" in publish(guarded, HEVC)[1]


@pytest.mark.parametrize("path", ["/v1/whip", "/v1/whip/show", "/v1/whep/s-x", "/v1/offer"])
def test_only_post_and_options_where_offers_are_taken(guarded: Served, path: str) -> None:
    status, _, headers = send("OPTIONS", guarded.http + path)
    assert (status, headers["accept-post"]) == (200, SDP)
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE"):
        status, _, headers = send(method, guarded.http + path)
        assert status == 405, method


def test_another_site_may_not_ask(guarded: Served) -> None:
    assert publish(guarded, origin="http://elsewhere.example")[0] == 403


# --- the peer's address


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 204),
        ({"kind": SDP}, 415),
        ({"if_match": None}, 428),
        ({"if_match": '"another"'}, 412),
        ({"if_match": "*"}, 422),
        ({"body": TRICKLED.replace("/YKg", "EsAw")}, 422),
        ({"body": "hello"}, 400),
        ({"body": "a=candidate:x\r\n"}, 400),
        ({"key": "wrong"}, 401),
        ({"key": None}, 401),
    ],
)
def test_a_patch_is_answered_as_the_rfc_says(guarded: Served, change: dict[str, Any], status: int) -> None:
    _, _, made = publish(guarded)
    asked = {"body": TRICKLED, "kind": FRAGMENT, "key": KEY, "if_match": made["etag"]} | change
    tag = {"if_match": asked["if_match"]} if asked["if_match"] else {}
    answered, body, _ = send(
        "PATCH", guarded.http + made["location"], asked["body"], asked["kind"], asked["key"], **tag
    )
    assert answered == status, body


def test_a_peer_is_deleted_once_with_200(guarded: Served) -> None:
    _, _, made = publish(guarded)
    address = guarded.http + made["location"]
    for method in ("GET", "HEAD", "POST", "PUT"):
        assert send(method, address, key=KEY)[0] == 405, method
    assert send("OPTIONS", address)[2]["accept-patch"] == FRAGMENT
    assert send("DELETE", address, key="wrong")[0] == 401
    assert send("DELETE", address, key=KEY)[0] == 200  # OBS logs every other status as a failure
    assert send("DELETE", address, key=KEY)[0] == 404
    assert send("PATCH", address, TRICKLED, FRAGMENT, KEY, if_match=made["etag"])[0] == 404
    assert guarded.host.find(made["cuestream-session"])  # it waits for a publisher who comes back


# --- which session


def test_the_same_bearer_is_the_same_session(guarded: Served) -> None:
    first, again = publish(guarded)[2], publish(guarded)[2]
    assert first["cuestream-session"] == again["cuestream-session"]
    assert send("DELETE", guarded.http + first["location"], key=KEY)[0] == 404  # the newer one took over


def test_a_name_is_a_session_of_its_own(guarded: Served) -> None:
    shows = [publish(guarded, path=f"/v1/whip/{name}")[2]["cuestream-session"] for name in ("a", "b", "a")]
    assert shows == ["a", "b", "a"]
    assert ask("GET", f"{guarded.http}/v1/sessions/a", key=KEY)[1]["playback"] == "playing"


def test_a_client_secret_opens_its_session_and_no_other_and_works_again(guarded: Served) -> None:
    session_id, secret, urls = invite(guarded)
    assert urls["whip"].endswith(f"/v1/whip/{session_id}")
    assert publish(guarded, path="/v1/whip/another", key=secret)[0] == 403
    assert publish(guarded, key=secret)[2]["cuestream-session"] == session_id
    assert publish(guarded, key=secret, path=f"/v1/whip/{session_id}")[2]["cuestream-session"] == session_id
    assert publish(guarded, key=secret, path="/v1/whip/another")[0] == 403
    with Client(guarded.ws, secret) as client:  # used up
        client.send("session.start", protocol_minor=0)
        assert client.until("error")["code"] == "unauthorized"


def test_a_used_client_secret_opens_nothing_when_its_session_is_over(guarded: Served) -> None:
    session_id, secret, _ = invite(guarded)
    assert publish(guarded, key=secret)[0] == 201
    assert ask("DELETE", f"{guarded.http}/v1/sessions/{session_id}", key=KEY)[0] == 204
    soon(lambda: guarded.host.find(session_id) is None)
    status, body, headers = publish(guarded, key=secret)
    assert (status, code(body), headers["www-authenticate"]) == (401, "unauthorized", "Bearer")
    assert guarded.host.find(session_id) is None


def test_a_used_client_secret_is_no_way_into_the_next_session_of_the_name(guarded: Served) -> None:
    def made() -> str:
        status, answer = ask("POST", f"{guarded.http}/v1/sessions", {"session_id": "twice"}, KEY)
        assert status == 201
        return str(answer["client_secret"]["value"])

    first = made()
    assert publish(guarded, key=first)[0] == 201
    assert ask("DELETE", f"{guarded.http}/v1/sessions/twice", key=KEY)[0] == 204
    soon(lambda: guarded.host.find("twice") is None)
    second = made()
    _, _, of_second = publish(guarded, key=second)
    assert of_second["cuestream-session"] == "twice"
    assert publish(guarded, key=first)[0] == publish(guarded, key=first, path="/v1/whip/twice")[0] == 401
    assert send("DELETE", guarded.http + of_second["location"], key=second)[0] == 200  # nobody took over
    assert publish(guarded, key=second)[2]["cuestream-session"] == "twice"


def test_a_used_client_secret_means_its_session_for_no_longer_than_one_lasts(tiny_player: Any) -> None:
    now_s = 0.0
    settings = replace(Settings(), limits=Limits(session_s=100, resume_window_s=10))
    peers, session = Peers(Host(tiny_player, settings, lambda: now_s)), new_identity("show")
    peers.spend(b"first", session)
    now_s = 109.0
    assert peers.opened_by(b"first") == session
    now_s = 110.0
    assert peers.opened_by(b"first") is None
    peers.spend(b"second", session)
    assert peers._spent.keys() == {b"second"}


def test_the_key_opens_a_session_that_somebody_was_invited_to(guarded: Served) -> None:
    session_id, secret, _ = invite(guarded)
    assert publish(guarded, path=f"/v1/whip/{session_id}")[0] == 201
    assert publish(guarded, key=secret)[0] == 401  # there is nothing left for it to open


def test_where_no_key_is_asked_for_any_bearer_is_a_stream_key(opened: Served) -> None:
    keys = ["mine", "yours", "mine", None, None]
    mine, yours, again, one, another = (publish(opened, key=key)[2]["cuestream-session"] for key in keys)
    assert mine == again
    assert len({mine, yours, one, another}) == 4


def test_a_session_that_ended_can_be_begun_again_under_its_name(opened: Served) -> None:
    assert publish(opened, path="/v1/whip/again", key=None)[0] == 201
    before = opened.host.find("again")
    assert ask("DELETE", f"{opened.http}/v1/sessions/again")[0] == 204
    while opened.host.find("again") is before:  # it fades out
        pass
    assert publish(opened, path="/v1/whip/again", key=None)[0] == 201
    assert opened.host.find("again") not in (None, before)


def test_a_page_that_holds_the_session_keeps_it(opened: Served) -> None:
    with Client(opened.ws) as client:
        session_id = client.start()["session_id"]
        assert publish(opened, path=f"/v1/whip/{session_id}", key=None)[0] == 201
        client.send("ping", t_us=1)
        assert client.until("pong")["t_us"] == 1


def test_the_description_names_every_address(opened: Served) -> None:
    paths = ask("GET", f"{opened.http}/openapi.json")[1]["paths"]
    for path in ("/v1/whip", "/v1/whip/{session_id}", "/v1/whep/{session_id}", "/v1/offer"):
        assert {"post", "options"} <= paths[path].keys()
    assert {"patch", "delete"} <= paths["/v1/peers/{peer_id}"].keys()


# --- who may listen


def test_players_need_the_key_or_a_token_of_the_session(guarded: Served) -> None:
    session_id = publish(guarded, path="/v1/whip/heard")[2]["cuestream-session"]
    address = f"{guarded.http}/v1/whep/{session_id}"
    token = ask("GET", f"{guarded.http}/v1/sessions/heard", key=KEY)[1]["urls"]["whep"].partition("token=")[2]
    assert send("POST", address, PLAYER, SDP)[0] == 401
    assert send("POST", address, PLAYER, SDP, "wrong")[0] == 401
    for key in (KEY, token):
        status, answer, made = send("POST", address, PLAYER, SDP, key)
        assert (status, made["cuestream-session"]) == (201, "heard")
        assert "a=sendonly" in answer
        assert "stereo=1" in answer
        assert send("DELETE", guarded.http + made["location"], key=key)[0] == 200
    assert send("POST", f"{address}?token={token}", PLAYER, SDP)[0] == 201
    assert send("POST", f"{guarded.http}/v1/whep/another", PLAYER, SDP, token)[0] == 403
    assert send("POST", f"{guarded.http}/v1/whep/another", PLAYER, SDP, KEY)[0] == 404
    assert publish(guarded, key=token)[0] == 403  # to hear is not to show


def test_eight_players_and_no_more(opened: Served) -> None:
    publish(opened, path="/v1/whip/full", key=None)
    address = f"{opened.http}/v1/whep/full"
    players = [send("POST", address, PLAYER, SDP) for _ in range(8)]
    assert [status for status, _, _ in players] == [201] * 8
    status, body, headers = send("POST", address, PLAYER, SDP)
    assert (status, code(body)) == (503, "capacity")
    assert int(headers["retry-after"]) > 0
    send("DELETE", opened.http + players[0][2]["location"])
    assert send("POST", address, PLAYER, SDP)[0] == 201


@pytest.mark.parametrize(
    ("body", "key", "status"),
    [
        ({"type": "offer", "sdp": OBS}, KEY, 422),
        ({"type": "answer", "sdp": OBS}, KEY, 400),
        ({"sdp": OBS}, KEY, 400),
        ({"type": "offer", "sdp": OBS}, None, 401),
        ({"type": "offer", "sdp": OBS}, "wrong", 401),
    ],
)
def test_a_browsers_offer_that_is_refused(guarded: Served, body: Any, key: str | None, status: int) -> None:
    assert ask("POST", f"{guarded.http}/v1/offer", body, key)[0] == status


def test_a_handle_whose_session_is_over_is_refused_at_once(guarded: Served) -> None:
    offer, address = {"type": "offer", "sdp": OBS}, f"{guarded.http}/v1/offer"
    session_id, secret, _ = invite(guarded)
    with Client(guarded.ws, secret) as client:
        client.start()
        handle = client.until("resume.handle")["handle"]
        assert ask("POST", address, offer, handle)[0] == 422  # it may come in; what it offers is no browser's
        hosted = guarded.host.find(session_id)
        assert hosted is not None
        now_s = guarded.host.monotonic()
        old = guarded.host.door.handle(hosted.identity, now_s - Limits().resume_window_s - HANDLE_SPARE_S - 1)
        other = guarded.host.door.handle(new_identity(session_id), now_s)
        client.send("session.end", fade_ms=0)
        client.until("session.ended")
    for gone in (handle, old, other):
        status, answer = ask("POST", address, offer, gone)
        assert (status, answer["error"]["code"]) == (404, "session_expired")


def test_a_session_begins_for_nobody_who_is_gone(opened: Served) -> None:
    """While a peer connection closes, what its client said last may still come."""

    def say_after_the_end() -> int:
        browser = Browser(opened.app.state.peers, None, None)
        browser._end("lost")
        before = len(opened.host.sessions)
        browser._conversation.receive('{"type":"session.start","protocol_minor":0}')
        return len(opened.host.sessions) - before

    assert opened.on_loop(say_after_the_end) == 0


def test_a_session_that_just_waited_too_long_is_not_found_again(opened: Served) -> None:
    """Its next tick, a tenth of a second later, would end it."""

    def look_late() -> tuple[bool, bool]:
        host = opened.host
        hosted = host.open("late", None)
        hosted.core.left_s = host.monotonic() - Limits().resume_window_s + 1
        waits = host.find_again("late") is hosted
        hosted.core.left_s -= 2
        return waits, host.find_again("late") is not None

    assert opened.on_loop(look_late) == (True, False)
    assert publish(opened, path="/v1/whip/late")[0] == 201


# --- no room


def test_a_full_server_says_when_to_come_again_or_where_to_go(serve: Serve) -> None:
    with serve(max_sessions=1, **HERE) as served:
        assert publish(served, path="/v1/whip/one")[0] == 201
        status, body, headers = publish(served, path="/v1/whip/two")
        assert (status, code(body), headers["retry-after"]) == (503, "capacity", "5")
        assert publish(served, path="/v1/whip/one")[0] == 201  # who comes back has its place
    with serve(max_sessions=1, redirect="http://other.example:1/", **HERE) as served:
        assert publish(served, path="/v1/whip/one")[0] == 201
        status, _, headers = publish(served, path="/v1/whip/two")
        assert (status, headers["location"]) == (307, "http://other.example:1/v1/whip/two")


def test_no_more_peers_than_may_be(serve: Serve) -> None:
    with serve(peers=PeerLimits(at_once=1), **HERE) as served:
        assert publish(served)[0] == 201
        status, body, headers = publish(served)
        assert (status, code(body), headers["retry-after"]) == (503, "capacity", "5")
    with serve(peers=PeerLimits(at_once=1), redirect="https://other.example", **HERE) as served:
        assert publish(served)[0] == 201
        assert publish(served)[0] == 307


def test_what_webrtc_is_told_at_the_start_is_checked() -> None:
    for wrong in (
        {"ice_addresses": ("nowhere",)},
        {"ice_servers": ("turn:x",)},
        {"redirect": "other.example"},
    ):
        with pytest.raises(ValueError, match=r"expected|appear"):
            Settings(**wrong)  # type: ignore[arg-type]


def test_servers_of_ice_are_named(serve: Serve) -> None:
    with serve(ice_servers=("stun:127.0.0.1:9",), peers=PeerLimits(gather_s=0.05), **HERE) as served:
        assert publish(served)[2]["link"] == '<stun:127.0.0.1:9>; rel="ice-server"'


def test_without_aiortc_everything_else_works() -> None:
    program = """
import sys
sys.modules["aiortc"] = None
sys.path += ["tests/server", "sdk/python"]
from served import Served
from cuestream.players import find_player
from server.settings import Settings
from shell_client import ask
served = Served(find_player("synthetic"), Settings(), 0.0, None)
served.start()
status, made = ask("POST", served.http + "/v1/sessions")
assert status == 201 and set(made["urls"]) == {"ws", "audio", "obs", "control"}, made
assert ask("GET", served.http + "/v1/version")[1]["webrtc"] is False
for path in ("/v1/whip", "/v1/whip/x", "/v1/whep/x", "/v1/offer"):
    status, answer = ask("POST", served.http + path)
    assert status == 501, answer
    print(answer["error"]["text"])
served.stop()
"""
    root = Path(__file__).parents[2]
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert told.returncode == 0, told.stderr
    assert set(told.stdout.splitlines()) == {
        "WebRTC needs aiortc; install the extra: pip install 'cuestream[webrtc]'"
    }
