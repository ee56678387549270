"""The video's own sound on the output's samples: each stretch where it was captured, and the pictures' delay later.

    stretch captured at sample s ─► resampled, stereo ─► held ─► mixed with the music of sample s + delay

A stretch goes on where the one before it ended, so that an unsteady network is not heard. The line is moved only when one comes
earlier than its place by more than `TOLERANCE`, which says that those before had been late; or when all of the last `WINDOW`
came later than that, which says that the clocks differ. What comes after its place has sounded, or twice, is left out.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import av
import numpy as np
from av.audio.resampler import AudioResampler

from engine.frames import F32
from server.audio.original_sound import Sound
from server.audio.packing import LAYOUTS
from server.audio.resampling import WIRE_RATE

TOLERANCE = WIRE_RATE // 50
"""20 ms."""
WINDOW = WIRE_RATE
FADE = WIRE_RATE // 200
"""5 ms at either end of what stands alone."""
KNEE = 0.8
"""Of full scale, 2 dB under it."""
NEVER = 2**62


@dataclass(slots=True)
class Piece:
    """samples: [n, 2]. faded: nothing is to go on from its end."""

    first: int
    samples: F32
    faded: bool = False

    @property
    def end(self) -> int:
        return self.first + len(self.samples)


class Original:
    """gain: a factor. taken: the output's sample that is mixed next. most: samples that are held beyond it.

    `samples`, `lost`: how many were mixed, and how many left out, but for those from before it began.
    """

    def __init__(self, gain: float, taken: int, most: int) -> None:
        self.samples = self.lost = 0
        self._gain, self._most = np.float32(gain), most
        self._began = self._taken = taken
        self._pieces: deque[Piece] = deque()
        """In order and apart. Bound: `most`, then what is new is left out."""
        self._last = Piece(taken, np.zeros((0, 2), np.float32), faded=True)  # the newest that was ever held
        self._next = taken  # where the next stretch goes on
        self._least, self._counted = NEVER, 0  # how late all were at least, over how many samples
        self._converter: Converter | None = None

    def put(self, sample: int, sound: Sound) -> None:
        """sample: where its first one belongs, by when it was captured."""
        goes_on = sound.goes_on and self._converter is not None and self._converter.takes(sound)
        if not goes_on:
            self._converter = Converter(sound)
        assert self._converter is not None
        samples = self._converter.convert(sound)
        first = self._place(sample, len(samples), goes_on)
        self._next = first + len(samples)
        self._hold(first, samples)

    def _place(self, sample: int, count: int, goes_on: bool) -> int:
        """Where a stretch begins."""
        late = sample - self._next
        if not goes_on or late < -TOLERANCE or self._next + count <= self._taken:
            self._least, self._counted = NEVER, 0
            return sample
        self._least, self._counted = min(self._least, late), self._counted + count
        if self._counted < WINDOW:
            return self._next
        moved = self._least if self._least > TOLERANCE else 0
        self._least, self._counted = NEVER, 0
        return self._next + moved

    def _hold(self, first: int, samples: F32) -> None:
        """What is past, or beyond what may be held, is left out."""
        before = min(len(samples), max(0, self._began - first))
        skipped = min(len(samples), max(before, max(self._last.end, self._taken) - first))
        first, kept = first + skipped, samples[skipped:]
        if first + len(kept) - self._taken > self._most:
            kept = kept[:0]
        self.lost += len(samples) - len(kept) - before
        if not len(kept):
            return
        kept = kept * self._gain
        if self._last.faded or first != self._last.end:
            _fade_in(kept)
        self._last = Piece(first, kept)
        self._pieces.append(self._last)

    def take(self, first: int, count: int) -> F32 | None:
        """[count, 2], silent between stretches; None where there is none. Each sample is taken once, in order."""
        self._taken = end = first + count
        mixed: F32 | None = None
        for number, piece in enumerate(self._pieces):
            if piece.first >= end:
                break
            self._finish(number, end)
            begin, stop = max(first, piece.first), min(end, piece.end)
            if begin < stop:
                mixed = np.zeros((count, 2), np.float32) if mixed is None else mixed
                mixed[begin - first : stop - first] = piece.samples[begin - piece.first : stop - piece.first]
                self.samples += stop - begin
        while self._pieces and self._pieces[0].end <= end:
            self._pieces.popleft()
        return mixed

    def _finish(self, number: int, end: int) -> None:
        """Fade a piece out whose end is reached and that nothing goes on from."""
        piece = self._pieces[number]
        followed = piece is not self._last and self._pieces[number + 1].first == piece.end
        if not piece.faded and not followed and piece.end <= end + FADE:
            piece.faded = True
            _fade_in(piece.samples[::-1])


class Converter:
    """Stretches of one kind as stereo at the output's rate; it keeps what the filter needs from one to the next."""

    def __init__(self, sound: Sound) -> None:
        self._form = (sound.rate, sound.channels)
        layout = LAYOUTS[sound.channels]
        self._resampler = None if sound.rate == WIRE_RATE else AudioResampler("flt", layout, WIRE_RATE)

    def takes(self, sound: Sound) -> bool:
        return self._form == (sound.rate, sound.channels)

    def convert(self, sound: Sound) -> F32:
        """[n, 2]; a filter holds the last few back."""
        samples = sound.floats()
        if self._resampler is not None:
            samples = self._resampled(self._resampler, samples, sound)
        return samples if sound.channels == 2 else np.repeat(samples, 2, axis=1)

    def _resampled(self, resampler: AudioResampler, samples: F32, sound: Sound) -> F32:
        packed = np.ascontiguousarray(samples).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, "flt", LAYOUTS[sound.channels])
        frame.sample_rate = sound.rate
        parts = [part.to_ndarray().reshape(-1, sound.channels) for part in resampler.resample(frame)]
        return np.concatenate([np.zeros((0, sound.channels), np.float32), *parts])


def limited(samples: F32) -> F32:
    """Peaks above `KNEE` are rounded off under full scale; everything else is left as it is."""
    loudness = np.abs(samples)
    over = loudness > KNEE
    if not over.any():
        return samples
    rounded = KNEE + (1 - KNEE) * np.tanh((loudness[over] - KNEE) / (1 - KNEE))
    samples[over] = np.copysign(rounded, samples[over])
    return samples


def _fade_in(samples: F32) -> None:
    """In place; [n, 2]."""
    count = min(FADE, len(samples))
    samples[:count] *= (np.arange(1, count + 1, dtype=np.float32) / np.float32(count + 1))[:, None]
