"""How often something may happen: a bucket that fills at a rate. It reads no clock."""

from __future__ import annotations

from dataclasses import dataclass


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
