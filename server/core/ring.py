"""The newest samples of a signal by absolute index, in memory that is allocated once."""

from __future__ import annotations

import numpy as np

from engine.frames import F32


class Ring:
    """Holds samples [first, end). Bound: `capacity` samples; writing more forgets the oldest."""

    def __init__(self, capacity: int, end: int = 0) -> None:
        """end: the index of the first sample that will be written."""
        self._samples = np.zeros(capacity, np.float32)
        self._begin = self.end = end

    @property
    def first(self) -> int:
        """The oldest sample that is still held."""
        return max(self._begin, self.end - len(self._samples))

    def write(self, samples: F32) -> None:
        """Append; [n], n at most the capacity."""
        at = self.end % len(self._samples)
        head = min(len(samples), len(self._samples) - at)
        self._samples[at : at + head] = samples[:head]
        self._samples[: len(samples) - head] = samples[head:]
        self.end += len(samples)

    def read(self, first: int, count: int) -> F32:
        """A copy of samples [first, first + count). Raises ValueError when they are not all held."""
        if not self.first <= first <= first + count <= self.end:
            wanted, held = f"[{first}, {first + count})", f"[{self.first}, {self.end})"
            raise ValueError(f"samples {wanted} are not held; {held} are")
        at = first % len(self._samples)
        if at + count <= len(self._samples):
            return self._samples[at : at + count].copy()
        return np.concatenate((self._samples[at:], self._samples[: at + count - len(self._samples)]))

    def newest(self, count: int) -> F32:
        """The last samples, at most `count` and at most what is held."""
        first = max(self.first, self.end - count)
        return self.read(first, self.end - first)
