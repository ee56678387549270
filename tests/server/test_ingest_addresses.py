"""What is not read: forged addresses, redirects, playlists that point elsewhere, names that change their mind."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import av
import pytest
from flashing import FPS, write_video
from ingest_rig import SYNTHETIC, feed, limits, redirects, says, state_of, web
from rtsp_server import rtsp
from served import Serve
from shell_client import ask

from server.ingest.address import Forbidden, connect, parse, resolve, shown_of
from server.ingest.checking import check
from server.ingest.fetching import Fetcher
from server.ingest.limits import IngestLimits
from server.ingest.sources import CONTAINERS

PUBLIC = "93.184.216.34"
FORGED = {
    "loopback": "http://127.0.0.1/x",
    "loopback's other end": "rtsp://127.255.255.254/x",
    "a name for it": "http://localhost/x",
    "ten": "rtmp://10.1.2.3/live/x",
    "hundred and seventy-two": "http://172.16.0.1/x",
    "hundred and ninety-two": "https://192.168.1.1/x",
    "carrier's": "http://100.64.0.1/x",
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "link-local": "rtsp://169.254.1.1/x",
    "multicast": "rtsp://239.1.2.3/x",
    "unspecified": "http://0.0.0.0/x",
    "broadcast": "http://255.255.255.255/x",
    "documentation": "http://192.0.2.1/x",
    "decimal": "http://2130706433/x",
    "octal": "http://0177.0.0.1/x",
    "hexadecimal": "http://0x7f000001/x",
    "hexadecimal in parts": "http://0x7f.0.0.1/x",
    "short": "http://127.1/x",
    "with a dot behind it": "http://127.0.0.1./x",
    "IPv6 loopback": "http://[::1]/x",
    "IPv6 unspecified": "http://[::]/x",
    "IPv6 local": "http://[fd00::1]/x",
    "IPv6 link-local": "http://[fe80::1]/x",
    "IPv6 site-local": "http://[fec0::1]/x",
    "IPv6 documentation": "http://[3fff::1]/x",
    "an address of a protocol": "http://192.0.0.192/x",
    "a relay of 6to4": "http://192.88.99.1/x",
    "metadata by IPv6": "http://[fd00:ec2::254]/latest/meta-data/",
    "another cloud's": "http://[fd20:ce::254]/x",
    "a third one's": "http://100.100.100.200/x",
    "a fourth one's": "http://168.63.129.16/x",
    "one of these, mapped": "http://[::ffff:192.0.0.192]/x",
    "IPv6 with a zone": "http://[fe80::1%25eth0]/x",
    "IPv6 multicast": "http://[ff02::1]/x",
    "mapped": "http://[::ffff:127.0.0.1]/x",
    "mapped in hexadecimal": "http://[::ffff:7f00:1]/x",
    "6to4": "http://[2002:7f00:1::]/x",
    "NAT64": "http://[64:ff9b::7f00:1]/x",
    "Teredo": "http://[2001:0:7f00:1::1]/x",
    "a public name before it": f"http://{PUBLIC}@127.0.0.1/x",
    "two of them": f"rtsp://a@{PUBLIC}@127.0.0.1/x",
    "a backslash": f"http://{PUBLIC}\\@127.0.0.1/x",
    "a line break": f"http://{PUBLIC}/x\r\nHost: 127.0.0.1",
    "a space": f"rtmp://{PUBLIC}/live/x tcUrl=rtmp://127.0.0.1",
    "a tab": f"http://{PUBLIC}\t/x",
    "wide dots": "http://127。0。0。1/x",
    "round digits": "http://①②⑦.0.0.1/x",
    "port 0": f"http://{PUBLIC}:0/x",
    "port 70000": f"http://{PUBLIC}:70000/x",
    "no host": "http:///x",
    "file": "file:///etc/passwd",
    "file, relative": "file:../../etc/passwd",
    "concat": f"concat:http://{PUBLIC}/x|/etc/passwd",
    "subfile": "subfile,,start,0,end,9,,:/etc/passwd",
    "data": "data:video/mp4;base64,AAAA",
    "pipe": "pipe:0",
    "crypto": f"crypto+http://{PUBLIC}/x",
    "a cache": f"cache:http://{PUBLIC}/x",
    "asynchronous": f"async:http://{PUBLIC}/x",
    "HLS by another name": f"hls+http://{PUBLIC}/x",
    "a proxy": "httpproxy://127.0.0.1/x",
    "tcp": f"tcp://{PUBLIC}:80",
    "udp": "udp://0.0.0.0:5000",
    "unix": "unix:/run/x",
    "srt over http": f"srt+http://{PUBLIC}:9000",
    "gopher": f"gopher://{PUBLIC}/x",
    "a path": "/etc/passwd",
    "nothing": "",
    "a long one": f"http://{PUBLIC}/" + "x" * 3000,
}
EVEN_PRIVATE = (
    "metadata",
    "link-local",
    "IPv6 site-local",
    "IPv6 documentation",
    "an address of a protocol",
    "a relay of 6to4",
    "metadata by IPv6",
    "another cloud's",
    "a third one's",
    "a fourth one's",
    "one of these, mapped",
    "multicast",
    "unspecified",
    "decimal",
    "octal",
    "short",
    "6to4",
    "a space",
    "file",
)


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_address_is_refused(name: str) -> None:
    with pytest.raises(Forbidden):
        check(FORGED[name], False, IngestLimits())


@pytest.mark.parametrize("name", EVEN_PRIVATE)
def test_these_are_refused_in_trusted_networks_too(name: str) -> None:
    with pytest.raises(Forbidden):
        check(FORGED[name], False, IngestLimits(private=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "[fd00::1]"])
def test_this_machine_and_private_ones_are_read_in_trusted_networks(host: str) -> None:
    check(f"http://{host}/x", False, IngestLimits(private=True))


def test_public_addresses_are_not() -> None:
    for url in (
        f"http://{PUBLIC}:8080/x?y=1",
        f"RTSP://me:secret@{PUBLIC}/x",
        "https://[2606:2800:220:1::1]/x",
    ):
        check(url, False, IngestLimits())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"rtsp://me:secret@{PUBLIC}/x", f"rtsp://{PUBLIC}/x"),
        (f"https://{PUBLIC}/live.m3u8?token=secret", f"https://{PUBLIC}/live.m3u8?…"),
        (f"rtsp://me:secret@{PUBLIC}:8554/x?auth=secret", f"rtsp://{PUBLIC}:8554/x?…"),
        (f"rtmp://{PUBLIC}/live/secret", f"rtmp://{PUBLIC}/live/…"),
        (f"rtmps://{PUBLIC}/secret?secret", f"rtmps://{PUBLIC}/…?…"),
        (f"srt://{PUBLIC}:9000?passphrase=secret-of-mine", f"srt://{PUBLIC}:9000"),
    ],
)
def test_what_is_shown_of_an_address_has_no_key(url: str, shown: str) -> None:
    assert parse(url).shown == shown_of(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "rtmp://127.0.0.1:1936/live/key",  # another port
        "rtmp://127.0.0.1:1935/key",
        "rtmp://127.0.0.1:1935/live/key?listen=0",
        "rtmp://localhost:1935/live/key",
        "http://127.0.0.1:1935/live/key",
        "file:x.mp4",
    ],
)
def test_publishers_are_not_waited_for_anywhere(url: str) -> None:
    with pytest.raises(Forbidden):
        check(url, True, IngestLimits(ports=frozenset({1935})))


def test_files_are_read_below_the_folder_alone(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    (folder / "in").mkdir(parents=True)
    for path in (tmp_path / "secret", folder / "in" / "film"):
        path.write_bytes(b"x")
    (folder / "link").symlink_to(tmp_path / "secret")
    here = IngestLimits(files=folder)
    check("file:in/film", False, here)
    for name in (
        "../secret",
        "link",
        "in",
        "",
        "/" + str(tmp_path / "secret"),
        "in/../../secret",
        "in\0/film",
        "none",
    ):
        with pytest.raises(Forbidden):
            check(f"file:{name}", False, here)
    with pytest.raises(Forbidden):
        check("file:in/film", False, IngestLimits())


def answers(*addresses: str) -> list[Any]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in addresses]


def test_a_name_with_one_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers(PUBLIC, "10.0.0.1"))
    with pytest.raises(Forbidden):
        resolve(parse("http://both.example/x"), private=False)


def test_what_was_checked_is_connected_to_and_the_name_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DNS rebinding: the second answer would be a private address."""
    later = [answers("127.0.0.1"), answers(PUBLIC)]
    asked: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: later.pop())
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: asked.append(address))
    connect(parse("http://rebinding.example/x"), False, 1.0)
    assert asked == [(PUBLIC, 80)]
    with pytest.raises(Forbidden):
        connect(parse("http://rebinding.example/x"), False, 1.0)


