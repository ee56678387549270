"""A virtual sound card: it plays in real time by absolute deadlines, and notes of every stretch of sound when it came."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

RATE = 48_000
F64 = NDArray[np.float64]


class Card:
    """Sample n is due at `start_s` + n / RATE; the first stretch sets `start_s`. buffer_s: so much later it is played.

    A stretch that comes after its sample should have been played is an underrun: the card begins again with it, as with the
    first one, and everything behind it is due as much later.
    """

    def __init__(self, buffer_s: float) -> None:
        self.buffer_s = buffer_s
        self.start_s: float | None = None
        self.underruns = 0
        self.gaps = 0
        """Stretches that did not begin where the one before ended."""
        self.end = 0
        """One after the last sample that came."""
        self._rows = array("d")  # bound: the length of a run

    def hear(self, came_s: float, first: int, count: int, newest_us: int) -> None:
        if self.start_s is None:
            self.start_s = came_s - first / RATE
        due_s = self.start_s + first / RATE
        late_s = came_s - due_s
        if late_s > self.buffer_s:
            self.underruns += 1
            self.start_s, due_s = came_s - first / RATE, came_s
        self.gaps += first != self.end and len(self._rows) > 0
        self.end = first + count
        self._rows.extend((came_s, late_s, due_s + self.buffer_s, newest_us))

    def played(self, now_s: float) -> int:
        """Samples that were played by now, of those that came."""
        if self.start_s is None:
            return 0
        return max(0, min(self.end, int((now_s - self.start_s - self.buffer_s) * RATE)))

    def rows(self) -> F64:
        """[n, 4]: when a stretch came, how late that was, when its first sample is heard, and its newest picture in us."""
        return np.array(self._rows).reshape(-1, 4)
