"""The session of `cuestream serve --ingest`: open as long as the server is, and fed from one address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.errors import NoRoom
from server.ingest.address import parse
from server.ingest.checking import FILE, check
from server.ingest.limits import IngestLimits
from server.ingest.rest import Feed, Feedings
from server.sessions.host import Draining, Hanging, Host
from server.sessions.hosted import Hosted

SESSION = "ingest"
LOOK_S = 1.0
EVERYWHERE = ("0.0.0.0", "::")
"""Hosts that can only be listened at."""


def sound_path(host: Host) -> str:
    """Where its music is, on this server."""
    token = f"?token={host.door.listening(SESSION)}" if host.door.asks_for_a_key else ""
    return f"/v1/sessions/{SESSION}/audio.ogg{token}"


async def stand(feedings: Feedings, wanted: Feed, tell: Callable[[str], object]) -> None:
    """Opened again when it ends, and fed again when that was given up. tell: takes what the operator reads."""
    said, limits = "", feedings.host.settings.ingest
    while True:
        hosted = await _opened(feedings.host)
        while not hosted.gone:
            state, text = _fed(feedings, hosted, wanted)
            if said != (said := f"{state} {text}".strip()):
                tell(said)
            if state == "failed":
                await asyncio.sleep(limits.most_backoff_s)
                hosted.feeder = None
            await asyncio.sleep(LOOK_S)


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


def _fed(feedings: Feedings, hosted: Hosted, wanted: Feed) -> tuple[str, str]:
    """Begin it unless it has begun; how it stands."""
    if hosted.feeder is None:
        feedings.begin(hosted, wanted)
    feeding = feedings.running[hosted.id]
    return feeding.state, feeding.text


def feed_of(url: str, limits: IngestLimits) -> Feed:
    """As an operator writes it: an address at a port for publishers, or of no host, waits for one. Raises Forbidden."""
    listen = not url.startswith(FILE) and (parse(url).port in limits.ports or parse(url).host in EVERYWHERE)
    check(url, listen, limits)
    return Feed(url, listen)