def refuse(error: Forbidden) -> NoReturn:
    raise error


def test_redirects_are_followed_on_the_same_host_alone() -> None:
    with web(answers={"/film": says(b"film")}) as (base, _):
        there = base.replace("127.0.0.1", "localhost")
        here = {
            "/same": redirects("/film"),
            "/other": redirects(f"{there}/film"),
            "/file": redirects("file:///etc/passwd"),
        }
        here |= {"/film": says(b"film"), "/round": redirects("/round")}
        with web(answers=here) as (first, asked):
            fetcher = Fetcher(True, 5.0, refuse)
            with closing(fetcher.open(f"{first}/same", 0, {})) as film:
                assert film.read(9) == b"film"
            for path in ("/other", "/file"):
                with pytest.raises(Forbidden):
                    fetcher.open(first + path, 0, {})
            with pytest.raises(OSError, match="302"):
                fetcher.open(f"{first}/round", 0, {})
            assert asked.count("/round") == 4


def test_an_mp4_is_read_whole_however_its_server_gives_it(tmp_path: Path) -> None:
    """Its index is at its end, and the server gives no parts; little of it comes at once, as over a slow line."""
    write_video(tmp_path / "film.mp4", 60 * FPS)
    film = (tmp_path / "film.mp4").read_bytes()
    assert film.index(b"mdat") < film.index(b"moov")
    with web(answers={"/film.mp4": says(film)}) as (base, asked):
        with (
            closing(Fetcher(True, 5.0, refuse).open(f"{base}/film.mp4", 0, {})) as body,
            av.open(InPieces(body), options={"format_whitelist": CONTAINERS}) as container,
        ):
            assert sum(1 for _ in container.decode(video=0)) == 60 * FPS
        assert asked == ["/film.mp4"]


