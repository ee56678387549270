"""REST of ingest: POST, GET and DELETE of /v1/sessions/{id}/ingest.

A session that was made and not opened yet is opened by the POST and plays at once; its music is heard at its sound addresses.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from engine.errors import NoRoom
from server.access.rates import address_of, is_own
from server.http.refusals import Refused
from server.http.rest import answer, body, check_key, find, host_of, no_session
from server.ingest.address import Forbidden
from server.ingest.aside import Aside
from server.ingest.checking import check
from server.ingest.feeding import Feeding
from server.sessions.host import Draining, Hanging, Host
from server.sessions.hosted import Hosted

RESOLVE_S = 5.0
"""For the name of a host, when an ingest is asked for."""
CHECKS = 2
"""Of addresses at once; a name server that does not answer keeps a thread for longer than RESOLVE_S."""


class Feed(Struct, frozen=True):
    """Body of POST /v1/sessions/{id}/ingest. listen: wait for a publisher at the address, instead of connecting to it."""

    url: str
    listen: bool = False


@dataclass(slots=True)
class Feedings:
    """All of a server, by session."""

    host: Host
    running: WeakValueDictionary[str, Feeding] = field(default_factory=WeakValueDictionary)
    """Bound: limits.at_once that are not over. The others are gone with their sessions."""
    checks: Aside = field(default_factory=lambda: Aside(CHECKS))

    def check_room(self, session_id: str) -> None:
        """Before the session is opened for it. Raises Refused."""
        most, refused = self.host.settings.ingest.at_once, self.host.metrics.ingests_refused
        before = self.running.get(session_id)
        if before and not before.over:
            raise Refused(409, "bad_request", "this session is fed already; DELETE that first")
        if sum(not each.over for each in self.running.values()) >= most:
            refused.labels("at_once").inc()
            raise Refused(503, "capacity", f"{most} sessions are fed already")

    def begin(self, hosted: Hosted, wanted: Feed, failure: str = "") -> Feeding:
        """failure: see `Feeding`."""
        feeding = Feeding(self.host, hosted, wanted.url, wanted.listen, failure)
        self.running[hosted.id], hosted.feeder = feeding, feeding
        return feeding

    async def stop(self) -> None:
        for each in self.running.values():
            each.end()
        await asyncio.gather(*(each.gone() for each in self.running.values()))


def feedings_of(request: Request) -> Feedings:
    feedings: Feedings = request.app.state.feedings
    return feedings


async def begin(request: Request) -> Response:
    _may(request)
    wanted = await body(request, Feed)
    feedings, session_id = feedings_of(request), request.path_params["session_id"]
    feedings.check_room(session_id)
    await _check(feedings, wanted)
    feedings.check_room(session_id)  # others came meanwhile
    feeding = feedings.begin(_session(request), wanted)
    return answer(feeding.about(), 201)


async def look(request: Request) -> Response:
    check_key(request)
    return answer(_find(request).about())


async def end(request: Request) -> Response:
    check_key(request)
    feeding = _find(request)
    feeding.end()
    await feeding.gone()
    return answer(feeding.about())


def _find(request: Request) -> Feeding:
    feeding = feedings_of(request).running.get(find(request).id)
    if feeding is None:
        raise Refused(404, "not_found", "this session is not fed by the server")
    return feeding


def _may(request: Request) -> None:
    """The key, or, where none is asked for, a caller on this machine."""
    check_key(request)
    if not host_of(request).door.asks_for_a_key and not is_own(address_of(request)):
        raise Refused(403, "forbidden", "without a key only this machine may have addresses read")


async def _check(feedings: Feedings, wanted: Feed) -> None:
    limits, refused = feedings.host.settings.ingest, feedings.host.metrics.ingests_refused
    try:
        async with asyncio.timeout(RESOLVE_S):
            await feedings.checks.do(lambda: check(wanted.url, wanted.listen, limits))
    except Forbidden as error:
        refused.labels("forbidden").inc()
        raise Refused(403, "ingest_forbidden_url", str(error)) from None
    except (OSError, TimeoutError):
        refused.labels("unknown").inc()
        raise Refused(422, "ingest_failed", "the name of this address is not known") from None


def _session(request: Request) -> Hosted:
    """An open one, or one that was made and is opened now, without a client."""
    host, session_id = host_of(request), request.path_params["session_id"]
    now_s = host.monotonic()
    if host.find(session_id) or session_id not in host.door.invited_ids(now_s):
        return find(request)
    try:
        hosted = host.open(session_id, None)
    except (Draining, Hanging, NoRoom) as error:
        raise no_session(host, error) from None
    hosted.play_to_nobody(now_s)
    return hosted
