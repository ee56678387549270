"""What /openapi.json says of the answers of REST is what is answered: every status with every code of its errors.

Some three hundred requests to three servers, with films and outputs that begin processes: that takes five seconds.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from obs_offer import AV1, OBS
from served import Serve, Served
from shell_client import Client, ask, soon
from test_protocol_docs import rows
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from engine.errors import NoRoom
from engine.synthetic import SyntheticPlayer
from server.http.endless import MOST_LISTENERS, Tap
from server.http.openapi import FRAGMENT, SDP, description
from server.http.refusals import CODES
from server.http.rest import MOST_BODY
from server.ingest.limits import IngestLimits
from server.protocol.errors import ErrorCode
from server.recording.shelf import Shelf as Recordings
from server.sessions.host import Draining, Hanging, Host
from server.webrtc.limits import PeerLimits

KEY = "a key for tests"
ONE = "/v1/sessions/show"
SOMEBODY = {"x-forwarded-for": "203.0.113.7"}
NAMES = {
    "session_id": "no.body",
    "recording_id": f"20261125-194515-{'x' * 16}",
    "peer_id": "nobody",
    "name": "music.flac",
}
LONG = b" " * (MOST_BODY + 1)
HEARS = OBS[: OBS.index("m=video")].replace("BUNDLE 0 1", "BUNDLE 0").replace("sendonly", "recvonly")
CHANNEL = (
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\na=sctp-port:5000\r\n"
    "a=setup:actpass\r\na=ice-ufrag:/YKg\r\na=ice-pwd:68VxeP3dhigRFPuLpuX/PU\r\n"
)
TALKS = HEARS.replace("BUNDLE 0", "BUNDLE 0 2") + CHANNEL
Answer = tuple[str, str, int, str]
"""Method, path as it is described, status, and code of an error."""


def described() -> Iterator[Answer]:
    for path, item in description()["paths"].items():
        for method, operation in item.items():
            if method == "parameters":
                continue
            for status, answer in operation["responses"].items():
                told = (
                    re.findall(r"\w+", answer["description"])
                    if int(status) >= 400 and path.startswith("/v1")
                    else [""]
                )
                for code in told:
                    yield method, path, int(status), code


DESCRIPTION = description()
DESCRIBED = set(described())
PATHS = {path: re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in description()["paths"]}


@dataclass
class Asker:
    """Keeps what was answered."""

    answered: set[Answer] = field(default_factory=set)

    def __call__(
        self, served: Served, method: str, path: str, body: Any = None, key: str | None = KEY, **headers: str
    ) -> Any:
        sent = headers | ({"authorization": f"Bearer {key}"} if key else {})
        data = body if isinstance(body, bytes | None) else json.dumps(body)
        line = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        line.request(method, path, data, sent)
        with closing(line), closing(line.getresponse()) as answer:
            status, kind = answer.status, answer.headers.get("content-type", "")
            said = json.loads(answer.read()) if kind == "application/json" else None
        found = next(each for each, form in PATHS.items() if form.fullmatch(path.partition("?")[0]))
        code = said["error"]["code"] if status >= 400 and path.startswith("/v1") else ""
        self.answered.add((method.lower(), found, status, code))
        if status < 300 and said is not None and path.startswith("/v1"):
            check_described(found, method.lower(), status, said)
        return said


def check_described(path: str, method: str, status: int, said: dict[str, Any]) -> None:
    """An answer has the fields that its description names, and no others."""
    content = DESCRIPTION["paths"][path][method]["responses"][str(status)]["content"]
    _, _, kind = content["application/json"]["schema"]["$ref"].rpartition("/")
    schema = DESCRIPTION["components"]["schemas"][kind]
    assert {*schema["required"]} <= said.keys() <= schema["properties"].keys(), (method, path, said)


def operations() -> Iterator[tuple[str, str, set[int]]]:
    """Method, path for nobody's session, recording or peer, and every status."""
    for path, item in description()["paths"].items():
        for method in item.keys() - {"parameters"}:
            yield method.upper(), path.format(**NAMES), {int(status) for status in item[method]["responses"]}


def offer(asker: Asker, served: Served, path: str, sdp: str = OBS, **more: Any) -> None:
    asker(served, "POST", path, sdp.encode(), **{"content-type": SDP, **more})


