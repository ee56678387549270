"""The playout clock: which sample is due when, by one multiplication from a fixed start, so that no error adds up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlayClock:
    """Sample `sample` is due at `start_s`, of a monotonic clock, and every other one where the rate puts it."""

    rate: int
    start_s: float
    sample: int

    def due_s(self, sample: int) -> float:
        """When a sample is to sound."""
        return self.start_s + (sample - self.sample) / self.rate

    def position(self, now_s: float) -> int:
        """The sample that sounds now; those before it are past."""
        return self.sample + max(0, int((now_s - self.start_s) * self.rate + 1e-6))
