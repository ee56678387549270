"""When a picture is to be shown, and how far the decoder is behind. It reads no clock."""

from __future__ import annotations

BEHIND_S = 1.0
"""So late, what is shown begins anew from now: the source paused, or was slower than real time."""
AHEAD_S = 10.0
"""Timestamps that jump so far are another clock, not a pause."""


class Pace:
    """lives: the source keeps the time itself; a picture is shown when it comes, and its time only says how late it is."""

    def __init__(self, lives: bool) -> None:
        self._lives = lives
        self.zero_s: float | None = None
        """When time 0 is, or would have been, shown; None before the first picture."""
        self.behind_s = 0.0

    def wait_s(self, time_s: float, now_s: float) -> float:
        """time_s: of the picture, by its source."""
        if self.zero_s is None:
            self.zero_s = now_s - time_s
        early_s = self.zero_s + time_s - now_s
        self.behind_s = max(0.0, -early_s)
        if early_s > 0 if self._lives else not -BEHIND_S < early_s < AHEAD_S:
            self.zero_s, early_s = now_s - time_s, 0.0
        return 0.0 if self._lives else max(0.0, early_s)


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