def refuse_strangers(asker: Asker, served: Served) -> None:
    """What every operation answers to who may not, or asks for nothing that is there."""
    for _ in range(2):
        ask("GET", f"{served.http}/v1/recordings", key="wrong", **SOMEBODY)
    for method, path, statuses in operations():
        if path.startswith("/v1"):
            asker(served, method, path, host="a/b")
            asker(served, method, path, origin="http://elsewhere.example")
        if 413 in statuses:
            asker(served, method, path, LONG, **{"content-type": FRAGMENT if "peers" in path else SDP})
        if not path.startswith(("/v1/whip", "/v1/whep", "/v1/offer", "/v1/peers")):
            if 429 in statuses:
                asker(served, method, path, **SOMEBODY)
            if 401 in statuses:
                asker(served, method, path, key=None)
            if 404 in statuses:
                asker(served, method, path, body_of(path) if method == "POST" else None)


def body_of(path: str) -> dict[str, str]:
    return {"url": "file:film.mp4"} if path.endswith(("output", "ingest")) else {}


def use_session(asker: Asker, served: Served, client: Client, secret: str) -> None:
    """The one that is open. secret: of another one."""
    asker(served, "POST", "/v1/sessions", {"session_id": "show"})
    asker(served, "POST", "/v1/sessions")
    asker(served, "GET", ONE)
    asker(served, "PATCH", ONE, {"config": {"gain_db": -6}})
    asker(served, "PATCH", ONE, {"config": {"gain_db": "x"}})
    asker(served, "PATCH", ONE, {"config": {"guidance": 1}})
    for method, path, statuses in operations():
        if 403 in statuses:
            asker(served, method, path, key=secret)
    for method, path in (("PATCH", ""), ("POST", "/output"), ("POST", "/recording"), ("POST", "/ingest")):
        asker(served, method, ONE + path, LONG)
    token = asker(served, "GET", ONE + "/urls")["audio"]["wav"].partition("?")[2]
    for ending in ("wav", "ogg", "mp3", "flac"):
        asker(
            served, "GET", f"/v1/sessions/nobody/audio.{ending}?token={served.host.door.listening('nobody')}"
        )
        hear_too_many(asker, served, f"{ONE}/audio.{ending}?{token}")
    for method, path in (
        ("GET", "/output"),
        ("DELETE", "/output"),
        ("GET", "/ingest"),
        ("DELETE", "/ingest"),
    ):
        asker(served, method, ONE + path)


def use_files(asker: Asker, served: Served, client: Client, patch: pytest.MonkeyPatch) -> None:
    recording, output, ingest = (f"{ONE}/{name}" for name in ("recording", "output", "ingest"))
    with patch.context() as slow:
        slow.setattr("server.recording.rest.WAIT_S", 0.0)
        asker(served, "POST", recording, {})
        asker(served, "DELETE", recording)
    with patch.context() as full:
        asker(served, "POST", recording, {})
        full.setattr(Recordings, "keep", fails)
        asker(served, "DELETE", recording)
    begun = asker(served, "POST", recording, {})
    asker(served, "POST", recording, {})
    asker(served, "GET", "/v1/recordings")
    one = f"/v1/recordings/{begun['recording_id']}"
    asker(served, "GET", one)
    asker(served, "GET", one + "/music.flac")
    client.hear(client.at + 4800)
    asker(served, "DELETE", recording)
    asker(served, "DELETE", recording)
    for given in ({}, {"range": "bytes=0-9"}, {"range": "bytes=99999999-"}):
        asker(served, "GET", one + "/timeline.jsonl", **given)
    with patch.context() as full:
        full.setattr(Recordings, "check_room", fails)
        asker(served, "POST", recording, {})
    asker(served, "POST", output, {"url": "rtmp://other.example/x"})
    asker(served, "POST", output, {"url": "file:x.wav"})
    asker(served, "POST", output, {"url": "file:y.wav"})
    asker(served, "GET", output)
    with patch.context() as slow:
        slow.setattr("server.output.rest.STOP_SPARE_S", -1000.0)
        asker(served, "DELETE", output)
    asker(served, "DELETE", output)
    asker(served, "POST", ingest, {"url": "http://169.254.169.254/"})
    with patch.context() as nameless:
        nameless.setattr("server.ingest.rest.check", fails)
        asker(served, "POST", ingest, {"url": "http://nowhere.invalid/"})
    asker(served, "POST", ingest, {"url": "file:film.mp4"})
    asker(served, "POST", ingest, {"url": "file:film.mp4"})
    asker(served, "GET", ingest)
    asker(served, "DELETE", ingest)
    asker(served, "DELETE", ONE)


def fails(*_: object) -> None:
    raise OSError(28, "No space left on device")


def hear_too_many(asker: Asker, served: Served, path: str) -> None:
    asker(served, "GET", path)
    hosted = served.host.find("show")
    assert hosted is not None
    soon(lambda: not hosted.taps)
    taps = [Tap(hosted, served.host) for _ in range(MOST_LISTENERS)]
    served.on_loop(lambda: hosted.taps.extend(taps))
    asker(served, "GET", path)
    served.on_loop(hosted.taps.clear)


