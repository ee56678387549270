"""How fast control messages go: a bucket smaller and slower than the server's, so that what a line holds up and then brings
together, for half a second, is still taken."""

from __future__ import annotations

SHARE, BURST_S = 0.9, 0.5


class Bucket:
    """messages_per_s: what the server takes. It begins full, as the server's does with each connection."""

    def __init__(self, messages_per_s: int, now_s: float) -> None:
        self._rate, self._most = SHARE * messages_per_s, max(1.0, BURST_S * messages_per_s)
        self._level, self._seen_s = self._most, now_s

    def allows(self, now_s: float) -> bool:
        """Whether one may go now; counted as gone when it may."""
        self._level = min(self._most, self._level + (now_s - self._seen_s) * self._rate)
        self._seen_s = now_s
        if self._level < 1:
            return False
        self._level -= 1
        return True
