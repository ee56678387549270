"""A jitter buffer that plays: chunks go in as they come, blocks come out as a sound card asks for them.

It waits until the target is full, then plays, corrected for drift, and fades out where the music is late. The target adapts: each
underrun makes it larger, calm makes it smaller by what was never needed. It does no I/O and reads no clock: the card's samples
are its time. Not thread-safe; `Speaker` holds a lock.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

import numpy as np

from cuestream_client.drift import Drift
from cuestream_client.music import F32, Chunk
from cuestream_client.resample import AFTER, BEFORE, between
from cuestream_client.session import Playout


@dataclass(frozen=True, slots=True)
class Comfort:
    """Seconds. target: the level at first; least, most: where it adapts to."""

    target_s: float = 0.06
    least_s: float = 0.04
    most_s: float = 0.4
    capacity_s: float = 2.0
    """Fuller than this, the oldest goes by a crossfade down to the target."""
    fade_s: float = 0.005
    """At the edges of music: beginning, underrun, a gap."""
    calm_s: float = 20.0
    """After so long without an underrun the target shrinks."""
    spare_s: float = 0.02
    """What shall always be left."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where music with other indices begins. at: samples put in before it."""

    at: int
    first_sample: int
    session: int


class Player:
    """Music at `rate` Hz with `channels`; the card takes the same."""

    def __init__(self, rate: int, channels: int, comfort: Comfort | None = None) -> None:
        self.rate, self.channels, self.comfort = rate, channels, comfort or Comfort()
        self.target_s = self.comfort.target_s
        self.drift = Drift()
        self.playing = False
        self.expecting = True
        """False while a pause or the end makes an empty buffer no underrun."""
        self.underruns = 0
        self.peak = 0.0
        """Of the block that was played last, full scale 1."""
        self.counts: Counter[str] = Counter()
        self._data: F32 = np.zeros((BEFORE, channels), np.float32)  # bound: capacity_s and one chunk
        self._put = 0  # samples put in, but for the zeros that the first one is led by
        self._at = float(BEFORE)  # of the next value in _data
        self._marks: deque[Mark] = deque([Mark(0, 0, 0)], maxlen=64)  # full: an old one goes, none is near
        self._lowest_s, self._calm_s = float("inf"), 0.0

    @property
    def level_s(self) -> float:
        """Seconds of music that wait."""
        return max(0.0, len(self._data) - self._at) / self.rate

    @property
    def playout(self) -> Playout:
        """To be reported to the server."""
        at = max(0, self._put - int(np.ceil(len(self._data) - self._at)))
        mark = next(m for m in reversed(self._marks) if m.at <= at or m is self._marks[0])
        through = mark.first_sample + max(0, at - mark.at)
        return Playout(mark.session, through, self.level_s * 1000, self.underruns, self.drift.clock_ppm)

    def put(self, chunk: Chunk) -> None:
        """Take the next stretch of music. Raises ValueError for other channels."""
        samples = chunk.samples
        if samples.shape[1] != self.channels:
            raise ValueError(f"{samples.shape[1]} channels, but {self.channels} are played")
        last = self._marks[-1]
        if (chunk.session, chunk.first_sample) != (last.session, last.first_sample + self._put - last.at):
            samples = self._join(chunk)
        self._data = np.concatenate((self._data, samples))
        self._put += len(samples)
        if self.level_s > self.comfort.capacity_s:
            self._skip()

    def read(self, count: int) -> F32:
        """The next block for the card: float32 [count, C]. Silence where there is no music."""
        if not self.playing and not self._begins():
            self.peak = 0.0
            return np.zeros((count, self.channels), np.float32)
        step = self.drift.update(self.level_s, self.target_s, count / self.rate)
        possible = int((len(self._data) - AFTER - 1 - self._at) / step) + 1
        block = between(self._data, self._at, step, min(count, max(0, possible)))
        self._advance(len(block) * step)
        if self.counts["begins"]:
            self._fade(block, 0.0, 1.0)
            self.counts["begins"] = 0
        if len(block) < count:
            block = self._run_dry(block, count)
        else:
            self._adapt(count / self.rate)
        self.peak = float(np.abs(block).max(initial=0.0))
        return block

    # --- inside

    def _begins(self) -> bool:
        """Whether enough waits to play; at the end of the music whatever is left does."""
        enough = self.level_s >= self.target_s or (
            not self.expecting and self.level_s * self.rate > AFTER + 1
        )
        if enough:
            self.playing = True
            self.counts["begins"] = 1
            self.drift.restart()
        return enough

    def _advance(self, samples: float) -> None:
        self._at += samples
        past = int(self._at) - BEFORE
        if past > 0:
            self._data, self._at = self._data[past:], self._at - past

    def _run_dry(self, block: F32, count: int) -> F32:
        """The music ends within this block: it fades out, and the buffer fills again."""
        self.playing = False
        self._fade(block, 1.0, 0.0, at_end=True)
        if self.expecting:
            self.underruns += 1
            self.target_s = min(self.comfort.most_s, self.target_s * 1.5)
            self._calm_s, self._lowest_s = 0.0, float("inf")
        return np.concatenate((block, np.zeros((count - len(block), self.channels), np.float32)))

    def _adapt(self, passed_s: float) -> None:
        self._calm_s += passed_s
        self._lowest_s = min(self._lowest_s, self.level_s)
        if self._calm_s >= self.comfort.calm_s:
            unused = max(0.0, self._lowest_s - self.comfort.spare_s)
            self.target_s = max(self.comfort.least_s, self.target_s - unused / 4)
            self._calm_s, self._lowest_s = 0.0, float("inf")

    def _join(self, chunk: Chunk) -> F32:
        """Music that does not go on where the last ended: unless the server faded it, both sides do."""
        self.counts["joins"] += self._put > 0
        self._marks.append(Mark(self._put, chunk.first_sample, chunk.session))
        if chunk.crossfade or not self._put:
            return chunk.samples
        self._data = self._data.copy()
        self._fade(self._data[int(self._at) :], 1.0, 0.0, at_end=True)
        samples = chunk.samples.copy()
        self._fade(samples, 0.0, 1.0)
        return samples

    def _skip(self) -> None:
        """From the oldest to the target by a crossfade."""
        over = int((self.level_s - self.target_s) * self.rate)
        start = int(self._at) - BEFORE
        old = self._data[start:][: int(self.comfort.fade_s * self.rate) + BEFORE + 1].copy()
        self._data, self._at = self._data[start + over :].copy(), self._at - start
        length = min(len(old), len(self._data))
        rise = np.linspace(0.0, 1.0, length, dtype=np.float32)[:, None]
        self._data[:length] = self._data[:length] * rise + old[:length] * (1 - rise)
        self.counts["skipped_samples"] += over
        self.drift.restart()

    def _fade(self, samples: F32, begin: float, end: float, at_end: bool = False) -> None:
        """A ramp over the first or last `fade_s` of `samples`, in place."""
        length = min(len(samples), int(self.comfort.fade_s * self.rate))
        part = samples[len(samples) - length :] if at_end else samples[:length]
        part *= np.linspace(begin, end, length, dtype=np.float32)[:, None]
