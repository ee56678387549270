"""How often one address may do something. It reads no clock.

This machine's own addresses are not counted: a proxy on it says for whom it asks (`X-Forwarded-For`), and everybody else on it is
its owner.
"""

from __future__ import annotations

import ipaddress

from starlette.requests import HTTPConnection

from server.access.limiting import MINUTE_S, Bucket

MOST_KNOWN = 4096
"""Addresses; beyond them the one that was away longest is forgotten."""


def address_of(connection: HTTPConnection) -> str | None:
    """Whose a request or a websocket is."""
    return connection.client.host if connection.client else None


def is_own(address: str | None) -> bool:
    """Whether it is this machine's, on its loopback."""
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False


def _counted(address: str) -> str:
    """What is counted as one: an address, of IPv6 its /64, which is one customer's."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and not found.ipv4_mapped:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return address


class Visitors:
    """per_min: at once, and in every minute after."""

    def __init__(self, per_min: int) -> None:
        self.per_min = per_min
        self._known: dict[str, Bucket] = {}  # bound: MOST_KNOWN

    def allows(self, address: str | None, now_s: float) -> bool:
        """Whether it may happen once more; counted when it may."""
        return is_own(address) or self._bucket(address).allows(now_s)

    def may(self, address: str | None, now_s: float) -> bool:
        """The same, and nothing is counted."""
        return is_own(address) or self._bucket(address).would_allow(now_s)

    @property
    def retry_s(self) -> float:
        """When somebody who was refused may try once more, at the latest."""
        return MINUTE_S / self.per_min

    def _bucket(self, address: str | None) -> Bucket:
        name = _counted(address or "")
        bucket = self._known.pop(name, None) or Bucket(self.per_min / MINUTE_S, self.per_min)
        self._known[name] = bucket
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]
        return bucket
