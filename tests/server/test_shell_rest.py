"""REST, endless sound, metrics and the page, over loopback."""

from __future__ import annotations

import asyncio
import gzip
import io
import re
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import av
import pytest
from served import Serve, Served
from shell_client import Client, ask
from starlette.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from cuestream.players import find_player
from engine.errors import CuestreamError
from server.access.forwarded import Forwarded
from server.access.origins import Guard, origin_of
from server.app import make_app
from server.http.serving import OWN_PROXIES, check_address, make_server
from server.metrics import Metrics, Page
from server.settings import Settings

KEY = "a key for tests"


def test_a_session_is_made_opened_looked_at_changed_and_ended(served: Served) -> None:
    status, made = ask("POST", f"{served.http}/v1/sessions")
    assert status == 201
    assert made["protocol"] == "cuestream.v1"
    assert made["limits"]["resume_window_s"] == made["resume_window_s"] == 3
    one = f"{served.http}/v1/sessions/{made['session_id']}"
    assert ask("GET", one)[0] == 404  # nobody has opened it yet
    with Client(made["urls"]["ws"], made["client_secret"]["value"]) as client:
        assert client.start()["session_id"] == made["session_id"]
        status, shown = ask("PATCH", one, {"config": {"gain_db": -3}, "playback": "play"})
        assert (status, shown["config"]["gain_db"], shown["playback"]) == (200, -3.0, "playing")
        assert client.until("session.updated")["revision"] == 1
        client.play()
        assert ask("GET", one)[1]["health"] in ("on_time", "degraded", "concealing")
        assert ask("DELETE", one)[0] == 204
        assert client.until("session.ended")["reason"] == "asked"
        assert client.closed() == 1000
    assert ask("GET", one)[0] == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff", 400),
        ({"config": {"gain_db": 99}}, 400),
        ({"playback": "dance"}, 400),
        ({"config": {"guidance": 1}}, 409),
        (b" " * 70_000, 413),
    ],
)
def test_a_change_that_cannot_be(served: Served, body: object, status: int) -> None:
    with Client(served.ws) as client:
        one = f"{served.http}/v1/sessions/{client.start()['session_id']}"
        answered, answer = ask("PATCH", one, body)
        assert answered == status
        assert answer["error"]["text"]


def test_a_start_that_is_refused_leaves_its_secret_as_it_was(serve: Serve) -> None:
    with serve(max_sessions=1) as served:
        made = ask("POST", f"{served.http}/v1/sessions")[1]
        secret = made["client_secret"]["value"]
        with Client(served.ws, secret) as client:
            client.send("session.start", protocol_minor=0, config={"short_term_s": 3600})
            assert client.until("error")["code"] == "bad_request"
        with Client(served.ws, secret) as client:
            assert client.start()["session_id"] == made["session_id"]


def test_a_session_that_is_not_opened_keeps_its_place_from_others_until_it_is_not_wanted(
    serve: Serve,
) -> None:
    with serve(max_sessions=1) as served:
        for _ in range(2):
            status, made = ask("POST", f"{served.http}/v1/sessions", {"session_id": "show"})
            assert status == 201
        assert ask("POST", f"{served.http}/v1/sessions")[0] == 503
        for status in (204, 404):
            assert ask("DELETE", f"{served.http}/v1/sessions/{made['session_id']}")[0] == status
        assert ask("POST", f"{served.http}/v1/sessions")[0] == 201


