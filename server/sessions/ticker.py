"""When the loop is to look after its sessions again: at the next moment that something is due, or as soon as it is asked to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import ceil, exp

APART_S, MOST_APART_S = 0.002, 0.006
"""Ticks are at least so far apart: what is due in between is done together, and the engine's thread is woken once for it."""
CHUNK_SHARE, LATER_S = 0.1, 0.01
"""With long chunks, which are for many sessions, ticks are so large a share of a chunk apart, `LATER_S` at most. A chunk may come
so much later."""
TIMES_LONGER = 2
"""The busier the loop, the further apart: from one tick's beginning to the next at least so many times as long as it took."""
LOOP_HZ = 1000
"""uvloop's timers are rounded to milliseconds. One that comes too soon finds nothing due, and what is due is then done `APART_S`
later; so they are rounded up."""
SLACK = 1e-6
RISES_S, FALLS_S = 0.5, 4.0
"""How soon `busy` follows: a moment of ease is not taken for room."""


class Ticker:
    """tick: takes what is due and returns when the next thing is, by `monotonic`. late: is told how late each tick was, seconds.

    A tick that raises is reported to the loop, and the next one comes all the same. `busy`: the share of its time
    that the loop lately spent in ticks.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        tick: Callable[[], float],
        late: Callable[[float], object],
        loop: asyncio.AbstractEventLoop,
        chunk_s: float = 0.0,
    ) -> None:
        self._monotonic, self._tick, self._late = monotonic, tick, late
        self._loop = loop
        self._ran_s = self._due_s = monotonic()
        self._apart_s = self._least_apart_s = max(APART_S, min(LATER_S, CHUNK_SHARE * chunk_s))
        self.busy = self._took_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._again(self._due_s)

    def wake(self) -> None:
        """Tick as soon as may be; asked often, it is once."""
        soonest_s = max(self._monotonic(), self._ran_s + self._apart_s)
        if self._timer is not None and self._due_s > soonest_s:
            self._again(soonest_s)

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None

    def _again(self, due_s: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._due_s = due_s
        delay = ceil((due_s - self._monotonic()) * LOOP_HZ - SLACK)
        self._timer = self._loop.call_later(max(0, delay) / LOOP_HZ, self._run)

    def _run(self) -> None:
        began_s = next_s = self._monotonic()
        self._note(began_s - self._ran_s)
        self._ran_s = began_s
        self._late(max(0.0, began_s - self._due_s))
        try:
            next_s = self._tick()
        finally:
            self._took_s = self._monotonic() - began_s
            self._apart_s = max(self._least_apart_s, min(MOST_APART_S, TIMES_LONGER * self._took_s))
            if self._timer is not None:
                self._again(max(next_s, began_s + self._apart_s))

    def _note(self, since_s: float) -> None:
        """The tick before began so long ago."""
        if since_s:
            more = self._took_s / since_s - self.busy
            self.busy += more * (1 - exp(-since_s / (RISES_S if more > 0 else FALLS_S)))
