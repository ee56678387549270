"""The session of `cuestream serve --ingest`: open as long as the server is, and fed from one address."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from server.host import Host
from server.ingest.address import parse
from server.ingest.checking import FILE, check
from server.ingest.limits import IngestLimits
from server.ingest.rest import Feed, Feedings
from server.rest import Refused

SESSION = "ingest"
LOOK_S = 1.0
logger = logging.getLogger("uvicorn.error")


def sound_path(host: Host) -> str:
    """Where its music is, on this server."""
    token = f"?token={host.door.listening(SESSION)}" if host.door.asks_for_a_key else ""
    return f"/v1/sessions/{SESSION}/audio.ogg{token}"


async def stand(feedings: Feedings, wanted: Feed, tell: Callable[[str], object]) -> None:
    """A session that breaks is opened again; one whose video has come to its end is not. tell: takes what the operator reads."""
    host = feedings.host
    while True:
        await host.vacate(SESSION)
        hosted = host.open(SESSION, None)
        hosted.stay()
        hosted.play_to_nobody(host.monotonic())
        try:
            feeding = feedings.begin(hosted, wanted)
        except Refused as error:
            logger.error("%s", error.text)
            return
        said = ""
        while not hosted.gone:
            if said != (said := f"{feeding.state} {feeding.text}".strip()):
                tell(said)
            await asyncio.sleep(LOOK_S)
        if feeding.state != "stopped":
            return


def feed_of(url: str, limits: IngestLimits) -> Feed:
    """As an operator writes it: an RTMP address at a port for publishers waits for one. Raises Forbidden."""
    listen = not url.startswith(FILE) and parse(url).port in limits.ports
    check(url, listen, limits)
    return Feed(url, listen)
