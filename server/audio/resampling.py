"""From the codec's rate to the wire's: one stateful resampler for a listener, whose samples keep exact indexes.

Output sample n is input moment n * rate_in / WIRE_RATE, counted from the session's first sample. The law: what is resampled in
pieces equals the whole resampled at once, and a resampler that begins anywhere, warmed by `WARM` samples, equals one that began
at the beginning. Both hold bit for bit, since libswresample computes each output from the same inputs with the same phase.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from engine.frames import F32
from server.core.ring import Ring

WIRE_RATE = 48_000
WARM = 640
"""Input samples before the first one that counts; the filter reaches back over 22 outputs (measured), 15 inputs."""
FULL_SCALE = np.float32(32767)
FORMAT, LAYOUT = "flt", "mono"

PCM16 = NDArray[np.int16]


class Resampler:
    """Mono. `next`: the index of the output sample that comes next. `first_in` is a multiple of the ratio's denominator."""

    def __init__(self, rate_in: int, first_in: int = 0) -> None:
        self.ratio = Fraction(WIRE_RATE, rate_in)
        self.end_in, self.next = first_in, int(first_in * self.ratio)
        self._graph = _graph(rate_in)
        self._form = Fraction(1, rate_in), rate_in

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
        frame = av.AudioFrame(FORMAT, LAYOUT, len(samples))
        frame.planes[0].update(np.ascontiguousarray(samples, np.float32).data)  # type: ignore[arg-type]
        frame.time_base, frame.sample_rate = self._form
        self.end_in += len(samples)
        self._graph.push(frame)
        return self._out(self._pull())

    def flush(self) -> F32:
        """The rest; nothing may be pushed after it."""
        self._graph.push(None)
        parts = [np.zeros(0, np.float32)]
        while (part := self._pull()) is not None:
            parts.append(part)
        return self._out(np.concatenate(parts))

    def jump(self, first_in: int) -> None:
        """The next input sample is this one. What the filter still holds is given an index before it."""
        self.next += int((first_in - self.end_in) * self.ratio)
        self.end_in = first_in

    def _pull(self) -> F32 | None:
        """What one push became; None when the filter needs more, or at the end."""
        try:
            frame = self._graph.pull()
        except (BlockingIOError, EOFError):
            return None
        assert isinstance(frame, av.AudioFrame)
        return np.frombuffer(memoryview(frame.planes[0]), np.float32, frame.samples)

    def _out(self, samples: F32 | None) -> F32:
        out = np.zeros(0, np.float32) if samples is None else samples
        self.next += len(out)
        return out


def _graph(rate_in: int) -> Graph:
    """libswresample as a filter. PyAV's own resampler asks it once more after each piece, which raises, and costs more than
    the filter does."""
    graph = Graph()
    graph.threads = 1  # else each has threads of its own, and there is one for each listener
    source = graph.add_abuffer(
        format=FORMAT, sample_rate=rate_in, layout=LAYOUT, time_base=Fraction(1, rate_in)
    )
    form = graph.add("aformat", f"sample_rates={WIRE_RATE}:sample_fmts={FORMAT}:channel_layouts={LAYOUT}")
    sink = graph.add("abuffersink")
    source.link_to(form)
    form.link_to(sink)
    graph.configure()
    return graph


def on_the_wire(sample: int, rate_in: int) -> int:
    """The index that an input sample has at `WIRE_RATE`."""
    return sample * WIRE_RATE // rate_in


def aligned(out: int, rate_in: int) -> int:
    """The last input sample at or before output sample `out` at which a resampler may begin."""
    numerator, denominator = _ratio(rate_in)
    return out * denominator // numerator // denominator * denominator


@cache  # bound: the rates of codecs that are played
def _ratio(rate_in: int) -> tuple[int, int]:
    return Fraction(WIRE_RATE, rate_in).as_integer_ratio()


def pcm16(samples: F32, channels: int) -> PCM16:
    """[n] float32 to [n, channels] int16; every channel the same, what is louder than full scale clipped."""
    scaled = samples * FULL_SCALE
    np.rint(scaled, out=scaled)
    mono = scaled.clip(-FULL_SCALE - 1, FULL_SCALE, out=scaled).astype(np.int16)
    return both(mono) if channels == 2 else mono[:, None].repeat(channels, axis=1)


def both(mono: PCM16) -> PCM16:
    """[n] to [n, 2], by one product for each pair: half the time of writing one channel and then the other."""
    pairs = mono.view(np.uint16).astype(np.uint32)
    pairs *= np.uint32(0x10001)
    return pairs.view(np.int16).reshape(-1, 2)
