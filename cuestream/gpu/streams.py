"""Many live streams on one device, paced by the clock: who would hear a gap, and how old the picture in the sound is.

Each listener shows pictures and plays chunks as they come. The engine ticks once for each chunk's length, so that all streams
take their steps together; whose lead is under `LEAD_S` takes part. Listeners begin one after another. Pictures are decoded and
known by their thumbnails before the run, as if others did that. Continuity as in the field: C100 is the share of streams whose
worst buffer deficit is at most 100 ms; a listener who began to play with its first chunk needs chunk n before n chunks have
played.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from cuestream.gpu.device import power_w
from engine.backends.lockstep import LockstepBackend
from engine.batcher import Batcher, advance_all
from engine.codec import look_ahead
from engine.frames import Frame
from engine.spec import StreamPolicy
from engine.stream import ScoreStream
from engine.together import take_all
from export.imagined import picture

CHUNK_STEPS = 5
CHUNK_S = CHUNK_STEPS / 50
LEAD_S = 0.15
PICTURES_S = 0.2
"""Between two pictures of a listener."""
SCENES = 8
"""Films that listeners watch, each from another moment on."""


@dataclass(slots=True)
class Listener:
    stream: ScoreStream
    ahead: int
    """Code frames that the codec looks ahead."""
    began_s: float
    shown_s: float = -1.0
    shown: int = 0
    first_s: float | None = None
    deficit_s: float = 0.0
    """How much later than needed the latest chunk came; below 0 it was in time."""
    chunks: int = 0
    steps: dict[int, float] = field(default_factory=dict)
    """When the picture of a step was shown; bound by how long the run is."""
    ages_s: list[float] = field(default_factory=list)
    answers_s: list[float] = field(default_factory=list)
    answered: int = -1

    def lead_s(self, now_s: float) -> float:
        """Sound that came and was not heard yet."""
        if self.first_s is None:
            return 0.0
        return self.chunks * CHUNK_S - (now_s - self.first_s)

    def due(self, now_s: float) -> int:
        """Steps to the end of the next chunk."""
        if not self.steps or self.lead_s(now_s) >= LEAD_S:
            return 0
        return max(1, (self.chunks + 1) * CHUNK_STEPS + self.ahead - self.stream.frames)

    def hear(self, now_s: float, newest_step: int) -> None:
        if self.first_s is None:
            self.first_s = now_s
        due_s = self.first_s + self.chunks * CHUNK_S
        self.deficit_s = max(self.deficit_s, now_s - due_s)
        shown_s = self.steps[newest_step]
        self.ages_s.append(max(now_s, due_s) - shown_s)
        if newest_step > self.answered:
            self.answered = newest_step
            self.answers_s.append(now_s - shown_s)
        self.chunks += 1


@dataclass(frozen=True, slots=True)
class StreamsRow:
    """A paced run. busy: share of the time that the engine worked. ages and answers: milliseconds, over all chunks."""

    streams: int
    seconds: float
    c50: float
    c100: float
    c200: float
    worst_ms: float
    busy: float
    tick_p50_ms: float
    tick_p99_ms: float
    shown: float
    """Share of that in which pictures were compared and put into mailboxes; then that of encoding and steps, and of the codec."""
    stepping: float
    codec: float
    answer_p50_ms: float
    answer_p95_ms: float
    age_p50_ms: float
    age_p95_ms: float
    first_p50_ms: float
    first_p95_ms: float
    power_w: float | None = None


def paced(backend: LockstepBackend, count: int, seconds: float, joining_s: float = 2.0) -> StreamsRow:
    """So many listeners for so long."""
    films = [_film(backend, seed) for seed in range(SCENES)]
    _warm(backend, count, films[0])
    batcher = Batcher[int](time.perf_counter)
    listeners = dict[int, Listener]()
    began_s = now_s = time.perf_counter()
    tick_s, took, spent = began_s, list[float](), np.zeros(3)
    while now_s < began_s + joining_s + seconds:
        while len(listeners) < count and now_s >= began_s + joining_s * len(listeners) / count:
            _join(backend, batcher, listeners, now_s)
        moments = [time.perf_counter()]
        _show(listeners, films, now_s)
        moments.append(time.perf_counter())
        ticked = batcher.tick(partial(_due, listeners, now_s))
        for error in ticked.failed.values():
            raise error
        moments.append(time.perf_counter())
        _take([listeners[key] for key in ticked.advanced])
        moments.append(time.perf_counter())
        took.append(moments[-1] - moments[0])
        spent += np.diff(moments)
        tick_s = max(tick_s + CHUNK_S, moments[-1] - CHUNK_S)
        time.sleep(max(0.0, tick_s - time.perf_counter()))
        now_s = time.perf_counter()
    power = power_w() if backend.device.type == "cuda" else None  # it is a mean over the last second
    return _row(list(listeners.values()), seconds + joining_s, took, spent, power)


def _warm(backend: LockstepBackend, count: int, film: list[Frame]) -> None:
    """Let as many streams play a second as fast as they can: kernels are compiled and graphs made."""
    streams = [ScoreStream(backend, StreamPolicy(seed=key)) for key in range(count)]
    for picture_of_tick in film[:10]:
        for stream in streams:
            stream.push(picture_of_tick)
        advance_all([(stream, CHUNK_STEPS) for stream in streams])
        take_all(streams)


def _film(backend: LockstepBackend, seed: int) -> list[Frame]:
    """Pictures of ten seconds, with what they are compared by."""
    side, rate = backend.spec.vision.image_size, backend.spec.code_rate
    steps = (round(i * PICTURES_S * rate) for i in range(round(10 / PICTURES_S)))
    film = [Frame(picture(side, step, rate, seed), 0) for step in steps]
    for frame in film:
        _ = frame.thumbnail, frame.colours
    return film


def _join(
    backend: LockstepBackend, batcher: Batcher[int], listeners: dict[int, Listener], now_s: float
) -> None:
    key = len(listeners)
    stream = ScoreStream(backend, StreamPolicy(seed=key))
    listeners[key] = Listener(stream, look_ahead(stream.codec_spec), now_s)
    batcher.join(key, listeners[key].stream)


def _show(listeners: dict[int, Listener], films: Sequence[list[Frame]], now_s: float) -> None:
    """A picture for everybody who saw none for `PICTURES_S`."""
    for key, listener in listeners.items():
        if now_s < listener.shown_s + PICTURES_S:
            continue
        film = films[key % len(films)]
        listener.stream.push(film[(key * 7 + listener.shown) % len(film)])
        listener.shown, listener.shown_s = listener.shown + 1, now_s
        listener.steps[listener.stream.now] = now_s


def _due(listeners: dict[int, Listener], now_s: float, key: int) -> int:
    return listeners[key].due(now_s)


def _take(listeners: Sequence[Listener]) -> None:
    chunks = take_all([listener.stream for listener in listeners])
    now_s = time.perf_counter()
    for listener, chunk in zip(listeners, chunks, strict=True):
        if isinstance(chunk, Exception):
            raise chunk
        if chunk is not None:
            listener.hear(now_s, chunk.newest_step)


def _row(
    listeners: Sequence[Listener], seconds: float, took: list[float], spent: np.ndarray, power: float | None
) -> StreamsRow:
    worst = np.array([listener.deficit_s for listener in listeners]) * 1e3
    ages = np.concatenate([listener.ages_s[len(listener.ages_s) // 5 :] for listener in listeners]) * 1e3
    answers = np.concatenate([listener.answers_s[1:] for listener in listeners]) * 1e3
    first = np.array([(listener.first_s or np.inf) - listener.began_s for listener in listeners]) * 1e3
    shown, step, decoding = spent / max(sum(took), 1e-9)
    return StreamsRow(
        len(listeners),
        seconds,
        c50=float((worst <= 50).mean()),
        c100=float((worst <= 100).mean()),
        c200=float((worst <= 200).mean()),
        worst_ms=float(worst.max()),
        busy=sum(took) / seconds,
        tick_p50_ms=_percentile(np.array(took) * 1e3, 50),
        tick_p99_ms=_percentile(np.array(took) * 1e3, 99),
        shown=float(shown),
        stepping=float(step),
        codec=float(decoding),
        answer_p50_ms=_percentile(answers, 50),
        answer_p95_ms=_percentile(answers, 95),
        age_p50_ms=_percentile(ages, 50),
        age_p95_ms=_percentile(ages, 95),
        first_p50_ms=_percentile(first, 50),
        first_p95_ms=_percentile(first, 95),
        power_w=power,
    )


def _percentile(values: np.ndarray, percent: float) -> float:
    """Not a number where nothing came."""
    return float(np.percentile(values, percent)) if len(values) else float("nan")