class InPieces:
    def __init__(self, body: Any) -> None:
        self._body = body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def read(self, size: int) -> bytes:
        return bytes(self._body.read(min(size, 1000)))


def test_nothing_is_waited_for_that_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg looks at the end of what it may jump in; of a long file that would come too late, and only an mp4 needs it."""
    monkeypatch.setattr("server.ingest.fetching.MOST_KEPT", 1000)
    mp4 = b"\0\0\0\x18ftypisom"
    said = {"/short.mp4": mp4 + bytes(500), "/long.mp4": mp4 + bytes(1000), "/short.ts": bytes(500)}
    with web(answers={path: says(data) for path, data in said.items()}) as (base, _):
        for path, data in said.items():
            with closing(Fetcher(True, 5.0, refuse).open(base + path, 0, {})) as body:
                assert body.seekable() == (path == "/short.mp4")
                assert b"".join(iter(lambda body=body: body.read(100), b"")) == data


ELSEWHERE = {
    "a file": "file:///etc/passwd",
    "metadata": "http://169.254.169.254/x.ts",
    "a decimal address": "http://2130706433/x.ts",
    "another protocol": "rtmp://127.0.0.1/live/x.ts",
    "data": "data:video/mp2t;base64,AAAA.ts",
    "two files in one": "concat:/etc/hostname|/etc/passwd.ts",
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_playlist_that_points_elsewhere_is_not_followed(serve: Serve, name: str, tmp_path: Path) -> None:
    listed = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{ELSEWHERE[name]}\n#EXT-X-ENDLIST\n"
    many = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{ELSEWHERE[name]}\n"
    here = {"/x.m3u8": says(listed.encode()), "/many.m3u8": says(many.encode())}
    with serve(SYNTHETIC, ingest=limits(attempts=1)) as served, web(answers=here) as (base, _):
        for path in here:
            about = state_of(feed(served, base + path)[1], "failed")
            assert about["pictures"] == 0
            assert about["text"]


def test_a_playlist_of_public_origin_reaches_no_private_segment() -> None:
    with pytest.raises(Forbidden, match="not a public address"):
        Fetcher(False, 1.0, refuse).open("http://127.0.0.1/x.ts", 0, {})


def test_rtsp_is_not_redirected(serve: Serve) -> None:
    with rtsp() as (inner, asked), rtsp(redirect=inner) as (outer, _):
        with serve(SYNTHETIC, ingest=limits(attempts=2)) as served:
            assert state_of(feed(served, outer)[1], "failed")["pictures"] == 0
        assert asked == []


def test_a_playlist_is_no_file_to_read(serve: Serve, tmp_path: Path) -> None:
    write_video(tmp_path / "x.m3u8", FPS, "hls", hls_list_size="0", hls_playlist_type="vod")
    with serve(SYNTHETIC, ingest=limits(files=tmp_path, attempts=1)) as served:
        assert state_of(feed(served, "file:x.m3u8")[1], "failed")["pictures"] == 0


def test_who_may_and_what_is_answered(serve: Serve) -> None:
    key = "a key for tests"
    with serve(SYNTHETIC, api_key=key) as served:
        session_id = ask("POST", f"{served.http}/v1/sessions", key=key)[1]["session_id"]
        assert feed(served, f"http://{PUBLIC}/x", session_id)[0] == 401
        status, one, answer = feed(served, FORGED["metadata"], session_id, key)
        assert (status, answer["error"]["code"]) == (403, "ingest_forbidden_url")
        assert ask("GET", one, key=key)[0] == 404  # it was not opened for that
        assert ask("GET", f"{one}/ingest", key=key)[0] == 404
    with serve(SYNTHETIC) as served:
        session_id = ask("POST", f"{served.http}/v1/sessions")[1]["session_id"]
        one = f"{served.http}/v1/sessions/{session_id}/ingest"
        assert ask("POST", one, {"url": f"http://{PUBLIC}/x"}, **{"x-forwarded-for": PUBLIC})[0] == 403
        assert feed(served, "file:x", "s-unknown")[0] in (403, 404)
