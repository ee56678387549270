"""What sounds when the music is late: a loop of the last second, cut where it fits best, that fades to silence in the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.frames import F32

SHORTEST_LOOP_S, LONGEST_LOOP_S = 0.25, 1.0
TEMPLATE = 512
"""Samples at the end of the music that the beginning of the loop has to resemble."""
COARSE = 8
"""Samples of a mean by which the place is found roughly, for it is sought on the event loop."""
SEAM_S = 0.02
"""Crossfade from the loop's end to its beginning."""
MENDED_S = 0.005
"""A step between the music and the loop that is left is spread over this."""
HELD_S, FADED_S = 4.0, 2.0
"""The loop is as loud as the music for so long, then fades to silence."""


@dataclass(slots=True)
class Concealer:
    """Goes on where `history` [n] ends; `done` samples were played so far. Deterministic, whatever pieces are asked for."""

    loop: F32
    step: float
    rate: int
    done: int = 0

    @classmethod
    def after(cls, history: F32, rate: int) -> Concealer:
        """history: the newest samples that sounded; `needed` of them are enough. Takes 0.3 ms."""
        loop = _loop(history, rate)
        before = history[-1] if len(history) else 0.0
        expected = history[-len(loop) - 1] if len(loop) < len(history) else 0.0
        return cls(loop, float(before - expected), rate)

    def play(self, count: int) -> F32:
        """The next samples, [count]."""
        begin, self.done = self.done, self.done + count
        looped = _around(self.loop, begin % len(self.loop), count)
        if MENDED_S * self.rate <= begin and self.done <= HELD_S * self.rate:
            return looped  # neither mended nor faded: most of it, and many wait when much is made up
        at = np.arange(begin, self.done)
        mend = self.step * np.clip(1 - at / (MENDED_S * self.rate), 0, 1)
        level = np.clip(1 - (at - HELD_S * self.rate) / (FADED_S * self.rate), 0, 1)
        return ((looped + mend) * level).astype(np.float32)


def _around(loop: F32, first: int, count: int) -> F32:
    """[count], a copy: behind its last sample comes its first."""
    if first + count <= len(loop):
        return loop[first : first + count].copy()
    return loop[np.arange(first, first + count) % len(loop)]


def needed(rate: int) -> int:
    """Samples of history that the longest loop can be made of."""
    return int((LONGEST_LOOP_S + SEAM_S) * rate) + TEMPLATE


def _loop(history: F32, rate: int) -> F32:
    """[L], seamless: its first sample may follow its last. Silence when there is too little history."""
    seam, shortest = int(SEAM_S * rate), int(SHORTEST_LOOP_S * rate)
    longest = min(int(LONGEST_LOOP_S * rate), len(history) - max(seam, TEMPLATE))
    if longest < shortest:
        return np.zeros(1, np.float32)
    length = _best_length(history, shortest, longest)
    loop = history[-length:].copy()
    before = history[-length - seam : -length]
    share = (np.arange(seam) + 1) / seam
    loop[-seam:] = loop[-seam:] * np.sqrt(1 - share) + before * np.sqrt(share)
    return loop


def _best_length(history: F32, shortest: int, longest: int) -> int:
    """How far back the music was most like its end: first of its means over `COARSE` samples, then about there exactly."""
    means = history[len(history) % COARSE :].reshape(-1, COARSE).mean(1)
    near = COARSE * _most_alike(means, TEMPLATE // COARSE, -(-shortest // COARSE), longest // COARSE)
    return _most_alike(history, TEMPLATE, max(shortest, near - COARSE), min(longest, near + COARSE))


def _most_alike(signal: F32, template: int, shortest: int, longest: int) -> int:
    """The lag at which the signal was most like its last `template` samples: normalised cross-correlation."""
    past = signal[len(signal) - template - longest : len(signal) - shortest]
    likeness = np.correlate(past, signal[-template:], "valid")
    energy = np.concatenate(([0.0], np.cumsum(past.astype(np.float64) ** 2)))
    energy = energy[template:] - energy[:-template]
    return longest - int(np.argmax(likeness / np.sqrt(energy + 1e-9)))
