"""One address for several servers: who asks it for a session gets one at the next server that has room.

    cuestream serve --port 8766 --max-sessions 96 --origin https://my.example     # each with a name or port of its own that
    cuestream serve --port 8767 --max-sessions 96 --origin https://my.example     # pages reach, and the same CUESTREAM_API_KEY
    python examples/several_servers.py http://127.0.0.1:8766 http://127.0.0.1:8767

    const client = new Client({ invite });    // as sdk/js/README.md has it, with POST /session

It hands on what POST /v1/sessions answered there. Everything else, music and pictures, goes to that server alone. It is a
sketch of a part of your backend, which knows who may ask.
"""

import argparse
import itertools
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER_S = 5.0
BUSY = (429, 503)
"""What a server answers that has no room, leaves, or was asked too often by this address."""


class Spread(ThreadingHTTPServer):
    def __init__(self, port: int, servers: Sequence[str], key: str | None) -> None:
        super().__init__(("127.0.0.1", port), Door)
        self.servers = [(at if "://" in at else f"http://{at}").rstrip("/") for at in servers]
        self.key, self._turn = key, itertools.count()

    def invite(self, visitor: str) -> tuple[int, bytes]:
        """Status and body of the first server that does not say that it is busy; each asking begins with another one."""
        first = next(self._turn)
        answer = 503, b'{"error": {"code": "capacity", "text": "no server answers"}}'
        for at in range(len(self.servers)):
            try:
                return self._ask(self.servers[(first + at) % len(self.servers)], visitor)
            except urllib.error.HTTPError as error:
                with error:
                    answer = error.code, error.read()
                if error.code not in BUSY:
                    break
            except OSError:
                continue  # it is started again, or gone: the others have its share
        return answer

    def _ask(self, server: str, visitor: str) -> tuple[int, bytes]:
        headers = {"x-forwarded-for": visitor}  # each visitor has the limits of an address
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(f"{server}/v1/sessions", b"{}", headers, method="POST")
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            return answer.status, answer.read()


class Door(BaseHTTPRequestHandler):
    server: Spread

    def do_POST(self) -> None:
        if self.path != "/session":
            return self.send_error(404)
        status, body = self.server.invite(self.client_address[0])
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if status in BUSY:
            self.send_header("retry-after", "2")
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "servers",
        nargs="+",
        help="HOST:PORT or http://HOST:PORT, as pages reach it; their key is CUESTREAM_API_KEY",
    )
    parser.add_argument("--port", type=int, default=8000)
    asked = parser.parse_args()
    try:
        spread = Spread(asked.port, asked.servers, os.environ.get("CUESTREAM_API_KEY"))
    except OSError as error:
        sys.exit(f"port {asked.port} cannot be listened to: {error.strerror}")
    with spread, suppress(KeyboardInterrupt):
        print(f"POST http://127.0.0.1:{spread.server_port}/session", flush=True)
        spread.serve_forever()


if __name__ == "__main__":
    main()
