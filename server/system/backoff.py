"""The pause before what failed is tried again."""

from __future__ import annotations


class Backoff:
    """Twice as long each time, from `first_s` to `most_s`."""

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s = self._next_s = min(first_s, most_s)
        self._most_s = most_s

    def after(self, well_s: float = 0.0) -> float:
        """The pause after a try that went well for so long. Where that is longer than the pause would be, it is the first again:
        what breaks as soon as it has begun is not begun every second."""
        pause_s = self._first_s if well_s > self._next_s else self._next_s
        self._next_s = min(2 * pause_s, self._most_s)
        return pause_s

    def reset(self) -> None:
        self._next_s = self._first_s
