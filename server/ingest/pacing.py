"""When a picture is to be shown, and how far the decoder is behind. It reads no clock."""

from __future__ import annotations

from math import inf

BEHIND_S = 1.0
"""So late, what is shown begins anew from now: the source paused, or was slower than real time."""
AHEAD_S = 10.0
"""Timestamps that jump so far are another clock, not a pause."""
WINDOW_S = 30.0
"""A live source's clock is off by as much as every picture of so long is late."""


class Pace:
    """lives: the source keeps the time itself; a picture is shown when it comes, and its time only says how late it is."""

    def __init__(self, lives: bool) -> None:
        self._lives = lives
        self.zero_s: float | None = None
        """When time 0 is, or would have been, shown; None before the first picture."""
        self.behind_s = 0.0
        self._least_s, self._looked_s = inf, 0.0  # how late the earliest picture was since then

    def wait_s(self, time_s: float, now_s: float) -> float:
        """time_s: of the picture, by its source."""
        if self.zero_s is None:
            self.zero_s, self._looked_s = now_s - time_s, now_s
        early_s = self.zero_s + time_s - now_s
        self.behind_s = max(0.0, -early_s)
        if early_s > 0 if self._lives else not -BEHIND_S < early_s < AHEAD_S:
            self.zero_s, early_s = now_s - time_s, 0.0
        if self._lives:
            self._follow(now_s)
        return 0.0 if self._lives else max(0.0, early_s)

    def _follow(self, now_s: float) -> None:
        """A clock that is slower than ours, or went back: of a decoder that is behind not every picture is late for so long."""
        assert self.zero_s is not None
        self._least_s = min(self._least_s, self.behind_s)
        if now_s - self._looked_s >= WINDOW_S:
            self.zero_s += self._least_s
            self._least_s, self._looked_s = inf, now_s


class Thin:
    """Lets through `rate` pictures a second."""

    def __init__(self, rate: float) -> None:
        self._apart_s = 1 / rate
        self._due_s = 0.0

    def wants(self, now_s: float) -> bool:
        if now_s < self._due_s:
            return False
        self._due_s = max(self._due_s + self._apart_s, now_s)
        return True