def use_webrtc(asker: Asker, served: Served) -> None:
    for path in ("/v1/whip", "/v1/whip/obs", "/v1/whep/obs"):
        sdp = HEARS if "whep" in path else OBS
        offer(asker, served, path, sdp)
        offer(asker, served, path, "hello")
        offer(asker, served, path, AV1)
        offer(asker, served, path, sdp, key=None)
        offer(asker, served, path, sdp, **{"content-type": "text/plain"})
    offer(asker, served, "/v1/whip/no.body")
    offer(asker, served, "/v1/whep/nobody", HEARS)
    old = served.host.door.handle(served.host.find("obs").identity, -1000.0)
    for key in (KEY, None, old):
        asker(served, "POST", "/v1/offer", {"type": "offer", "sdp": TALKS}, key)
    asker(served, "POST", "/v1/offer", {"type": "offer", "sdp": OBS})
    asker(served, "POST", "/v1/offer", {"type": "answer"})
    peer = f"/v1/peers/{next(iter(served.app.state.peers._open))}"
    tag = served.app.state.peers._open[peer.rpartition("/")[2]].etag
    for kind, headers in (
        (FRAGMENT, {}),
        (FRAGMENT, {"if-match": "x"}),
        (FRAGMENT, {"if-match": "*"}),
        (SDP, {}),
    ):
        asker(served, "PATCH", peer, b"a=mid:0\r\n", **{"content-type": kind}, **headers)
    asker(served, "PATCH", peer, b"a=mid:0\r\n", **{"content-type": FRAGMENT, "if-match": tag})
    asker(served, "PATCH", peer, b"\xff", **{"content-type": FRAGMENT})
    asker(served, "PATCH", peer, LONG, **{"content-type": FRAGMENT})
    for method in ("PATCH", "DELETE"):
        asker(served, method, peer, key=None)
        asker(served, method, "/v1/peers/nobody")
    asker(served, "DELETE", peer)
    for path in ("/v1/whip", "/v1/whip/obs", "/v1/whep/obs", "/v1/offer", peer):
        asker(served, "OPTIONS", path)


def find_no_room(asker: Asker, served: Served, patch: pytest.MonkeyPatch) -> None:
    """And nobody new."""
    made = ask("POST", f"{served.http}/v1/sessions", {"session_id": "fed"}, KEY)[1]
    for why in (Draining(), Hanging(), NoRoom("full", 1.0)):

        def admit(*_: object, why: Exception = why, **__: object) -> None:
            raise why

        with patch.context() as patched:
            patched.setattr(Host, "admit", admit)
            asker(served, "POST", "/v1/sessions")
            asker(served, "POST", f"/v1/sessions/{made['session_id']}/ingest", {"url": "file:film.mp4"})
            asker(served, "GET", "/readyz", key=None)
            for path in ("/v1/whip", "/v1/whip/other"):
                offer(asker, served, path)
    with patch.context() as patched:
        patched.setattr(served.app.state.peers, "_limits", PeerLimits(at_once=0))
        offer(asker, served, "/v1/whep/show", HEARS)
        asker(served, "POST", "/v1/offer", {"type": "offer", "sdp": TALKS})
    with patch.context() as patched:
        patched.setattr(Host, "is_alive", False)
        asker(served, "GET", "/healthz", key=None)


def come_too_often(asker: Asker, served: Served) -> None:
    for path in ("/v1/whip", "/v1/whip", "/v1/whip/show", "/v1/whep/show", "/v1/offer"):
        offer(asker, served, path, "hello", **SOMEBODY)


def lack(asker: Asker, served: Served) -> None:
    """What this server was started without."""
    asker(served, "GET", "/v1/recordings")
    asker(served, "GET", f"/v1/recordings/{NAMES['recording_id']}")
    asker(served, "GET", f"/v1/recordings/{NAMES['recording_id']}/music.flac")
    asker(served, "POST", ONE + "/recording", {})
    asker(served, "POST", ONE + "/output", {"url": "file:x.wav"})


def open_show(served: Served) -> Client:
    return Client(
        served.ws,
        ask("POST", f"{served.http}/v1/sessions", {"session_id": "show"}, KEY)[1]["client_secret"]["value"],
    )


