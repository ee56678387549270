"""What the client asks by plain HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cuestream_client import Refused, rest


class Door(ThreadingHTTPServer):
    """leads: where a path leads; any other is answered with what was asked for. tokens: that were seen."""

    def __init__(self, leads: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.leads, self.tokens = leads, list[str | None]()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Door

    def do_POST(self) -> None:
        """As who has no such address."""
        self.send_error(404, "Not Found", "a page")

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
    with door() as first, pytest.raises(Refused, match=f"{first.url}/v1/sessions answered HTTP 404: "):
        rest.create(first.url, "show")
