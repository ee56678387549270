"""One listener's sound: the core's chunks at the wire's rate, in order, each sample with its index."""

from __future__ import annotations

from engine.frames import F32
from server.audio.resampling import Resampler, aligned
from server.core.delivery import AudioOut
from server.core.ring import Ring


class Feed:
    """Goes on at output sample `first`, whose inputs are in `ring` or come next."""

    def __init__(self, ring: Ring, rate_in: int, first: int) -> None:
        self._ring, self._rate_in, self._begins = ring, rate_in, aligned(first, rate_in)
        self._resampler = Resampler.within(ring, self._begins, rate_in)
        self._from = first

    @property
    def next(self) -> int:
        """The index of the sample that comes next."""
        return max(self._from, self._resampler.next)

    def jump(self, first_in: int) -> None:
        """The next chunk begins at this input sample; those between were left out."""
        self._resampler.jump(first_in)
        self._from = 0

    def push(self, out: AudioOut) -> tuple[int, F32]:
        """The index of the first sample, and the samples [n], which may be none."""
        if out.first_sample != self._resampler.end_in:
            self._reach(out.first_sample)
        first = self._resampler.next
        return self._new(first, self._resampler.push(out.samples))

    def _reach(self, first_in: int) -> None:
        """By a jump; or warmed, where nothing was left out and what is before it was made only now."""
        if first_in == self._begins:
            self._resampler = Resampler.within(self._ring, first_in, self._rate_in)
        else:
            self.jump(first_in)

    def flush(self) -> tuple[int, F32]:
        """What the filter still holds, at the end."""
        first = self._resampler.next
        return self._new(first, self._resampler.flush())

    def _new(self, first: int, samples: F32) -> tuple[int, F32]:
        """Without what the listener has already."""
        known = min(len(samples), max(0, self._from - first))
        return first + known, samples[known:]
