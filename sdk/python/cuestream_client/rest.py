"""What a client asks by plain HTTP: a session with a name of its own, and the addresses of one."""

from __future__ import annotations

import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.parse import SplitResult, quote, urlsplit

from cuestream_client.errors import Refused, Unreachable, Untrusted
from cuestream_client.secrets import without_secrets

ANSWER_S = 10.0
MOST_BYTES = 1024 * 1024
MOST_QUOTED = 120
"""Of what others say, characters."""
STREAM = "/v1/stream"
SCHEMES = ("ws", "wss", "http", "https")
TOKEN = re.compile(r"[!-~]([ -~]*[!-~])?")
"""What a server takes as a key."""


def invitation(
    url: str, name: str | None = None, token: str | None = None, tls: ssl.SSLContext | None = None
) -> dict[str, Any]:
    """What POST /v1/sessions answers: `client_secret`, which opens the session once, and its `urls`. Who has the key asks for it,
    and may hand it to who is to have none. name: of the session; the server draws one when it is left out. Raises Refused (409:
    it is open) or Unreachable."""
    made = ask("POST", url, "/v1/sessions", None if name is None else {"session_id": name}, token, tls)
    with suppress(KeyError, TypeError):
        if made["client_secret"]["value"] and made["urls"]:
            return made
    raise unlike(f"{base(url)}/v1/sessions", 200)


def addresses(
    url: str, name: str, token: str | None = None, tls: ssl.SSLContext | None = None
) -> dict[str, Any]:
    """Where a session of this name is heard and shown pictures, by kind. Raises Refused or Unreachable."""
    return ask("GET", url, f"/v1/sessions/{quote(name, safe='')}/urls", None, token, tls)


def fed_from(url: str, name: str, token: str | None = None) -> str | None:
    """The address that the server itself reads for a session of this name; None where it reads none, or somebody else answers.
    Raises Unreachable."""
    try:
        about = ask("GET", url, f"/v1/sessions/{quote(name, safe='')}/ingest", None, token, None)
    except Refused:
        return None
    return None if about.get("state", "ended") in ("ended", "failed", "stopped") else str(about.get("url"))


def ask(
    method: str, url: str, path: str, body: object, token: str | None, tls: ssl.SSLContext | None
) -> dict[str, Any]:
    """url: the server, as a client takes it. Returns the answer's JSON. Raises Refused or Unreachable."""
    headers = {"content-type": "application/json"} | bearing(token)
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base(url) + path, data, headers, method=method)
    opener = urllib.request.build_opener(_Redirects, urllib.request.HTTPSHandler(context=tls))
    try:
        with opener.open(request, timeout=ANSWER_S) as answer:
            status, made = answer.status, _parsed(answer.read(MOST_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            body = error.read(MOST_BYTES)
        raise refusal(str(error.url), error.code, error.reason, body, error.headers) from error
    except OSError as error:
        why = getattr(error, "reason", error)
        refused = isinstance(why, ConnectionRefusedError)
        text = "connection refused; does the server run there?" if refused else why
        kind = Untrusted if is_untrusted(why) else Unreachable
        raise kind(f"{base(url)}: {text}") from error
    except HTTPException as error:
        raise Unreachable(f"{base(url)}: what answered there speaks no HTTP") from error
    if isinstance(made, dict):
        return made
    raise unlike(request.full_url, status)


def base(url: str) -> str:
    """Of the address of a server, or of its websocket. Raises ValueError for what is none."""
    schemes = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
    parts = parted(url)
    path = parts.path.removesuffix(STREAM).rstrip("/")
    return f"{schemes[parts.scheme]}://{parts.netloc}{path}"


def parted(url: str) -> SplitResult:
    """The address of a server, or of its websocket. Raises ValueError for what is none."""
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in SCHEMES and parts.hostname and parts.port != 0 and not parts.fragment
    except ValueError:  # of a host or a port
        is_one = False
    if not is_one:
        raise ValueError(
            f"an address such as http://host:8765 was expected, found {without_secrets(repr(url))}"
        )
    return parts


def bearing(token: str | None) -> dict[str, str]:
    """The headers of who has a token. Raises ValueError for what is none, without quoting it."""
    if not token:
        return {}
    if not TOKEN.fullmatch(token):
        raise ValueError(
            "a token is ASCII, without a space at its ends or the end of a line; this one is not"
        )
    return {"Authorization": f"Bearer {token}"}


def is_untrusted(error: object) -> bool:
    """Whether TLS failed for what the other side is, and not for a line that broke."""
    broke = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
    return isinstance(error, ssl.SSLError) and not isinstance(error, broke)


def retry_s(headers: Mapping[str, str] | Message) -> float | None:
    """How long an answer asks to be left alone; None where it does not say. A date is taken by the answer's own clock where that
    is known (RFC 9110, 10.2.3)."""
    after = headers.get("Retry-After", "")
    if after.isdecimal():
        return float(after)
    until = _dated(after)
    return None if until is None else max(0.0, until - (_dated(headers.get("Date", "")) or time.time()))


def _dated(text: str) -> float | None:
    """A date of HTTP, in seconds; None for what is none."""
    try:
        return parsedate_to_datetime(text).timestamp() if text.endswith(" GMT") else None
    except ValueError:
        return None


def led_away(url: str, to: str, status: int) -> Refused | None:
    """What is said of a redirect to another scheme or host, where a key does not go."""
    if urlsplit(to)[:2] == urlsplit(url)[:2]:
        return None
    return Refused(status, f"{url} leads to {to}; name that address if it is meant, no key is taken there")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Within one place. Raises Refused."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if away := led_away(req.full_url, newurl, code):
            fp.close()
            raise away
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def refusal(url: str, status: int, reason: str, body: bytes, headers: Mapping[str, str] | Message) -> Refused:
    """Why an address refused: in the server's own words, or that somebody else's answer came in its place."""
    try:
        error = json.loads(body)["error"]
        return Refused(status, str(error["text"]), retry_s(headers), error.get("code"))
    except (ValueError, KeyError, TypeError):
        return Refused(status, _strange(url, status, reason, body), retry_s(headers))


def _strange(url: str, status: int, reason: str, body: bytes) -> str:
    """What is said of a refusal that is not a Cuestream server's. A page for people is not quoted, it repeats the status."""
    line = " ".join(body.decode("utf-8", "replace").split())
    line = line if len(line) <= MOST_QUOTED else line[:MOST_QUOTED] + "…"
    quotes = line.isprintable() and line not in ("", reason) and not line.startswith("<")
    return (
        f"{url} answered HTTP {status}{reason and f' {reason}'}, not in a Cuestream server's words; perhaps a proxy before it did"
        + (f': "{line}"' if quotes else "")
    )


def unlike(url: str, status: int) -> Refused:
    """Of an answer that says yes, and is not what was asked for: another program is there, or answers every address."""
    return Refused(status, f"{url} answered, but not as a Cuestream server does; is one there?")


def _parsed(body: bytes) -> Any:
    """None where it is no JSON."""
    try:
        return json.loads(body)
    except ValueError:
        return None
