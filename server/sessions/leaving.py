"""How a server leaves: with checkpoints it restarts, its sessions go on in the next one; without them it drains."""

from __future__ import annotations

import asyncio

from server.checkpoints.shelf import Shelf
from server.core.checkpoint import Checkpoint
from server.protocol import messages as m
from server.protocol.values import DAY_MS
from server.sessions.host import Host
from server.sessions.hosted import Hosted

RESTART_S = 2.0
"""How long a restart may take to keep every session."""
GOODBYE_S = 1.0
"""How long a client may take to be told why its connection ends."""
POLL_S = 0.01
GOING_AWAY = 1001


async def leave(host: Host, drain_s: float) -> None:
    """Nothing plays after it."""
    host.draining = True
    await (_restart(host, host.shelf) if host.shelf else _drain(host, drain_s))
    await _all_left(host, GOODBYE_S)
    host.end_all()


async def _restart(host: Host, shelf: Shelf) -> None:
    """Keep every session as it is now, or as it was before the engine ended. Each is closed as soon as it is kept (see `Host`):
    its client is to hear nothing that the next server makes again."""
    host.tell(m.GoAway(int(RESTART_S * 1000), "restarting"))
    before = {hosted: hosted.core.checkpoint for hosted in host.sessions.values()}
    for hosted in before:
        hosted.core.ask_snapshot(host.monotonic())
    until_s = host.monotonic() + RESTART_S
    while host.is_alive and host.monotonic() < until_s and not (_are_kept(before) and shelf.idle):
        await asyncio.sleep(POLL_S)
    for hosted in host.sessions.values():
        hosted.restart()


def _are_kept(before: dict[Hosted, Checkpoint | None]) -> bool:
    return all(hosted.gone or hosted.core.checkpoint is not old for hosted, old in before.items())


async def _drain(host: Host, within_s: float) -> None:
    """Tell everybody, wait until they left or the time is over, then close what is left."""
    host.tell(m.GoAway(min(DAY_MS, int(within_s * 1000)), "draining"))
    await _all_left(host, within_s)
    for hosted in host.sessions.values():
        if hosted.line:
            hosted.line.hang_up(GOING_AWAY)


async def _all_left(host: Host, within_s: float) -> None:
    until_s = host.monotonic() + within_s
    while host.monotonic() < until_s and any(hosted.line for hosted in host.sessions.values()):
        await asyncio.sleep(POLL_S)
