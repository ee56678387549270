"""The event loop's time for what all websockets send: while they have taken more than its share, they are heard in turns.

Each may take a share of its own, so a few that send without end would leave the music no time; nobody needs a session for that.
Who said little goes before who said much. Source: Goyal, Vin & Cheng 1996, start-time fair queueing.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

SAVED_S = 0.1
"""After so long without anything to hear, so much more may be heard at once."""

AHEAD_S = 0.02
"""So much more of the loop's time may those take first who took less than others: two pieces."""


def later(due_s: float, now_s: float, took_s: float, share: float) -> float:
    """When what was heard by now is paid for. due_s: when what was heard before is."""
    return max(due_s, now_s - SAVED_S) + took_s / share


class Turns:
    """Of all connections of a server. share: of the loop's time."""

    def __init__(self, share: float) -> None:
        self._share, self._due_s = share, 0.0
        self._taken_s = 0.0  # by each that always had something to say
        # a heap; bound: one of each connection
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._next: asyncio.TimerHandle | None = None

    def are_due(self, now_s: float) -> bool:
        """Whether anybody may be heard."""
        return self._due_s <= now_s

    def heard(self, now_s: float, taken_s: float, took_s: float) -> float:
        """taken_s: by one connection, as it was told last. What that is now."""
        self._due_s = later(self._due_s, now_s, took_s, self._share)
        return self._from(taken_s) + took_s

    def wait(self, loop: asyncio.AbstractEventLoop, taken_s: float, go_on: Callable[[], None]) -> None:
        """go_on: is called once, when it is its turn; it hears a piece, and waits again for the rest."""
        heapq.heappush(self._waiting, (self._from(taken_s), next(self._numbers), go_on))
        if self._next is None:
            self._next = loop.call_at(self._due_s, self._give, loop)

    def _give(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting and self.are_due(loop.time()):
            taken_s, _, go_on = heapq.heappop(self._waiting)
            self._taken_s = max(self._taken_s, taken_s)
            go_on()
        self._next = loop.call_at(self._due_s, self._give, loop) if self._waiting else None

    def _from(self, taken_s: float) -> float:
        """Nobody who was silent for long has more ahead of the others than that."""
        return max(taken_s, self._taken_s - AHEAD_S)
