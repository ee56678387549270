"""Decoder steps on a device: how long they take by how many streams share one, and what share of the bandwidth that is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from cuestream.gpu.profile import KernelRow, kernel_rows
from engine.backends.base import Backend, DrawCall, StepCall
from engine.backends.lockstep import LockstepBackend
from engine.backends.places import SEGMENTS, Caches, Condition
from engine.sampling import draw_all
from engine.spec import ModelSpec, StreamPolicy
from engine.stream import ScoreStream
from export.imagined import picture
from kernels.store import Store

FRAMES = 20
"""Of a window of 10 s, in room for the longest one, as a server's sessions have it: by that attention is split."""
APART = 619
"""Steps between two streams within what a segment plays: near the golden section of 1000, so that any number is spread evenly."""
REPEATS = 20
WARM_UP = 3


@dataclass(frozen=True, slots=True)
class StepRow:
    """Of one number of streams, each with two segments under guidance, in the middle of what they hold in the long run."""

    streams: int
    ms: float
    """A step, when ten are taken in a call; the host's part is in it."""
    roof_ms: float
    """What it reads, at the rate of a copy on the device."""
    single_ms: float
    """A step, when each is a call."""
    gb_a_step: float
    gb_s: float
    of_copy: float
    """Share of what the device copies in a second."""
    mb_a_stream: float
    """Caches and condition."""


Profiled = dict[int, tuple[list[KernelRow], float] | None]


def step_rows(
    backend: LockstepBackend,
    counts: Sequence[int],
    copy_gb_s: float,
    profiled: Profiled | None = None,
    guided: bool = True,
) -> Iterator[StepRow]:
    """One for each number of streams. The caches hold noise. profiled: numbers whose kernels are wanted, which are put there."""
    streams = list[tuple[Caches, Condition]]()
    for count in sorted(counts):
        while len(streams) < count:
            streams.append(_stream(backend, guided))
        if len(streams) == count == min(counts):
            _fill(streams[0])
        calls = [_call(backend, *stream, lane) for lane, stream in enumerate(streams)]
        many = _seconds(backend, calls, backend.most_steps) / backend.most_steps
        alone = _seconds(backend, calls, 1)
        read = backend.weight_bytes + sum(bytes_read(backend, call.step) for call in calls)
        caches, condition = streams[0]
        if profiled is not None and count in profiled:
            profiled[count] = kernel_rows(partial(backend.draw_all, calls), backend.most_steps)
        yield StepRow(
            count,
            ms=many * 1e3,
            roof_ms=read / 1e6 / copy_gb_s,
            single_ms=alone * 1e3,
            gb_a_step=read / 1e9,
            gb_s=read / many / 1e9,
            of_copy=read / many / 1e9 / copy_gb_s,
            mb_a_stream=(caches.pool.nbytes + condition.pool.nbytes) / 1e6,
        )


def _stream(backend: LockstepBackend, guided: bool) -> tuple[Caches, Condition]:
    spec = backend.spec
    caches = backend.new_caches(SEGMENTS, guided, spec.trained_steps)
    return caches, backend.new_condition(spec.window_slots)


def _fill(stream: tuple[Caches, Condition]) -> None:
    """Noise into the pools of this stream, for all that share them."""
    for pool in (stream[0].pool, stream[1].pool):
        for store in (pool.keys, pool.values):
            noise(store)


def noise(store: Store) -> None:
    """Vectors of about unit length in each number."""
    for place in store.values:  # place by place: a whole pool in float32 would not fit beside itself
        if store.scales is None:
            place.normal_()
        elif place.dtype == torch.int8:
            place.random_(-127, 128)
        else:
            place.copy_(torch.randn(place.shape, device=place.device) * 100)
    if store.scales is not None:
        store.scales.fill_(1 / 64)


