"""REST of outputs: begin one of a session, look at it, end it. The key is asked for, where there is one."""

from __future__ import annotations

import asyncio

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from server.core.errors import SessionError
from server.http.endless import MOST_LISTENERS
from server.http.refusals import Refused
from server.http.rest import answer, body, check_key, find, host_of
from server.output.outputs import STOP_SPARE_S, Output
from server.output.targets import What

STATUS = {"bad_request": 400, "output_forbidden": 403}


class Push(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /v1/sessions/{id}/output. delay_ms: how long pictures and their sound wait; left out, until music knows them.

    original_gain_db: of the sound that comes with the pictures; -60 leaves it out.
    """

    url: str
    what: What = "music"
    delay_ms: int | None = None
    original_gain_db: float | None = None


async def begin(request: Request) -> Response:
    """It is answered at once; whether the target is there is seen by looking."""
    check_key(request)
    wanted = await body(request, Push)
    hosted = find(request)  # it may have ended meanwhile
    if len(hosted.taps) >= MOST_LISTENERS:
        host_of(request).metrics.outputs_refused.labels("output_refused").inc()
        raise Refused(409, "output_refused", f"{MOST_LISTENERS} listeners are here already")
    try:
        outputs = host_of(request).outputs
        output = outputs.begin(hosted, wanted.url, wanted.what, wanted.delay_ms, wanted.original_gain_db)
    except SessionError as error:
        raise Refused(STATUS.get(error.code, 409), error.code, str(error)) from None
    return answer(output.state, 201, cache_control="no-store")


async def look(request: Request) -> Response:
    check_key(request)
    return answer(_output(request).state)


async def end(request: Request) -> Response:
    """Answered when everything is sent, or cut off."""
    check_key(request)
    output = _output(request)
    output.finish("asked")
    try:
        async with asyncio.timeout(host_of(request).outputs.limits.finish_s + STOP_SPARE_S):
            await output.ended.wait()
    except TimeoutError:
        raise Refused(503, "internal", "the output does not end") from None
    return answer(output.state)


def _output(request: Request) -> Output:
    output = find(request).output
    if output is None:
        raise Refused(404, "not_found", "this session has had no output; POST begins one")
    return output
