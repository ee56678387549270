"""Two clocks that differ: the server makes music by its own, a sound card plays by another. The difference fills or empties the
buffer between them; a PI controller holds its level by playing a little faster or slower.

The level answers to the ratio as an integrator. With gains kp and ki the loop has the natural frequency sqrt(ki) and the damping
kp / (2 sqrt(ki)); KP and KI make it critically damped at 1/40 s, far below the chunks' sawtooth, which SMOOTH_S takes away.
The integral is the difference of the clocks itself.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST = 0.005
"""Largest change of the ratio: half a percent is a twelfth of a semitone."""
KP = 0.05
"""Per second: 100 ms too many are played 0.5 % faster."""
KI = KP**2 / 4
SMOOTH_S = 1.0


@dataclass(slots=True)
class Drift:
    """Keeps state; `update` is called with each block that is played. ratio: samples of music for one sample of the card."""

    ratio: float = 1.0
    level_s: float | None = None
    integral: float = 0.0

    def update(self, level_s: float, target_s: float, passed_s: float) -> float:
        """level_s: in the buffer now. passed_s: since the last call. Returns the ratio to play with."""
        before = level_s if self.level_s is None else self.level_s
        self.level_s = before + (level_s - before) * min(1.0, passed_s / SMOOTH_S)
        error = self.level_s - target_s
        wanted = KP * error + self.integral + KI * error * passed_s
        if abs(wanted) < MOST or wanted * error < 0:  # at the bound it would wind up
            self.integral += KI * error * passed_s
        self.ratio = 1.0 + max(-MOST, min(MOST, wanted))
        return self.ratio

    def restart(self) -> None:
        """The level jumps: what was learnt of the clocks stays."""
        self.level_s = None

    @property
    def clock_ppm(self) -> float:
        """How much faster than the server's clock the card is, millionths. True in the mean over minutes: it swings while the
        ends of chunks wander through the card's blocks."""
        return -self.integral * 1e6