def _call(
    backend: LockstepBackend, caches: Caches, condition: Condition, lane: int
) -> DrawCall[Caches, Condition]:
    """Leading segments between half and whole, evenly spread from the middle on; the following one is half a segment behind."""
    length = backend.spec.trained_steps
    half = length // 2
    position = half + (half // 2 + lane * APART) % (length - half - backend.most_steps)
    tokens = np.random.default_rng(lane).integers(
        0, backend.spec.decoder.card, (SEGMENTS, 1, backend.spec.decoder.codebooks)
    )
    step = StepCall(caches, 0, condition, FRAMES, tokens, np.array([position, position - half]))
    return DrawCall(step, 0, StreamPolicy(seed=lane), position, None, backend.most_steps)


def bytes_read(backend: LockstepBackend, call: StepCall[Caches, Condition]) -> int:
    """Of caches and condition, each number once."""
    spec = backend.spec.decoder
    vectors = (int(call.position.sum()) + len(call.position)) * call.caches.rows
    vectors += call.frames * backend.spec.vision.tokens
    keys = call.caches.pool.keys
    each = spec.head_dim * keys.values.element_size() + (2 if keys.scales is not None else 0)
    return 2 * spec.layers * spec.heads * vectors * each


def _seconds(backend: LockstepBackend, calls: list[DrawCall[Caches, Condition]], steps: int) -> float:
    """The median of some calls."""
    calls = [DrawCall(c.step, c.leading, c.policy, c.column, c.allowed, steps) for c in calls]
    took = []
    for _ in range(WARM_UP + REPEATS):
        began = time.perf_counter()
        backend.draw_all(calls)
        took.append(time.perf_counter() - began)
    return float(np.median(took[WARM_UP:]))


@dataclass(frozen=True, slots=True)
class Alone:
    """One stream with guidance that plays as fast as it can, across hand-overs."""

    music_s: float
    step_p50_ms: float
    step_p99_ms: float
    step_roof_ms: float
    """What the mean step reads, at the rate of a copy on the device."""
    p99_over_p50: float
    turn_p50_ms: float
    turn_p99_ms: float
    """A step with the look at a picture before it and the codec behind it."""
    decoder_x_real_time: float
    """Steps of 20 ms over their median."""
    whole_x_real_time: float
    """Seconds of music for a second of everything: frames, steps, codec, Python."""
    first_audio_ms: float
    """From a picture to a stream that was just opened, to the first chunk: median of some."""
    hand_overs: int
    of_copy: float
    """The roof over the median step."""


def playing(backend: LockstepBackend, steps: int) -> tuple[list[KernelRow], float]:
    """The kernels of a whole stream that plays so many steps, of one second."""
    pictures = _pictures(backend.spec, 0)
    return kernel_rows(lambda: _whole(backend, pictures, steps), max(1, steps // backend.spec.code_rate))


def _pictures(spec: ModelSpec, seed: int) -> list[np.ndarray]:
    return [picture(spec.vision.image_size, 5 * i, spec.code_rate, seed) for i in range(64)]


@dataclass(frozen=True, slots=True)
class Played:
    """Of each step, but for the first ones."""

    took_s: list[float]
    turns_s: list[float]
    """A step with what comes before and behind it."""
    calls: list[DrawCall[Any, Any]]
    hand_overs: int


def play(backend: Backend[Any, Any], steps: int, seed: int = 0) -> Played:
    """A live stream: a picture ten times a second, each step in a call of its own, sound taken as it comes.

    A look launches work and does not wait for it; a step's time begins when that is done.
    """
    pictures = _pictures(backend.spec, seed)
    stream = _opened(backend, seed)
    took, turns, calls = list[float](), list[float](), list[DrawCall[Any, Any]]()
    for step in range(steps + WARM_UP):
        turned = time.perf_counter()
        if step % 5 == 0:
            stream.push(pictures[step // 5 % len(pictures)])
        calls.append(stream.ask())
        settle()
        began = time.perf_counter()
        stream.hear(draw_all(backend, calls[-1:])[0])
        took.append(time.perf_counter() - began)
        stream.take()
        turns.append(time.perf_counter() - turned)
    return Played(took[WARM_UP:], turns[WARM_UP:], calls[WARM_UP:], stream.segments.leading.ordinal)


def _opened(backend: Backend[Any, Any], seed: int = 0) -> ScoreStream:
    return ScoreStream(backend, StreamPolicy(seed=seed), backend.spec.window_slots)


def settle() -> None:
    """Wait for all that was launched on the device, by whatever library."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def p50_p99_ms(took_s: Sequence[float]) -> tuple[float, float]:
    p50, p99 = np.percentile(np.array(took_s) * 1e3, (50, 99))
    return float(p50), float(p99)


def alone(backend: LockstepBackend, steps: int, copy_gb_s: float) -> Alone:
    """The whole live stream, as fast as it goes."""
    pictures = _pictures(backend.spec, 0)
    first = [_first_audio(backend, pictures[i]) for i in range(6)]
    played = play(backend, steps)
    p50, p99 = p50_p99_ms(played.took_s)
    read = backend.weight_bytes + np.mean([bytes_read(backend, call.step) for call in played.calls])
    roof_ms = float(read) / 1e6 / copy_gb_s
    turns_s, hand_overs = played.turns_s, played.hand_overs
    del played  # its caches are the next one's
    whole_s, music_s = _whole(backend, pictures, steps)
    return Alone(
        music_s,
        p50,
        p99,
        roof_ms,
        p99 / p50,
        *p50_p99_ms(turns_s),
        20 / p50,
        music_s / whole_s,
        float(np.median(first[1:])) * 1e3,
        hand_overs,
        roof_ms / p50,
    )


def _first_audio(backend: LockstepBackend, pixels: np.ndarray) -> float:
    began = time.perf_counter()
    stream = _opened(backend)
    stream.push(pixels)
    while stream.take() is None:
        stream.hear(backend.draw_all([stream.ask(backend.most_steps)])[0])
    return time.perf_counter() - began


def _whole(backend: LockstepBackend, pictures: list[np.ndarray], steps: int) -> tuple[float, float]:
    """Seconds that so many steps take with everything, and the music's seconds."""
    stream = _opened(backend, 1)
    began, first = time.perf_counter(), 0
    while stream.now < steps:
        if not first and stream.now >= steps // 10:  # graphs of all shapes were made by then
            began, first = time.perf_counter(), stream.now
        stream.push(pictures[stream.now // 5 % len(pictures)])
        taken = 0
        while taken < 5:
            columns = backend.draw_all([stream.ask(5 - taken)])[0]
            stream.hear(columns)
            taken += len(columns)
        stream.take()
    return time.perf_counter() - began, (stream.now - first) / backend.spec.code_rate