def test_a_client_that_leaves_within_its_body_is_no_fault_of_ours(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as line:
        line.sendall(b"POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{")
        ask("GET", f"{served.http}/healthz")
    ask("GET", f"{served.http}/healthz")
    assert not caplog.records


def test_a_key_is_asked_for_everywhere_but_where_health_is_told(serve: Serve) -> None:
    with serve(api_key=KEY) as served:
        for method, path in (("POST", "/v1/sessions"), ("GET", "/v1/sessions/s-x")):
            for key, said in (("", "asks for its key"), ("wrong", "is not this server's key")):
                status, refused = ask(method, served.http + path, key=key)
                assert (status, said in refused["error"]["text"]) == (401, True), refused
        made = ask("POST", f"{served.http}/v1/sessions", key=KEY)[1]
        with Client(served.ws, made["client_secret"]["value"]) as client:
            client.start()
            wav: str = made["urls"]["audio"]["wav"]
            assert ask("GET", wav.partition("?")[0])[0] == 401
            with urllib.request.urlopen(wav, timeout=10) as sound:
                assert sound.read(4) == b"RIFF"
        assert ask("GET", f"{served.http}/healthz") == (200, {"status": "ok"})
        assert ask("GET", f"{served.http}/v1/version")[1]["asks_for_a_key"]


@pytest.mark.parametrize(
    ("ending", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("ogg", "opus"), ("mp3", "mp3")]
)
def test_endless_sound_can_be_decoded_while_it_goes_on(served: Served, ending: str, codec: str) -> None:
    with Client(served.ws) as client:
        session_id = client.start()["session_id"]
        client.play()
        address = f"{served.http}/v1/sessions/{session_id}/audio.{ending}"
        with urllib.request.urlopen(address, timeout=10) as sound:
            data = b""
            while len(data) < (200_000 if ending == "wav" else 9_000):
                data += sound.read1(65536)
                client.hear(client.at + 960)
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.codec.name.startswith(codec)
        assert (stream.rate, stream.layout.nb_channels) == (48_000, 2)
        assert next(container.decode(stream)).samples > 0


def test_endless_sound_is_silence_while_nothing_plays_and_ends_with_the_session(served: Served) -> None:
    with Client(served.ws) as client:
        session_id = client.start()["session_id"]
        with urllib.request.urlopen(f"{served.http}/v1/sessions/{session_id}/audio.wav", timeout=10) as sound:
            assert not any(sound.read(44 + 9600)[44:])
            client.send("session.end")
            assert client.closed() == 1000
            sound.read()


def test_a_client_that_closes_normally_has_left_for_good(served: Served) -> None:
    with Client(served.ws) as client:
        session_id = client.start()["session_id"]
        client.play()
        sound = urllib.request.urlopen(f"{served.http}/v1/sessions/{session_id}/audio.wav", timeout=10)
    with sound:
        sound.read()  # it ends
    assert ask("GET", f"{served.http}/v1/sessions/{session_id}")[0] == 404


def test_metrics_count(serve: Serve) -> None:
    with serve() as served:
        with Client(served.ws) as client:
            client.start()
            client.play()
            client.ws.send("{")
            client.until("error")
            shown = _metrics(served)
            assert shown['cuestream_sessions{state="playing"}'] == 1
            client.send("session.end", fade_ms=0)
            assert client.closed() == 1000
            heard = client.at
        shown = _metrics(served)
        assert shown["cuestream_sessions_opened_total"] == 1
        assert shown['cuestream_inbound_frames_total{result="taken"}'] == 1
        assert shown['cuestream_inbound_frames_total{result="shown"}'] == 1
        assert shown['cuestream_protocol_errors_total{code="invalid_json"}'] == 1
        assert 0 < shown["cuestream_audio_sent_samples_total"] <= heard
        assert shown["cuestream_placed_samples_total"] > 0
        assert shown['cuestream_sessions{state="playing"}'] == 0


def test_who_asks_too_often_is_given_metrics_of_a_moment_ago() -> None:
    """A hundred times a second for a minute: the page is made ten times a second, and is new for who asks afterwards."""
    now_s, made = [0.0], []
    metrics = Metrics()
    page = Page(metrics, lambda: made.append(now_s[0]), lambda: now_s[0])
    for _ in range(6000):
        now_s[0] += 0.01
        assert page.text().startswith(b"# HELP")
    assert len(made) == pytest.approx(600, abs=20)
    now_s[0] += 1.0
    metrics.opened.inc()
    assert b"cuestream_sessions_opened_total 1.0" in page.text()


def test_descriptions_are_written_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """To describe the websocket takes 20 ms of the loop."""
    paths = ("/openapi.json", "/asyncapi.json")
    before = [ask("GET", served.http + path)[1] for path in paths]
    monkeypatch.setattr("msgspec.json.schema_components", None)
    assert [ask("GET", served.http + path)[1] for path in paths] == before


def _metrics(served: Served) -> dict[str, float]:
    lines = ask("GET", f"{served.http}/metrics")[1].splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


def test_the_pages_and_everything_they_name_are_here(served: Served) -> None:
    named, asked = set[str](), set[str]()
    for address in ("/", "/obs", "/control"):
        status, page = ask("GET", served.http + address)
        assert status == 200
        assert "http" not in page.replace("http-equiv", "")  # nothing from elsewhere
        named |= set(re.findall(r"static/([\w.]+)", page))
    while waiting := named - asked:
        asked |= waiting
        for name in waiting:
            status, text = ask("GET", f"{served.http}/static/{name}")
            assert status == 200
            named |= set(re.findall(r"""from "\./([\w.]+)";""", str(text)))
    assert asked | {"index.html", "obs.html", "control.html"} == {
        path.name for path in (Path(__file__).parents[2] / "server" / "static").iterdir()
    }
    for address in ("/", "/obs", "/control", "/static/app.js"):
        with urllib.request.urlopen(served.http + address, timeout=10) as answer:
            assert answer.headers["cache-control"] == "no-cache"  # of an older version nothing is shown


@pytest.mark.parametrize("address", ["/", "/obs", "/control", "/static/app.js"])
def test_a_page_travels_compressed_and_is_not_sent_again_while_it_is_the_same(
    served: Served, address: str
) -> None:
    with urllib.request.urlopen(served.http + address, timeout=10) as answer:
        plain, etag = answer.read(), answer.headers["etag"]
    packed = urllib.request.Request(served.http + address, headers={"accept-encoding": "gzip"})
    with urllib.request.urlopen(packed, timeout=10) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(answer.read()) == plain
    again = urllib.request.Request(served.http + address, headers={"if-none-match": etag})
    with pytest.raises(urllib.error.HTTPError) as found:
        urllib.request.urlopen(again, timeout=10)
    with found.value as answer:
        assert (answer.code, answer.headers["cache-control"]) == (304, "no-cache")


def test_the_pages_are_in_no_frame_load_nothing_from_elsewhere_and_tell_nobody_where_they_are(
    served: Served,
) -> None:
    for address in ("/", "/obs", "/control"):
        with urllib.request.urlopen(served.http + address, timeout=10) as answer:
            policy = answer.headers["content-security-policy"].split("; ")
            assert {"default-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"} <= set(policy)
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "set-cookie" not in answer.headers


def test_openapi_describes_the_routes(served: Served) -> None:
    described = ask("GET", f"{served.http}/openapi.json")[1]
    assert {"/v1/sessions", "/v1/sessions/{session_id}", "/readyz", "/metrics"} <= described["paths"].keys()
    assert "gain_db" in described["components"]["schemas"]["ConfigPatch"]["properties"]


def test_a_local_server_answers_to_its_own_names_only(served: Served) -> None:
    assert ask("GET", f"{served.http}/v1/version", host="elsewhere.example")[0] == 403
    assert ask("POST", f"{served.http}/v1/sessions", origin="http://elsewhere.example")[0] == 403
    assert ask("POST", f"{served.http}/v1/sessions", origin=served.http)[0] == 201


@pytest.mark.parametrize("called", ["music.example", "Music.Example:8443"])
def test_a_proxy_calls_it_by_one_of_its_names(serve: Serve, called: str) -> None:
    with serve(names=("Music.example",), api_key="k") as served:
        made = f"{served.http}/v1/sessions"
        assert ask("GET", f"{served.http}/healthz", host=called)[0] == 200
        assert ask("POST", made, key="k", host=called, origin=f"https://{called}")[0] == 201
        assert (
            ask("POST", made, key="k", origin="https://music.example")[0] == 201
        )  # it calls us by our own name
        assert ask("GET", f"{served.http}/healthz")[0] == 200
        for headers in ({"host": "other.example"}, {"host": called, "origin": "https://other.example"}):
            assert ask("POST", made, key="k", **headers)[0] == 403
        urls = ask("GET", f"{made}/show/urls", key="k", host=called, **{"x-forwarded-proto": "https"})[1]
        assert urls["ws"] == f"wss://{called}/v1/stream"


def test_a_name_that_is_not_ours_is_told(served: Served) -> None:
    status, text = ask("GET", f"{served.http}/v1/version", host="music.example")
    assert (status, "music.example" in str(text), "--name" in str(text)) == (403, True, True)
    for probe in ("healthz", "readyz"):
        assert ask("GET", f"{served.http}/{probe}", host="10.1.2.3")[0] == 200


def test_a_name_is_the_same_however_it_is_written(serve: Serve) -> None:
    with serve(
        names=("Music.Example.", "2001:0db8::1", "[2001:db8::2]", "xn--msik_0ra"), api_key="k"
    ) as served:
        numbers = ("[2001:db8::1]", "[2001:DB8:0::1]:80", "[2001:db8::2]:80")
        for called in ("music.example.", "MUSIC.example:8443", "XN--msik_0ra", *numbers):
            for headers in ({"host": called}, {"origin": f"https://{called}"}):
                assert ask("GET", f"{served.http}/v1/version", **headers)[0] == 200, called


def test_the_address_that_is_listened_at_is_a_name() -> None:
    guard = Guard(lambda *_: None, local=False, names=("music.example",), at="192.0.2.2")  # type: ignore[arg-type, return-value]
    for called, answered in (
        ("192.0.2.2:80", True),
        ("music.example", True),
        ("192.0.2.3", False),
        ("", False),
    ):
        assert (guard._why_not(Headers({"host": called}), "/") is None) == answered, called


def test_a_proxy_elsewhere_is_believed_when_it_is_named() -> None:
    with pytest.raises(ValueError, match=r"--proxy takes an address or a network, not proxy\.example"):
        Settings(proxies=("proxy.example",))
    app = make_app(find_player("synthetic"), Settings(proxies=("172.18.0.0/16", "2001:db8::1")))
    believes = make_server(app, "127.0.0.1", 0, 0.0, lambda _: None).config.app.trusted_hosts
    asked_by = ("127.0.0.1", "::1", "172.18.3.4", "2001:db8::1", "172.19.0.1", "2001:db8::2")
    assert [address in believes for address in asked_by] == [True] * 4 + [False] * 2


@pytest.mark.parametrize(
    ("said", "scheme"),
    [
        ("https, http", "wss"),
        ("HTTPS", "wss"),
        ("wss,http", "wss"),
        ("http, https", "ws"),
        ("gopher, https", "ws"),
    ],
)
def test_of_a_chain_of_proxies_the_first_says_how_it_was_asked(
    served: Served, said: str, scheme: str
) -> None:
    asked = ask(
        "GET", f"{served.http}/v1/sessions/show/urls", host="localhost", **{"x-forwarded-proto": said}
    )
    assert asked[1]["ws"] == f"{scheme}://localhost/v1/stream"


def test_what_a_stranger_says_of_another_scheme_is_not_believed() -> None:
    said = [(b"x-forwarded-proto", b"https"), (b"x-forwarded-proto", b"http")]
    for client, scheme in (("127.0.0.1", "wss"), ("192.0.2.7", "ws")):
        scope = {"type": "websocket", "scheme": "ws", "client": (client, 1), "headers": list(said)}
        seen: list[str] = []

        async def note(scope: Any, *_: Any, seen: list[str] = seen) -> None:
            seen.append(scope["scheme"])

        asyncio.run(Forwarded(note, OWN_PROXIES)(scope, None, None))  # type: ignore[arg-type]
        assert seen == [scheme]


@pytest.mark.parametrize(
    "odd", ["localhost:", "localhost:99999", "who@localhost", "localhost/x", "local host"]
)
def test_a_host_that_is_none_is_refused_and_never_answered_with_another(served: Served, odd: str) -> None:
    status, text = ask("GET", f"{served.http}/v1/sessions/show/urls", host=odd)
    assert (status, text) == (400, {"error": {"code": "bad_request", "text": "that is no address"}})
    assert ask("GET", f"{served.http}/healthz", host=odd)[0] == 200


def test_a_websocket_that_is_refused_is_no_error_of_ours(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidStatus), connect(served.ws, origin=Origin("http://elsewhere.example")):
        pass
    assert ask("GET", f"{served.http}/healthz")[0] == 200
    assert not caplog.records


def test_pages_of_a_site_that_is_named_may_ask(serve: Serve) -> None:
    """As a browser does it: it asks first, and gives a page what it was told to."""
    page, other = "http://localhost:5173", "http://localhost:5174"
    with serve(origins=(f"{page}/",), api_key="k") as served:
        made = f"{served.http}/v1/sessions"
        wanted = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        for origin, allowed in ((page, page), (other, None)):
            request = urllib.request.Request(made, headers=wanted | {"origin": origin}, method="OPTIONS")
            assert allowed_of(request) == allowed
            request = urllib.request.Request(made, headers={"origin": origin}, method="POST")
            assert allowed_of(request) == allowed  # 401: it has no key, and is told so
        status, answer = ask("POST", made, key="k", origin=page)
        assert status == 201
        with Client(served.ws, answer["client_secret"]["value"], origin=page) as client:
            client.start()
        with pytest.raises(InvalidStatus), connect(served.ws, origin=Origin(other)):
            pass


def allowed_of(request: urllib.request.Request) -> str | None:
    """The site that a browser would give the answer to."""
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.headers["access-control-allow-origin"]
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.headers["access-control-allow-origin"]


def test_another_site_is_told_how_it_may_ask_and_gets_nothing(served: Served) -> None:
    status, answer = ask("GET", f"{served.http}/v1/version", origin="https://game.example")
    assert (status, "--origin" in answer["error"]["text"]) == (403, True)
    assert ask("GET", f"{served.http}/v1/version", origin="null")[0] == 403


@pytest.mark.parametrize(
    ("site", "origin"),
    [
        ("https://Game.example:443/", "https://game.example"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://[2001:0DB8::1]:80", "http://[2001:db8::1]"),
        ("tauri://localhost", "tauri://localhost"),
    ],
)
def test_a_site_is_the_same_however_it_is_written(site: str, origin: str) -> None:
    assert origin_of(site) == origin


@pytest.mark.parametrize(
    "site", ["*", "null", "game.example", "https://*.example", "https://a/b", "https://a@b", "https://ä"]
)
def test_what_is_no_site_is_not_begun_with(site: str) -> None:
    with pytest.raises(ValueError, match="--origin takes a site"):
        Settings(origins=(site,))


def test_a_key_that_nobody_asked_for(served: Served) -> None:
    status, answer = ask("POST", f"{served.http}/v1/sessions", key="another server's")
    assert (status, "asks for no key" in answer["error"]["text"]) == (401, True)
    with Client(served.ws, "another-servers") as client:
        client.send("session.start", protocol_minor=0)
        assert "asks for no key" in client.until("error")["text"]


@pytest.mark.parametrize(
    ("body", "unknown"),
    [
        ({"confg": {}}, "confg"),
        ({"config": {"gain": 1}}, "config.gain"),
        ({"config": {"duck": {"deep": 1}}}, "config.duck.deep"),
    ],
)
def test_a_word_that_nobody_knows_is_refused(served: Served, body: dict[str, Any], unknown: str) -> None:
    made = f"{served.http}/v1/sessions"
    status, answer = ask("POST", made, {"sessionid": "mine"})
    assert (status, answer["error"]["text"]) == (400, "unknown: sessionid")
    with Client(served.ws) as client:
        one = f"{made}/{client.start()['session_id']}"
        status, answer = ask("PATCH", one, body)
        assert (status, answer["error"]["text"]) == (400, f"unknown: {unknown}")
        assert ask("PATCH", one, {"config": {"gain_db": 1}})[0] == 200


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": " "},
        {"api_key": ""},
        {"api_key": "k\u00e9y"},
        {"api_key": "ends "},
        {"api_key": "two\nlines"},
        {"names": ("https://music.example",)},
        {"names": ("music.example:443",)},
        *(
            {"names": (odd,)}
            for odd in (
                "",
                ".",
                "*",
                "*.example",
                "a..b",
                "music.example/x",
                "[::1]:80",
                "m\u00fcsik.example",
            )
        ),
        {"push_hosts": ("rtmp://host",)},
    ],
)
def test_what_can_never_work_is_refused_at_the_start(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a header carries nothing else|in signs of ASCII, without scheme"):
        Settings(**settings)
    Settings(api_key="k-%1", names=("music.example", "192.0.2.1"), push_hosts=("*", "::1", "live.example"))


@pytest.mark.parametrize(
    ("host", "key", "insecure", "names"),
    [
        ("0.0.0.0", None, False, ()),
        ("192.0.2.1", "", False, ()),
        ("127.0.0.1", None, False, ("music.example",)),
    ],
)
def test_an_open_address_needs_a_key(
    host: str, key: str | None, insecure: bool, names: tuple[str, ...]
) -> None:
    with pytest.raises(CuestreamError, match="--api-key"):
        check_address(host, key, insecure, names)


@pytest.mark.parametrize(
    ("host", "key", "insecure"),
    [
        ("127.0.0.1", None, False),
        ("::1", None, False),
        ("localhost", None, False),
        ("0.0.0.0", "k", False),
        ("0.0.0.0", None, True),
    ],
)
def test_addresses_that_may_be_listened_on(host: str, key: str | None, insecure: bool) -> None:
    check_address(host, key, insecure)
