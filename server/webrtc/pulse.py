"""Whether a peer is still there: packets that came from it, and answers to consent checks where none come.

ICE itself takes half a minute to notice that nobody is there (aioice asks each 5 s and gives up after six times), and players
send reports as rarely as each 5 s. So who is silent for a second is asked at once, and who answers is there. The pair of
addresses that ICE chose, which is asked, is private to aioice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from aioice.ice import CandidatePair, Connection
from aioice.stun import TransactionError
from aiortc import RTCPeerConnection
from aiortc.stats import RTCTransportStats

from server.webrtc.reach import connections

LOOK_S = 0.25
ASK_AFTER_S = 1.0
AGAIN = 1
"""Times that a check is sent again: it may take one and a half seconds to be answered."""


class Pulse:
    """Of a peer that is connected."""

    def __init__(self, peer: RTCPeerConnection, monotonic: Callable[[], float]) -> None:
        self._peer, self._monotonic = peer, monotonic
        self._received, self._heard_s = -1, monotonic()
        self._asking: asyncio.Task[None] | None = None

    async def stops(self, lost_s: float) -> None:
        """Returns when nothing was heard for so long."""
        try:
            while await self._silent_s() < lost_s:
                await asyncio.sleep(LOOK_S)
        finally:
            if self._asking:
                self._asking.cancel()

    async def _silent_s(self) -> float:
        received = 0
        for report in (await self._peer.getStats()).values():
            if isinstance(report, RTCTransportStats):
                received += report.packetsReceived
        if received != self._received:
            self._received, self._heard_s = received, self._monotonic()
        silent_s = self._monotonic() - self._heard_s
        if silent_s >= ASK_AFTER_S and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._ask())
        return silent_s

    async def _ask(self) -> None:
        for connection in connections(self._peer):
            for pair in list(connection._nominated.values()):
                if await _answers(connection, pair):
                    self._heard_s = self._monotonic()


async def _answers(connection: Connection, pair: CandidatePair) -> bool:
    key = cast(str, connection.remote_password).encode()
    request = connection.build_request(pair, nominate=False)
    try:
        await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=AGAIN)
    except (TransactionError, OSError):
        return False
    return True
