"""At which addresses a peer can reach us. aioice takes all of this machine's but its loopback; we take those that were chosen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aioice import Candidate
from aioice.ice import Connection, get_host_addresses
from aiortc import RTCDtlsTransport, RTCPeerConnection

from server.access.rates import is_own

LOOPBACK = "127.0.0.1"


def addresses(chosen: tuple[str, ...]) -> list[str]:
    """chosen: none of them means all that others can reach, or this machine's own where there is no other."""
    found = get_host_addresses(use_ipv4=True, use_ipv6=True)
    return list(chosen) or [address for address in found if not is_own(address)] or [LOOPBACK]


def transports(peer: RTCPeerConnection) -> list[RTCDtlsTransport]:
    """Of a peer, which has one when everything is bundled."""
    found = [transceiver.receiver.transport for transceiver in peer.getTransceivers()]
    found += [peer.sctp.transport] if peer.sctp else []
    return list(dict.fromkeys(found))


def connections(peer: RTCPeerConnection) -> Iterator[Connection]:
    """The ICE of each of them."""
    for transport in transports(peer):
        yield transport.transport.iceGatherer._connection


def listen_at(peer: RTCPeerConnection, chosen: list[str], gather_s: float) -> None:
    """Let a peer that has not gathered yet take these addresses. aioice has no option for it, only a method."""
    for connection in connections(peer):
        _limit(connection, chosen, gather_s)


def _limit(connection: Connection, chosen: list[str], gather_s: float) -> None:
    gather = connection.get_component_candidates

    async def gather_there(component: int, addresses: list[str], timeout: int = 5) -> list[Candidate]:
        return await gather(component, chosen, gather_s)  # type: ignore[arg-type]  # for asyncio.wait

    replaced: Any = connection
    replaced.get_component_candidates = gather_there
