"""From the codec's rate to the wire's: one stateful resampler for a listener, whose samples keep exact indexes.

Output sample n is input moment n * rate_in / rate_out, counted from the session's first sample. The law: what is resampled in
pieces equals the whole resampled at once, and a resampler that begins anywhere, warmed by `WARM` samples, equals one that began
at the beginning. Both hold bit for bit, since libswresample computes each output from the same inputs with the same phase.
"""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from engine.frames import F32
from server.ring import Ring

WIRE_RATE = 48_000
WARM = 640
"""Input samples before the first one that counts; the filter reaches back over 22 outputs (measured), 15 inputs."""
FULL_SCALE = 32767

PCM16 = NDArray[np.int16]


class Resampler:
    """Mono. `next`: the index of the output sample that comes next. `first_in` is a multiple of the ratio's denominator."""

    def __init__(self, rate_in: int, rate_out: int = WIRE_RATE, first_in: int = 0) -> None:
        self.ratio = Fraction(rate_out, rate_in)
        self.end_in, self.next = first_in, int(first_in * self.ratio)
        self._rate_in = rate_in
        self._swr = av.AudioResampler(format="flt", layout="mono", rate=rate_out)

    @classmethod
    def within(cls, ring: Ring, first_in: int, rate_in: int) -> Resampler:
        """Goes on at an aligned input index of a signal whose newest samples are in `ring`."""
        begin = max(ring.first, first_in - WARM)
        begin += -begin % Fraction(WIRE_RATE, rate_in).denominator
        resampler = cls(rate_in, first_in=min(begin, first_in))
        if begin < first_in <= ring.end:
            resampler.push(ring.read(begin, first_in - begin))
        return resampler

    def push(self, samples: F32) -> F32:
        """samples: [n]. Returns what can be computed by now, [m]; the filter holds back about 24."""
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = self._rate_in, None, Fraction(1, self._rate_in)
        self.end_in += len(samples)
        return self._out(self._swr.resample(frame))

    def flush(self) -> F32:
        """The rest; nothing may be pushed after it."""
        return self._out(self._swr.resample(None))

    def jump(self, first_in: int) -> None:
        """The next input sample is this one. What the filter still holds is given an index before it."""
        self.next += int((first_in - self.end_in) * self.ratio)
        self.end_in = first_in

    def _out(self, frames: list[av.AudioFrame]) -> F32:
        parts = [frame.to_ndarray()[0].astype(np.float32, copy=False) for frame in frames]
        out = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        self.next += len(out)
        return out


def aligned(out: int, rate_in: int) -> int:
    """The last input sample at or before output sample `out` at which a resampler may begin."""
    ratio = Fraction(WIRE_RATE, rate_in)
    return int(out / ratio) // ratio.denominator * ratio.denominator


def pcm16(samples: F32, channels: int) -> PCM16:
    """[n] float32 to [n, channels] int16; every channel the same, what is louder than full scale clipped."""
    whole = np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE - 1, FULL_SCALE).astype(np.int16)
    return np.repeat(whole[:, None], channels, axis=1)
