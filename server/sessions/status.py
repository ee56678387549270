"""What the wire says of a session's core: its state in words, which revision made a chunk, how old its picture is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Literal

from server.core.delivery import AudioOut
from server.core.session import Session
from server.protocol.messages import Latency

MOST_AGES = 500
"""Ten seconds of chunks."""
MOST_REVISIONS = 128
Playback = Literal["playing", "paused", "stopped"]
Health = Literal["on_time", "degraded", "concealing", "waiting"]
PLAYBACK: dict[str, Playback] = {
    "created": "stopped",
    "waiting": "playing",
    "playing": "playing",
    "paused": "paused",
    "stopped": "stopped",
    "expired": "stopped",
}


def playback_of(core: Session) -> Playback:
    return PLAYBACK[core.state]


def health_of(core: Session, pictured: bool) -> Health:
    if not pictured:
        return "waiting"
    if core.playout.concealing:
        return "concealing"
    return "degraded" if core.degradation.level else "on_time"


class Revisions:
    """Revisions of the configuration, by the two counts of the core that a chunk carries."""

    def __init__(self, made: Iterable[tuple[int, int, int]] = ()) -> None:
        self.made = deque(made, maxlen=MOST_REVISIONS)  # full: the oldest goes
        self.newest = self.made[-1][0] if self.made else -1

    def note(self, core: Session) -> None:
        """The configuration changed, and the core took it over."""
        self.newest += 1
        self.made.append((self.newest, core.policy_revision, core.playout.mix_revision))

    def of(self, out: AudioOut) -> int:
        """The newest revision that the chunk knows whole."""
        known = (
            revision
            for revision, policy, mix in reversed(self.made)
            if policy <= out.policy_revision and mix <= out.mix_revision
        )
        return next(known, self.made[0][0])


class Ages:
    """How old the picture was in the chunks of the last ten seconds, and what the client said it buffers."""

    def __init__(self, step_ms: float) -> None:
        self.buffer_ms, self._step_ms = 0.0, step_ms
        self._ages_ms: deque[float] = deque(maxlen=MOST_AGES)  # full: the oldest goes

    def note(self, age_steps: int) -> None:
        self._ages_ms.append(age_steps * self._step_ms)

    def latency(self, step_share: float) -> Latency | None:
        if not self._ages_ms:
            return None
        ages = sorted(self._ages_ms)
        p50, p95, p99 = (ages[int(share * (len(ages) - 1))] + self.buffer_ms for share in (0.5, 0.95, 0.99))
        return Latency(p50, p95, p99, self.buffer_ms, round(min(step_share, 1000.0), 3))
