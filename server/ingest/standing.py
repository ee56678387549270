"""The session of `cuestream serve --ingest`: open as long as the server is, and fed from one address."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from engine.errors import NoRoom
from server.ingest.address import parse
from server.ingest.checking import FILE, check
from server.ingest.feeding import Feeding
from server.ingest.limits import IngestLimits
from server.ingest.rest import Feed, Feedings
from server.sessions.host import Draining, Hanging, Host
from server.sessions.hosted import Hosted

SESSION = "ingest"
LOOK_S = 1.0
MOST_TOLD = 16
EVERYWHERE = ("0.0.0.0", "::")
"""Hosts that can only be listened at."""


def sound_path(host: Host) -> str:
    """Where its music is, on this server."""
    token = f"?token={host.door.listening(SESSION)}" if host.door.asks_for_a_key else ""
    return f"/v1/sessions/{SESSION}/audio.ogg{token}"


async def stand(feedings: Feedings, wanted: Feed, tell: Callable[[str], object]) -> None:
    """Opened again when it ends, and fed again when that was given up. tell: takes what the operator reads, once of each failure
    until it plays."""
    news, failure, limits = News(tell), "", feedings.host.settings.ingest
    while True:
        hosted = await _opened(feedings.host)
        while not hosted.gone:
            feeding = _fed(feedings, hosted, wanted, failure)
            news.hear(feeding)
            failure = feeding.failure
            if feeding.state == "failed":
                await asyncio.sleep(limits.most_backoff_s)
                hosted.feeder = None
            await asyncio.sleep(LOOK_S)


class News:
    """How an ingest stands, when that is new. What an attempt failed by is, once, whatever comes of it; and that a publisher is
    listened for."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell, self._said = tell, ""
        self._told: deque[str] = deque(maxlen=MOST_TOLD)  # since it played; full: the oldest is news again

    def hear(self, feeding: Feeding) -> None:
        line = f"{feeding.state} {feeding.text}".strip()
        news = feeding.state if feeding.state == "listening" else feeding.failure or line
        if feeding.state == "playing":
            self._told.clear()
        if news != self._said and news not in self._told:
            self._said = news
            self._told.append(news)
            self._tell(line)


async def _opened(host: Host) -> Hosted:
    while True:
        try:
            await host.vacate(SESSION)
            hosted = host.open(SESSION, None)
        except (Draining, Hanging, NoRoom):
            await asyncio.sleep(LOOK_S)
            continue
        hosted.stay()
        hosted.play_to_nobody(host.monotonic())
        return hosted


def _fed(feedings: Feedings, hosted: Hosted, wanted: Feed, failure: str) -> Feeding:
    """Begun unless it has begun. failure: of the one before."""
    if hosted.feeder is None:
        feedings.begin(hosted, wanted, failure)
    return feedings.running[hosted.id]


def feed_of(url: str, limits: IngestLimits) -> Feed:
    """As an operator writes it: an address at a port for publishers, or of no host, waits for one. Raises Forbidden."""
    listen = not url.startswith(FILE) and (parse(url).port in limits.ports or parse(url).host in EVERYWHERE)
    check(url, listen, limits)
    return Feed(url, listen)