def test_every_answer_is_described_and_every_answer_that_is_described_is_made(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker, films = Asker(), tmp_path / "films"
    films.mkdir()
    (films / "film.mp4").write_bytes(b"no film")
    choices: dict[str, Any] = {"player": SyntheticPlayer(), "api_key": KEY, "ice_addresses": ("127.0.0.1",)}
    choices["ingest"] = IngestLimits(files=films, at_once=1)
    folders: dict[str, Any] = {"recordings": tmp_path / "takes", "outputs": tmp_path / "sent"}
    with serve(**choices, **folders, bad_tokens_per_min=2, push_hosts=("127.0.0.1",)) as served:
        for path in ("/v1/version", "/healthz", "/readyz", "/metrics"):
            asker(served, "GET", path, key=None)
        refuse_strangers(asker, served)
        with open_show(served) as client:
            client.start()
            client.play()
            other = ask("POST", f"{served.http}/v1/sessions", key=KEY)[1]
            use_session(asker, served, client, other["client_secret"]["value"])
            use_files(asker, served, client, monkeypatch)
        use_webrtc(asker, served)
    with serve(**choices, connects_per_min=1) as served, open_show(served) as client:
        client.start()
        lack(asker, served)
        find_no_room(asker, served, monkeypatch)
        come_too_often(asker, served)
    with serve(**choices, peers=PeerLimits(at_once=0), redirect="http://other.example") as served:
        for path in ("/v1/whip", "/v1/whip/other"):
            offer(asker, served, path)
    assert asker.answered - DESCRIBED == set()
    without = {each for each in DESCRIBED if each[2] == 501}  # aiortc: see test_webrtc_rules
    assert DESCRIBED - asker.answered == without


def test_every_code_of_rest_is_on_the_page_with_its_meaning() -> None:
    told = {code for _, _, _, code in DESCRIBED} - {""}
    assert told - {str(each) for each in ErrorCode} <= CODES.keys()
    assert dict(row[:2] for row in rows("Errors of REST")) == {
        f"`{code}`": said for code, said in CODES.items()
    }


def answer_of(served: Served, method: str, path: str, **headers: str) -> tuple[int, Any, str | None]:
    """Status, body and the methods that are allowed."""
    line = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    line.request(method, path, headers=headers)
    with closing(line), closing(line.getresponse()) as answer:
        text = answer.read().decode()
        is_json = answer.headers["content-type"] == "application/json"
        return (
            answer.status,
            json.loads(text)["error"]["code"] if is_json else text,
            answer.headers.get("allow"),
        )


def test_an_address_that_is_none_and_a_method_that_is_none_of_it_answer_like_everything_else(
    served: Served,
) -> None:
    for path in (
        "/v1/nothing",
        "/v1/",
        "/v1/sessions/x/audio.midi",
        "/v1/stream",
        "/v1/sessions/a%2fb",
        "/v1/%ff",
    ):
        assert answer_of(served, "GET", path)[:2] in ((404, "not_found"), (404, "session_not_found")), path
    assert answer_of(served, "PUT", ONE) == (405, "method_not_allowed", "DELETE, GET, HEAD, PATCH")
    assert answer_of(served, "GET", "/v1/sessions") == (405, "method_not_allowed", "POST")
    assert answer_of(served, "GET", "/v1/whip") == (405, "method_not_allowed", "OPTIONS, POST")
    assert answer_of(served, "GET", "/nothing") == (404, "Not Found\n", None)
    assert answer_of(served, "GET", "/static/nothing.js")[:2] == (404, "Not Found\n")
    assert answer_of(served, "POST", "/metrics") == (405, "Method Not Allowed\n", "GET, HEAD")


def test_a_websocket_that_is_refused_is_told_in_the_same_words(served: Served) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(served.ws, subprotocols=[Subprotocol("cuestream.v2")]),
    ):
        pass
    assert json.loads(refused.value.response.body or b"")["error"]["code"] == "bad_request"


def test_our_own_mistake_is_told_in_the_same_words(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "config", property(lambda host: 1 / 0))
    assert answer_of(served, "GET", "/v1/version")[:2] == (500, "internal")


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("PATCH", "", b"{}"),
        ("POST", "/recording", b"{}"),
        ("POST", "/output", b'{"url": "file:x.wav"}'),
    ],
)
def test_a_session_that_ends_while_a_body_comes_takes_nothing_more(
    served: Served, method: str, path: str, sent: bytes
) -> None:
    with Client(served.ws) as client:
        one = f"/v1/sessions/{client.start()['session_id']}"
        line = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        with closing(line):
            line.putrequest(method, one + path)
            line.putheader("content-length", str(len(sent)))
            line.endheaders(sent[:1])
            assert ask("DELETE", served.http + one)[0] == 204
            soon(lambda: ask("GET", served.http + one)[0] == 404)
            line.send(sent[1:])
            with closing(line.getresponse()) as answer:
                assert (answer.status, json.loads(answer.read())["error"]["code"]) == (
                    404,
                    "session_not_found",
                )
