"""What is given up, in which order, when a device cannot keep up: a table, entered at once, left after a while of calm.

The measure is how much music was left when a piece came, or is left while one is waited for. A short lead, long pieces and long
chunks leave any engine less time to answer, so what is late depends on what the schedule leaves: see `SessionConfig.late`.

Guidance is not in it: without it the decoder needs fewer rows, but the way back needs every column read again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from engine.spec import StreamPolicy


@dataclass(frozen=True, slots=True)
class Level:
    """Entered when less music is left than `below`, a share of what is late. The factors change the policy."""

    name: str
    below: float
    looks: float = 1.0
    """Frames are encoded, and stale ones refreshed, so many times more rarely."""
    context: float = 1.0
    """Of the following segment's context: the shorter, the fewer steps have two segments."""
    window: float = 1.0
    """Of the short-term window."""


LEVELS = (
    Level("on_time", 1.0),
    Level("looks_less", 0.75, looks=3),
    Level("shorter_context", 0.4, looks=3, context=0.25, window=0.5),
    Level("concealing", 0.0, looks=3, context=0.25, window=0.5),
)
CALM_S, MOST_CALM_S = 3.0, 48.0
"""A level is left, for the one before it, when for so long never less music was left than that one's row says. Each relapse
doubles this, up to the second: a level that is left again and again protects nobody."""
RELAPSE_S = 30.0
"""A level that is entered so soon after one was left."""


@dataclass(frozen=True, slots=True)
class Degradation:
    """Where a session stands in the table, since when nothing was wrong, how long that is to last, when a level was left."""

    level: int = 0
    calm_since_s: float = 0.0
    calm_s: float = CALM_S
    left_s: float = -math.inf

    def seen(self, now_s: float, left: float, concealing: bool) -> Degradation:
        """left: the least music that was left since it was last asked, as a share of what is late."""
        if not self.level and left >= 1.0 and not concealing:
            return self
        due = (
            len(LEVELS) - 1
            if concealing
            else max(i for i, row in enumerate(LEVELS) if i == 0 or left < row.below)
        )
        if due > self.level:
            relapsed = now_s - self.left_s < RELAPSE_S
            calm_s = min(MOST_CALM_S, 2 * self.calm_s) if relapsed else CALM_S
            return Degradation(due, now_s, calm_s, self.left_s)
        if not self.level:
            return self
        if left < LEVELS[self.level - 1].below or concealing:
            return replace(self, calm_since_s=now_s)
        if now_s - self.calm_since_s < self.calm_s:
            return self
        return replace(self, level=self.level - 1, calm_since_s=now_s, left_s=now_s)

    @property
    def row(self) -> Level:
        return LEVELS[self.level]

    def policy(self, wanted: StreamPolicy) -> StreamPolicy:
        """What the stream plays by, when a listener wants this."""
        row = self.row
        return replace(
            wanted,
            encode_every_steps=round(wanted.encode_every_steps * row.looks),
            refresh_every_steps=round(wanted.refresh_every_steps * row.looks),
            context_s=wanted.context_s * row.context,
            short_term_s=max(0.5, wanted.short_term_s * row.window),
        )
