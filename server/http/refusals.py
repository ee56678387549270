"""Answers that are errors: under /v1 all of them are `{"error": {code, text}}` with a code of `docs/protocol.md`."""

from __future__ import annotations

from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Match, Route
from starlette.types import ExceptionHandler

from server.access.admission import TooOften
from server.protocol.errors import API, error_body

CODES = {
    "not_found": "no such address, recording, peer, output or ingest here",
    "method_not_allowed": "this address does not take this method; `Allow` names those it takes",
    "range_beyond": "the file ends before the requested range; `Content-Range` says where",
    "recording_running": "the recording is still being written",
    "output_off": "this server was started without what this output needs",
    "output_refused": "an output runs already, or as many as may, or its name is taken",
    "output_forbidden": "this server does not push to that host",
    "webrtc_off": "WebRTC is not installed",
}
"""Codes of REST alone, beside those of the protocol."""
UNKNOWN = {404: ("not_found", "no such address here"), 405: ("method_not_allowed", "not by this method")}
"""What the router says of a request that no route takes."""


class Problem(Struct, frozen=True):
    """code: of the protocol, or of `CODES`."""

    code: str
    text: str


class Refusal(Struct, frozen=True):
    """The body of every error."""

    error: Problem


class Refused(Exception):
    """An answer that is an error. told: its headers, besides those that its status asks for."""

    def __init__(
        self,
        status: int,
        code: str,
        text: str,
        retry_s: float | None = None,
        told: dict[str, str] | None = None,
    ) -> None:
        self.status, self.code, self.text, self.retry_s, self.told = status, code, text, retry_s, told or {}


async def refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    headers = error.told | ({"retry-after": str(max(1, round(error.retry_s)))} if error.retry_s else {})
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(error_body(error.code, error.text), error.status, headers)


async def too_often(request: Request, error: Exception) -> Response:
    assert isinstance(error, TooOften)
    return await refused(request, Refused(429, "quota_exceeded", str(error), error.retry_s))


async def unknown(request: Request, error: Exception) -> Response:
    """An address that is none, or that is not asked for so."""
    assert isinstance(error, HTTPException)
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 405:
        headers["allow"] = ", ".join(sorted(_methods(request)))
    if request.url.path.startswith(API) and error.status_code in UNKNOWN:
        return JSONResponse(error_body(*UNKNOWN[error.status_code]), error.status_code, headers)
    return PlainTextResponse(f"{error.detail}\n", error.status_code, headers)


async def broke(request: Request, error: Exception) -> Response:
    """Our mistake; the log has it."""
    return JSONResponse(error_body("internal", "something went wrong here"), 500)


HANDLERS: dict[int | type[Exception], ExceptionHandler] = {
    Refused: refused,
    TooOften: too_often,
    HTTPException: unknown,
    Exception: broke,
}


def _methods(request: Request) -> set[str]:
    """Of all routes of this address; each method has a route of its own."""
    found: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return found
