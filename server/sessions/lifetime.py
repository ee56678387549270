"""When a session ends: as asked after a fade, after its longest time, or because nothing happens in it. It reads no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from server.protocol.limits import Limits

Reason = Literal["asked", "idle", "session_limit"]
Ended = Literal[Reason, "left", "expired", "evicted", "stopped", "generator_failed", "internal"]
"""Why a session ended at all. left: its client said so. expired: nobody came back to it. stopped: its server did."""
CLOSES: dict[Reason, int] = {"asked": 1000, "idle": 1000, "session_limit": 4440}


@dataclass(slots=True)
class Lifetime:
    """began_s, pictured_s, active_s: when it began, when the newest picture came, when it last played or was asked to."""

    limits: Limits
    began_s: float
    pictured_s: float
    active_s: float
    end_s: float | None = None
    """When it is to end as asked."""
    _warned: bool = False

    @classmethod
    def begin(cls, limits: Limits, now_s: float) -> Lifetime:
        return cls(limits, now_s, now_s, now_s)

    def due(self, now_s: float) -> Reason | None:
        """Why it is to end now."""
        if self.end_s is not None and now_s >= self.end_s:
            return "asked"
        if now_s - self.began_s > self.limits.session_s:
            return "session_limit"
        idle = now_s - min(self.pictured_s, self.active_s) > self.limits.idle_s
        return "idle" if idle else None

    def warning_ms(self, now_s: float) -> int | None:
        """Once, when its longest time is nearly over: what is left of it."""
        left_s = self.began_s + self.limits.session_s - now_s
        if self._warned or left_s > self.limits.drain_s:
            return None
        self._warned = True
        return max(0, int(1000 * left_s))
