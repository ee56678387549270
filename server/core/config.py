"""How a session is to be: the choices of whoever runs the server, checked where they are made."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.spec import StreamPolicy
from server.core.delivery import Patience
from server.core.playout import Limits

LATE_S = 0.09
"""With less music left than this an engine is late: the machine may need so long for other work."""
LATE_SHARE = 0.5
"""Where the schedule leaves less than twice that, an engine is late with this share of what it leaves."""


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """side: S of its frames. hop: samples of a step. room_s: how long a window may be asked for, if it did not begin longer."""

    policy: StreamPolicy
    side: int
    hop: int = 640
    limits: Limits = field(default_factory=Limits)
    patience: Patience = field(default_factory=Patience)
    grace_s: float = 2.0
    resume_s: float = 30.0
    max_catch_up_s: float = 5.0
    """A client that comes back further behind is moved to the present by a marked crossfade; a nearer one loses no sample."""
    snapshot_every_s: float = 1.0
    room_s: float = 0.0

    def __post_init__(self) -> None:
        limits, piece = self.limits, self.policy.chunk_steps * self.hop
        rules = {
            "the engine's chunk fits between the limits of the lead": limits.left_when_asked(piece)
            >= limits.chunk,
            "what is kept is a whole number of chunks": limits.window % limits.chunk == 0,
            "what is kept lasts as long as the session waits": limits.window >= self.resume_s * limits.rate,
        }
        for rule, holds in rules.items():
            if not holds:
                raise ValueError(f"session: {rule}; got {piece} samples a chunk, {limits}")

    @property
    def late(self) -> int:
        """Samples of music: a piece that comes when fewer are left is late."""
        asked = self.limits.left_when_asked(self.policy.chunk_steps * self.hop)
        return int(min(LATE_S * self.limits.rate, LATE_SHARE * asked))

    @property
    def longest_window_s(self) -> float:
        """That may be asked for while it plays."""
        return max(self.room_s, self.policy.short_term_s)
