"""The server's clock seen from here: the offset that the shortest round trip of the last minute gives."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

REMEMBERED_US = 60_000_000


@dataclass(frozen=True, slots=True)
class RoundTrip:
    at_us: int
    rtt_us: int
    offset_us: float


class ClockSync:
    """Takes pongs. offset_us: server's clock minus ours, None before the first."""

    def __init__(self) -> None:
        self._trips: deque[RoundTrip] = deque(maxlen=60)  # full: the oldest goes

    def pong(self, sent_us: int, server_us: int, now_us: int) -> None:
        self._trips.append(RoundTrip(now_us, now_us - sent_us, server_us - (sent_us + now_us) / 2))

    @property
    def best(self) -> RoundTrip | None:
        newest = self._trips[-1].at_us if self._trips else 0
        recent = [trip for trip in self._trips if newest - trip.at_us <= REMEMBERED_US]
        return min(recent, key=lambda trip: trip.rtt_us) if recent else None

    @property
    def offset_us(self) -> float | None:
        return self.best.offset_us if self.best else None
