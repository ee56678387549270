"""Playout: music that waits becomes chunks with an absolute index when they are due, and a loop where it came too late.

    engine ─► Music ─► waiting (the lead) ─► place(now), due by the clock ─► ring of placed samples ─► delivery

Audio is the master clock: a chunk is placed when its first sample is due, never earlier and whether or not the engine kept up.
The lead, what is ready beyond the position, is kept under `high`: `wanted` says how far the engine is to go. Music that comes
late is played late, not dropped: placed index = music index + what was concealed before.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, deque
from dataclasses import dataclass

import msgspec
import numpy as np
from msgspec.structs import replace

from engine.frames import F32
from server.core.clock import PlayClock
from server.core.conceal import Concealer, needed
from server.core.mixing import Mix, crossfade
from server.core.ring import Ring

NONE: F32 = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class Limits:
    """All in samples."""

    rate: int = 32000
    chunk: int = 640
    """What is placed and delivered at once."""
    low: int = 4800
    """So much must be ready before the first sample sounds, and after concealment: 150 ms."""
    high: int = 10880
    """More than this is never made: what is written early is deaf to the pictures that follow. 340 ms."""
    window: int = 31 * 32000
    """Placed samples that are kept for a client that comes back: the resume window and a little."""
    back: int = 8000
    """Crossfade from concealment, or from the music before a reset, to music: 250 ms."""
    rebase: int = 16000
    """A loop that was asleep for longer (500 ms) makes nothing up: the clock starts again where it stopped."""

    def led_by(self, lead_ms: int) -> Limits:
        """The same with so much music made at most, of which as large a share is ready before the first sample sounds."""
        high = lead_ms * self.rate // 1000
        return dataclasses.replace(self, high=high, low=max(self.chunk, high * self.low // self.high))

    def left_when_asked(self, piece: int) -> int:
        """Samples in whole chunks that are left when a piece is asked for, at the least: what its answer may take.

        It is asked for when a chunk is placed and `high` has room for it beside that chunk and the music that is ready, which is
        a multiple of `grain`. Less than a chunk is too little: the next one would be due before anything was asked for.
        """
        grain = math.gcd(piece, self.chunk)
        too_much = ((self.high - self.chunk - piece) // grain + 1) * grain
        return too_much // self.chunk * self.chunk

    def most_ready(self, piece: int) -> int:
        """Samples of music in whole pieces that are made while chunks are made up."""
        return (self.high - self.chunk) // piece * piece


class Music(msgspec.Struct, frozen=True, gc=False):
    """samples: float32 [n] from the engine; `first` counts from the beginning of the `take`, the stream that played them."""

    samples: F32
    first: int
    newest_step: int
    age_steps: int
    segment: int
    seed: int
    revision: int = 0
    """Of the policy."""
    take: int = 0

    def part(self, begin: int, end: int) -> Music:
        """Samples [begin, end) of it."""
        return self._with(self.samples[begin:end], self.first + begin)

    def bare(self) -> Music:
        """Without its samples, and without a view that would keep them in memory."""
        return self._with(NONE, self.first)

    def _with(self, samples: F32, first: int) -> Music:
        about = (self.newest_step, self.age_steps, self.segment, self.seed, self.revision, self.take)
        return Music(samples, first, *about)


class Placed(msgspec.Struct, frozen=True, gc=False):
    """What is known of a placed chunk."""

    first: int
    about: Music
    concealed: bool
    crossfade: bool
    mix_revision: int


class Playout:
    """One session's music from the engine to the ring. `clock` is None while nothing sounds."""

    def __init__(self, limits: Limits, placed: int = 0) -> None:
        """placed: the index of the first sample that is placed here; a multiple of the chunk."""
        self.limits = limits
        self.clock: PlayClock | None = None
        self.ring = Ring(limits.window, placed)
        self.spans: deque[Placed] = deque(maxlen=limits.window // limits.chunk)  # full: the oldest goes
        self.waiting: deque[Music] = deque()  # bound: `high` and one piece, for the engine obeys `wanted`
        self.mix, self.mix_revision = Mix(), 0
        self.counts: Counter[str] = Counter()
        self.take, self.played = 0, 0
        """The stream that plays, and how many of its samples were placed."""
        self._last = Music(NONE, 0, 0, 0, 0, 0)
        """What is known of the newest sample, bare."""
        self._history = Ring(needed(limits.rate), placed)  # what sounded, before it was mixed
        self._concealer: Concealer | None = None
        self._returned = 0  # samples of the crossfade back that are past; 0: not on the way back

    @property
    def ready(self) -> int:
        """Samples of music that wait."""
        return sum(len(piece.samples) for piece in self.waiting)

    @property
    def concealing(self) -> bool:
        return self._concealer is not None

    def position(self, now_s: float) -> int:
        """The sample that sounds now."""
        return self.clock.position(now_s) if self.clock else self.ring.end

    def beside(self, now_s: float) -> int:
        """Where a picture or original sound lies that comes now: at the sample that sounds, after a long sleep where the clock
        goes on."""
        return self.ring.end if self._overslept(now_s) else self.position(now_s)

    def _overslept(self, now_s: float) -> bool:
        return self.position(now_s) - self.ring.end > self.limits.rebase

    def lead(self, now_s: float) -> int:
        """Samples that are placed or ready beyond the position, after a long sleep beyond where the clock goes on."""
        return self.ring.end + self.ready - self.beside(now_s)

    def left(self, now_s: float) -> int:
        """Samples that can be heard before some would be made up, were no more music to come: chunks are placed whole."""
        return self.lead(now_s) - self.ready % self.limits.chunk

    def wanted(self, now_s: float) -> int:
        """Samples of this take that the engine may have made by now; the lead stays under `high` by it."""
        return max(0, self.played + self.position(now_s) - self.ring.end + self.limits.high)

    def sounding(self, now_s: float) -> int:
        """The sample of this take that sounds now."""
        return max(0, self.played + self.position(now_s) - self.ring.end)

    def start(self, now_s: float, sample: int | None = None) -> None:
        """Let `sample` (default: the next one to be placed) sound now, and the others when it is their turn."""
        self.clock = PlayClock(self.limits.rate, now_s, self.ring.end if sample is None else sample)

    def freeze(self) -> None:
        """Let no time pass."""
        self.clock = None

    def add(self, piece: Music) -> None:
        """Take music from the engine; what is not a number is silence.

        That of an older take is dropped; that of a newer one takes over by a crossfade.
        """
        if not math.isfinite(
            piece.samples.dot(piece.samples)
        ):  # a tenth of the time of asking for each sample
            piece = replace(piece, samples=np.zeros_like(piece.samples))
        if piece.take < self.take:
            return
        if piece.take > self.take:
            piece = self._take_over(piece)
        self.waiting.append(piece)

    def _take_over(self, piece: Music) -> Music:
        """What waits of the old take fades out under the first samples of the new one."""
        old = self._pull(self.ready)[: min(self.limits.back, len(piece.samples))]
        self.take, self.played = piece.take, 0
        if not len(old):
            self._conceal()
            self._returned = 1
            return piece
        mixed = np.concatenate((crossfade(old, piece.samples[: len(old)]), piece.samples[len(old) :]))
        return replace(piece, samples=mixed)

    def begin_take(self, take: int) -> None:
        """Drop the music that waits; the next is that of another take."""
        self.waiting.clear()
        self.take, self.played = take, 0

    def newest(self, samples: int) -> tuple[F32, tuple[Placed, ...]]:
        """What was placed last, at most so many samples in whole chunks, and what is known of it."""
        count = min(len(self.spans), samples // self.limits.chunk)
        spans = tuple(self.spans)[len(self.spans) - count :]
        return self.ring.newest(count * self.limits.chunk), spans

    def put_back(self, samples: F32, spans: tuple[Placed, ...]) -> None:
        """Go on behind what `newest` gave."""
        self.ring.write(samples)
        self._history.write(samples[-needed(self.limits.rate) :])
        self.spans.extend(spans)

    def jump(self, sample: int) -> None:
        """Place the next chunk at this index, or less than a chunk after it; what was placed is forgotten."""
        chunk = self.limits.chunk
        self.ring = Ring(self.limits.window, -(-sample // chunk) * chunk)
        self.spans.clear()

    def place(self, now_s: float) -> None:
        """Place every chunk that is due."""
        if self.clock is None:
            return
        if self._overslept(now_s):
            self.start(now_s)
        while self.clock and self.clock.position(now_s) >= self.ring.end:
            self.place_one()

    def place_one(self) -> None:
        """Place the next chunk, from the music that waits or from the loop."""
        first = self.ring.end
        samples, concealed, faded = self._next()
        self._history.write(samples)
        self.ring.write(self.mix.apply(samples, first))
        self.spans.append(Placed(first, self._last, concealed, faded, self.mix_revision))
        self.counts["placed_samples"] += len(samples)
        self.counts["concealed_samples"] += len(samples) * concealed

    def _next(self) -> tuple[F32, bool, bool]:
        """A chunk, whether some of it is made up, and whether it is crossfaded."""
        chunk, enough = self.limits.chunk, self.ready >= self.limits.chunk
        if self._concealer is None and enough:
            return self._pull(chunk), False, False
        if self._returned and enough:
            return self._return(chunk), True, True
        if self._concealer is not None and not self._returned:
            if self.ready < self.limits.low:
                return self._concealer.play(chunk), True, False
            self._returned = 1
            return self._return(chunk), True, True
        tail = self._pull(self.ready)  # too little: it ends here, or ends again on the way back
        self._conceal(tail)
        assert self._concealer is not None
        return np.concatenate((tail, self._concealer.play(chunk - len(tail)))), True, False

    def _conceal(self, tail: F32 | None = None) -> None:
        """Begin a loop of what sounded last, `tail` the very last of it."""
        history = self._history.newest(needed(self.limits.rate))
        history = history if tail is None else np.concatenate((history, tail))
        self._concealer, self._returned = Concealer.after(history, self.limits.rate), 0

    def _return(self, chunk: int) -> F32:
        """From the loop to the music, as far as the chunk goes."""
        assert self._concealer is not None
        mixed = crossfade(
            self._concealer.play(chunk), self._pull(chunk), self._returned - 1, self.limits.back
        )
        self._returned += chunk
        if self._returned > self.limits.back:
            self._concealer, self._returned = None, 0
        return mixed

    def _pull(self, count: int) -> F32:
        """The next samples of music that wait; there are so many."""
        parts = []
        while count:
            piece = self.waiting.popleft()
            if len(piece.samples) > count:
                self.waiting.appendleft(piece.part(count, len(piece.samples)))
                piece = piece.part(0, count)
            self._last = piece.bare()
            self.played += len(piece.samples)
            count -= len(piece.samples)
            parts.append(piece.samples)
        return parts[0] if len(parts) == 1 else np.concatenate([NONE, *parts])
