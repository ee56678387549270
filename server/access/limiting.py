"""How often something may happen: a bucket that fills at a rate, a tally of the last minute. They read no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

MINUTE_S = 60.0


@dataclass(slots=True)
class Bucket:
    """`burst` at once, `rate_per_s` in the long run."""

    rate_per_s: float
    burst: float
    level: float = -1.0
    seen_s: float = 0.0

    def allows(self, now_s: float) -> bool:
        """Whether it may happen now; counted as done when it may."""
        if not self.would_allow(now_s):
            return False
        self.level -= 1
        return True

    def would_allow(self, now_s: float) -> bool:
        """The same, and nothing is counted."""
        grown = self.burst if self.level < 0 else self.level + (now_s - self.seen_s) * self.rate_per_s
        self.level, self.seen_s = min(self.burst, grown), now_s
        return self.level >= 1


@dataclass(slots=True)
class Tally:
    """most: in a minute."""

    most: int
    _times_s: deque[float] = field(default_factory=deque)  # bound: most

    def is_full(self, now_s: float, weight: int = 1) -> bool:
        """Count so many more; whether these were more than there may be in the last minute."""
        while self._times_s and self._times_s[0] < now_s - MINUTE_S:
            self._times_s.popleft()
        self._times_s.extend([now_s] * min(weight, self.most + 1))
        full = len(self._times_s) > self.most
        while len(self._times_s) > self.most:
            self._times_s.popleft()
        return full
