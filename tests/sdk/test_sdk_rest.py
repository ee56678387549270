"""What the client asks by plain HTTP."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cuestream_client import Refused, Unreachable, rest


class Door(ThreadingHTTPServer):
    """leads: where a path leads; any other is answered with what was asked for. made: what a POST is answered with, as by who has
    no such address when left out. tokens: that were seen."""

    def __init__(self, leads: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.leads, self.tokens = leads, list[str | None]()
        self.made: bytes | None = None
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Door

    def do_POST(self) -> None:
        if (made := self.server.made) is None:
            self.send_error(404, "Not Found", "a page")
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(made)))
        self.end_headers()
        self.wfile.write(made)

    def do_GET(self) -> None:
        self.server.tokens.append(self.headers.get("Authorization"))
        body = b"" if self.path in self.server.leads else json.dumps({"asked": self.path}).encode()
        self.send_response(200 if body else 302)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", self.server.leads.get(self.path, ""))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def door(leads: dict[str, str] | None = None) -> Iterator[Door]:
    with Door(leads or {}) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_the_key_is_not_taken_to_another_place() -> None:
    with door() as other, door({"/v1/sessions/show/urls": f"{other.url}/elsewhere"}) as first:
        with pytest.raises(Refused, match=f"leads to {other.url}"):
            rest.addresses(first.url, "show", "secret")
        assert (first.tokens, other.tokens) == (["Bearer secret"], [])


def test_a_redirect_within_the_place_is_followed() -> None:
    with door({"/v1/sessions/show/urls": "/here"}) as first:
        assert rest.addresses(first.url, "show", "secret") == {"asked": "/here"}


def test_who_refuses_and_is_no_server_of_ours_is_named_by_its_address() -> None:
    words = "answered HTTP 404 Not Found, not in a Cuestream server's words; perhaps a proxy before it did$"
    with door() as first, pytest.raises(Refused, match=f"{first.url}/v1/sessions {words}"):
        rest.invitation(first.url, "show")


@pytest.mark.parametrize(
    ("body", "quoted"),
    [
        (b"", ""),
        (b"Bad Gateway\n", ""),
        (b"\n<html>\n<h1>502 Bad Gateway</h1>", ""),
        (b"\x1f\x8b\x08", ""),
        (b"no healthy\nupstream\n", ': "no healthy upstream"'),
        (b'{"error": "x"}', ': "{"error": "x"}"'),
        (b"a" * 500, f': "{"a" * 120}…"'),
    ],
)
def test_what_a_proxy_says_is_quoted_where_that_helps(body: bytes, quoted: str) -> None:
    words = "http://here answered HTTP 502 Bad Gateway, not in a Cuestream server's words; perhaps a proxy before it did"
    said = rest.refusal("http://here", 502, "Bad Gateway", body, {})
    assert (said.text, said.word) == (words + quoted, None)


def test_a_server_is_heard_in_its_own_words() -> None:
    body = json.dumps({"error": {"code": "session_not_found", "text": "no such session here"}}).encode()
    said = rest.refusal("http://here", 404, "Not Found", body, {})
    assert (said.text, said.word) == ("no such session here", "session_not_found")


@pytest.mark.parametrize("body", [b"<!doctype html>", b"null", b"{}"])
def test_an_answer_that_makes_no_session_is_said(body: bytes) -> None:
    with door() as first:
        first.made = body
        with pytest.raises(Refused, match=r"/v1/sessions answered, but not as a Cuestream server does"):
            rest.invitation(first.url, "show")


def test_what_speaks_no_http_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet() -> None:
            line, _ = other.accept()
            with line:
                line.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                line.recv(4096)

        thread = threading.Thread(target=greet)
        thread.start()
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(Unreachable, match=f"{url}: what answered there speaks no HTTP"):
            rest.invitation(url, "show")
        thread.join()


def test_digits_and_dates_say_when_to_come_again() -> None:
    nonsense = ("²", "soon", "soon GMT", "99999999999999999999 GMT", "31 Dec 2999", "")
    assert rest.retry_s({"Retry-After": "5"}) == 5.0
    assert [rest.retry_s({"Retry-After": after}) for after in nonsense] == [None] * len(nonsense)
    for until in ("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT"):
        assert rest.retry_s({"Retry-After": until, "Date": "Sun, 06 Nov 1994 08:49:07 GMT"}) == 30.0
        assert rest.retry_s({"Retry-After": until}) == 0.0  # it is over
    assert 55 < (rest.retry_s({"Retry-After": formatdate(time.time() + 60, usegmt=True)}) or 0) <= 60


def test_who_is_no_cuestream_server_feeds_nobody() -> None:
    with door() as server:
        assert rest.fed_from(server.url, "show") is None


def test_where_nobody_listens_the_server_is_asked_after() -> None:
    with pytest.raises(
        Unreachable, match=r"^http://127\.0\.0\.1:9: connection refused; does the server run there"
    ):
        rest.addresses("http://127.0.0.1:9", "show")
