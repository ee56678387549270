"""Playlists, segments and films over HTTP for FFmpeg, which opens nothing by itself: `Fetcher.open` is its hook.

Each request resolves, checks and connects by `address`. A redirect is followed to the same host alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, NoReturn
from urllib.parse import urljoin

from server.ingest.address import Forbidden, Place, connect, parse
from server.ingest.decrypting import Decrypted

MOST_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HTTP = frozenset({"http", "https"})
AGENT = "cuestream"
ENCRYPTED = "crypto+"
"""Before the address of a segment of HLS with AES-128."""
MOST_KEPT = 16 * 1024**2
"""Bytes of a file whose server gives no parts of it: what comes in `connect_s` at 13 Mbit/s."""
PIECE = 32 * 1024
MP4 = b"ftyp"
"""From byte 4 on (ISO/IEC 14496-12, 4.3)."""


class Fetcher:
    """refuse: what is done when an address is forbidden; it does not come back, since FFmpeg would only go on to the next one."""

    def __init__(self, private: bool, timeout_s: float, refuse: Callable[[Forbidden], NoReturn]) -> None:
        self._private, self._timeout_s, self._refuse = private, timeout_s, refuse

    def open(self, url: str, flags: int, options: dict[str, Any]) -> Body | Kept | Decrypted:
        """As FFmpeg asks for it; what is encrypted it asks for with the key, which it asked for before."""
        plain = url.removeprefix(ENCRYPTED)
        body = Body(partial(self._get_or_refuse, plain))
        if plain == url:
            short = body.length is not None and body.length <= MOST_KEPT
            return Kept(body) if short and not body.seekable() else body
        if int(options.get("offset") or 0):
            raise OSError("encrypted parts of files are not read")
        return Decrypted(body, bytes.fromhex(options["key"]), bytes.fromhex(options["iv"]))

    def _get_or_refuse(self, url: str, first: int) -> HTTPResponse:
        try:
            return self.get(url, first)
        except Forbidden as error:
            self._refuse(error)

    def get(self, url: str, first: int = 0) -> HTTPResponse:
        """The answer, from this byte on. Raises Forbidden, OSError."""
        place = _parse(url)
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._ask(place, first)
            if answer.status not in REDIRECTS:
                break
            answer.close()
            target = _parse(urljoin(place.address, answer.headers.get("location", "")))
            if target.host != place.host:
                raise Forbidden("a redirect to another host is not followed")
            place = target
        if answer.status not in (200, 206) or (first and answer.status != 206):
            answer.close()
            raise OSError(f"the server answered {answer.status} {answer.reason}"[:200])
        return answer

    def _ask(self, place: Place, first: int) -> HTTPResponse:
        connection = HTTPConnection(place.host, place.port)
        connection.sock = connect(place, self._private, self._timeout_s)
        headers = {"Host": place.origin.partition("://")[2], "User-Agent": AGENT, "Connection": "close"}
        if first:
            headers["Range"] = f"bytes={first}-"
        try:
            connection.request("GET", place.path, headers=headers)
            return connection.getresponse()
        except HTTPException as error:
            connection.close()
            raise OSError(f"this is no HTTP: {type(error).__name__}") from None


def _parse(url: str) -> Place:
    place = parse(url)
    if place.scheme not in HTTP:
        raise Forbidden(f"what comes by HTTP may point to HTTP alone, not to {place.scheme}")
    return place


class Body:
    """A file that is read over HTTP; asked for anew where FFmpeg jumps. get: the answer from a byte on. length: None: unknown."""

    def __init__(self, get: Callable[[int], HTTPResponse]) -> None:
        self._get, self._at = get, 0
        self._answer = get(0)
        self.length = self._answer.length
        self._jumps = self._answer.headers.get("accept-ranges") == "bytes" and self.length is not None

    def read(self, size: int) -> bytes:
        try:
            data = self._answer.read1(size)
        except HTTPException as error:
            raise OSError(f"the answer broke off: {type(error).__name__}") from None
        self._at += len(data)
        return data

    def seekable(self) -> bool:
        return self._jumps

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._at, self.length or 0)[whence]
        if base + offset != self._at:
            self.close()
            self._answer, self._at = self._get(base + offset), base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._answer.close()


class Kept:
    """A short file whose server gives no parts of it: what came is kept, so that FFmpeg may jump in an mp4, whose index may be at
    its end. Of other forms it would only look how long they are, and wait for that until they are here."""

    def __init__(self, body: Body) -> None:
        self._body, self._came, self._at = body, bytearray(), 0

    def read(self, size: int) -> bytes:
        self._wait(self._at + 1)
        data = bytes(self._came[self._at : self._at + size])
        self._at += len(data)
        return data

    def _wait(self, until: int) -> None:
        """Until so many bytes came, or all."""
        while len(self._came) < until and (data := self._body.read(PIECE)):
            self._came += data

    def seekable(self) -> bool:
        self._wait(8)
        return self._came[4:8] == MP4

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = (0, self._at, self._body.length or 0)[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._body.close()
