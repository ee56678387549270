"""Gain, mute, fade and ducking: ramps over absolute sample indexes, so that a level belongs to a sample and not to a chunk."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.frames import F32

F64 = NDArray[np.float64]
Shape = Literal["linear", "equal_power"]
LOUDEST_DB = 12.0
QUIETEST_DB = -60.0
"""At and under it is silence."""


@dataclass(frozen=True, slots=True)
class Ramp:
    """A level that goes from `before` to `after` over samples [start, start + length), and stays. Levels are factors."""

    before: float = 1.0
    after: float = 1.0
    start: int = 0
    length: int = 0
    shape: Shape = "linear"

    def levels(self, first: int, count: int) -> F64:
        """[count], of the samples from `first` on. The last sample of the ramp has the level `after`."""
        done = np.arange(first - self.start + 1, first - self.start + 1 + count) / max(1, self.length)
        done = np.clip(done, 0.0, 1.0)
        if self.shape == "linear":
            return self.before + (self.after - self.before) * done
        power: F64 = np.sqrt(self.before**2 + (self.after**2 - self.before**2) * done)
        return power

    def towards(self, level: float, start: int, length: int, shape: Shape = "linear") -> Ramp:
        """From whatever the level is before sample `start` to another one."""
        return Ramp(float(self.levels(start - 1, 1)[0]), level, start, length, shape)


@dataclass(frozen=True, slots=True)
class Ducking:
    """Step back while the original sound is loud."""

    threshold_db: float = -40.0
    depth_db: float = -12.0
    attack_s: float = 0.1
    release_s: float = 0.8


@dataclass(frozen=True, slots=True)
class Mix:
    """What the music is multiplied by; each ramp is on its own. verb: the fades of play, pause and stop."""

    gain: Ramp = field(default_factory=Ramp)
    mute: Ramp = field(default_factory=Ramp)
    fade: Ramp = field(default_factory=Ramp)
    verb: Ramp = field(default_factory=Ramp)
    duck: Ramp = field(default_factory=Ramp)
    ducking: Ducking | None = None

    def apply(self, samples: F32, first: int) -> F32:
        """samples: [n], the first of them at index `first`."""
        ramps = (self.gain, self.mute, self.fade, self.verb, self.duck)
        if all(ramp.before == ramp.after == 1.0 for ramp in ramps):
            return samples
        levels = np.ones(len(samples))
        for ramp in ramps:
            levels *= ramp.levels(first, len(samples))
        return (samples * levels).astype(np.float32)

    def hear(self, level_db: float, start: int, rate: int) -> Mix:
        """The original sound has this level now: duck, or come back, from sample `start` on."""
        if self.ducking is None:
            return self if self.duck.after == 1.0 else self._ducked(1.0, start, rate)
        loud = level_db > self.ducking.threshold_db
        target = amplitude(self.ducking.depth_db) if loud else 1.0
        if target == self.duck.after:
            return self
        seconds = self.ducking.attack_s if loud else self.ducking.release_s
        return self._ducked(target, start, int(seconds * rate))

    def _ducked(self, level: float, start: int, length: int) -> Mix:
        return replace(self, duck=self.duck.towards(level, start, length))


def amplitude(db: float) -> float:
    """A factor from decibels; `QUIETEST_DB` and less is silence."""
    return 0.0 if db <= QUIETEST_DB else float(10 ** (db / 20))


def crossfade(old: F32, new: F32, done: int = 0, length: int | None = None) -> F32:
    """From `old` to `new`, equal power, both [n]; `done` of `length` samples of the fade are past."""
    total = len(old) if length is None else length
    share = np.clip((np.arange(done, done + len(old)) + 1) / max(1, total), 0.0, 1.0)
    mixed = old * np.sqrt(1 - share) + new * np.sqrt(share)
    return mixed.astype(np.float32)
