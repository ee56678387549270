"""Many live streams on one device, paced by the clock: who would hear a gap, and how old the picture in the sound is.

Each listener shows pictures and plays chunks as they come. The engine ticks once for each chunk's length, so that all streams
take their steps together; whose lead is under `LEAD_S` takes part. Listeners begin one after another, and as if they had played
for long: their segments hold as many columns as they do on average then. Pictures are decoded and known by their thumbnails
before the run, as if others did that. Continuity as in the field: C100 is the share of streams whose worst buffer deficit is at
most 100 ms; a listener who began to play with its first chunk needs chunk n before n chunks have played.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cuestream.gpu.device import power_w
from cuestream.gpu.profile import KernelRow, kernel_rows
from cuestream.gpu.steps import APART
from engine.backends.lockstep import LockstepBackend
from engine.batcher import Batcher
from engine.frames import Frame
from engine.segments import context_steps
from engine.spec import StreamPolicy
from engine.stream import ScoreStream
from engine.together import take_all
from export.imagined import picture

CHUNK_STEPS = 5
CHUNK_S = CHUNK_STEPS / 50
LEAD_S = 0.15
PICTURES_S = 0.2
"""Between two pictures of a listener."""
PROFILED_TICKS = 10
SCENES = 8
"""Films that listeners watch, each from another moment on."""


@dataclass(slots=True)
class Heard:
    """What one listener heard. All seconds are of one clock, which the processes of a machine share."""

    began_s: float
    first_s: float | None = None
    deficit_s: float = 0.0
    """How much later than needed the latest chunk came at worst, or had not come at the end."""
    chunks: int = 0
    ages_s: list[float] = field(default_factory=list)
    answers_s: list[float] = field(default_factory=list)

    @property
    def due_s(self) -> float:
        """When the next chunk is needed: the first one from the beginning on."""
        return self.began_s if self.first_s is None else self.first_s + self.chunks * CHUNK_S

    def end(self, now_s: float) -> None:
        """The run is over; what did not come by now is late by now."""
        self.deficit_s = max(self.deficit_s, now_s - self.due_s)


@dataclass(slots=True)
class Listener:
    stream: ScoreStream
    heard: Heard
    shown_s: float = -1.0
    shown: int = 0
    steps: dict[int, float] = field(default_factory=dict)
    """When the picture of a step was shown; bound by how long the run is."""
    answered: int = -1

    def lead_s(self, now_s: float) -> float:
        """Sound that came and was not heard yet."""
        first_s = self.heard.first_s
        return 0.0 if first_s is None else self.heard.chunks * CHUNK_S - (now_s - first_s)

    def due(self, now_s: float) -> int:
        """Steps until the next chunk can be taken."""
        return 0 if not self.steps or self.lead_s(now_s) >= LEAD_S else self.stream.lacks

    def hear(self, now_s: float, newest_step: int) -> None:
        heard = self.heard
        if heard.first_s is None:
            heard.first_s = now_s
        due_s = heard.due_s
        heard.deficit_s = max(heard.deficit_s, now_s - due_s)
        shown_s = self.steps[newest_step]
        heard.ages_s.append(max(now_s, due_s) - shown_s)
        if newest_step > self.answered:
            self.answered = newest_step
            heard.answers_s.append(now_s - shown_s)
        heard.chunks += 1


@dataclass(slots=True)
class Run:
    """What an engine did, in its ticks. spent_s: in showing pictures, in looks and steps, in the codec."""

    seconds: float
    heard: list[Heard] = field(default_factory=list)
    ticks_s: list[float] = field(default_factory=list)
    spent_s: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    power_w: float | None = None


@dataclass(frozen=True, slots=True)
class StreamsRow:
    """A paced run. busy: share of the time that the engine worked. ages and answers: milliseconds, over all chunks."""

    streams: int
    processes: int
    context_s: float
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


def paced(
    backend: LockstepBackend, count: int, seconds: float, policy: StreamPolicy, joining_s: float = 2.0
) -> StreamsRow:
    """So many listeners for so long."""
    return row([listen(backend, range(count), seconds, policy, joining_s)], policy)


def listen(
    backend: LockstepBackend,
    keys: Sequence[int],
    seconds: float,
    policy: StreamPolicy,
    joining_s: float = 2.0,
    ready: Callable[[], object] = lambda: None,
) -> Run:
    """Listeners by these numbers. ready: is called when everything is made, and may wait for others."""
    audience = Audience(backend, policy)
    backend.prepare(policy)
    gc.collect()
    gc.freeze()
    try:
        ready()
        run = _listen(audience, keys, seconds, joining_s)
        # a mean over the last second
        run.power_w = power_w(backend.device) if backend.device.type == "cuda" else None
    finally:
        gc.unfreeze()
    return run


def _listen(audience: Audience, keys: Sequence[int], seconds: float, joining_s: float) -> Run:
    run = Run(seconds + joining_s)
    began_s = now_s = tick_s = time.perf_counter()
    begins_s = [began_s + joining_s * at / len(keys) for at in range(len(keys))]
    while now_s < began_s + joining_s + seconds:
        while (joined := len(audience.listeners)) < len(keys) and now_s >= begins_s[joined]:
            audience.join(keys[joined], now_s)
        moments = [time.perf_counter()]
        audience.show(now_s)
        moments.append(time.perf_counter())
        advanced = audience.step(now_s)
        moments.append(time.perf_counter())
        audience.take(advanced, time.perf_counter)
        moments.append(time.perf_counter())
        run.ticks_s.append(moments[-1] - moments[0])
        run.spent_s = [spent + took for spent, took in zip(run.spent_s, np.diff(moments), strict=True)]
        tick_s = max(tick_s + CHUNK_S, moments[-1] - CHUNK_S)
        time.sleep(max(0.0, tick_s - time.perf_counter()))
        now_s = time.perf_counter()
    run.heard = [listener.heard for listener in audience.listeners.values()]
    run.heard += [Heard(at_s) for at_s in begins_s[len(run.heard) :]]  # who never got in
    for heard in run.heard:
        heard.end(now_s)
    return run


def tick_kernels(backend: LockstepBackend, count: int, policy: StreamPolicy) -> tuple[list[KernelRow], float]:
    """The kernels of a tick of so many listeners, one tick behind another."""
    audience = Audience(backend, policy)
    backend.prepare(policy)
    for key in range(count):
        audience.join(key, 0.0)
    moments = (tick * CHUNK_S for tick in itertools.count())

    def play(ticks: int) -> None:
        for now_s in itertools.islice(moments, ticks):
            audience.show(now_s)
            audience.take(audience.step(now_s), lambda: now_s)  # noqa: B023  # it is asked at once

    play(round(policy.short_term_s / CHUNK_S))  # until windows are full
    return kernel_rows(lambda: play(PROFILED_TICKS), PROFILED_TICKS)


class Audience:
    """Those who listen to one engine, and what it does for them in a tick: `show`, `step`, `take`."""

    def __init__(self, backend: LockstepBackend, policy: StreamPolicy) -> None:
        self._backend, self._policy = backend, policy
        self._films = [_film(backend, seed) for seed in range(SCENES)]
        self._batcher = Batcher[int](time.perf_counter)
        self.listeners: dict[int, Listener] = {}

    def join(self, key: int, now_s: float) -> None:
        stream = ScoreStream(self._backend, replace(self._policy, seed=key))
        _age(stream, key)
        self.listeners[key] = Listener(stream, Heard(now_s))
        self._batcher.join(key, stream)

    def show(self, now_s: float) -> None:
        """A picture for everybody who saw none for `PICTURES_S`."""
        for key, listener in self.listeners.items():
            if now_s < listener.shown_s + PICTURES_S:
                continue
            film = self._films[key % len(self._films)]
            listener.stream.push(film[(key * 7 + listener.shown) % len(film)])
            listener.shown, listener.shown_s = listener.shown + 1, now_s
            listener.steps[listener.stream.now] = now_s

    def step(self, now_s: float) -> tuple[int, ...]:
        """Look and step, to the end of a chunk. Returns whose stream went on; raises what one of them raised."""
        ticked = self._batcher.tick(lambda key: self.listeners[key].due(now_s))
        for error in ticked.failed.values():
            raise error
        return ticked.advanced

    def take(self, keys: Sequence[int], clock: Callable[[], float]) -> None:
        """The chunks of these, which they hear at the time that the clock says then."""
        listeners = [self.listeners[key] for key in keys]
        chunks = take_all([listener.stream for listener in listeners])
        now_s = clock()
        for listener, chunk in zip(listeners, chunks, strict=True):
            if isinstance(chunk, Exception):
                raise chunk
            if chunk is not None:
                listener.hear(now_s, chunk.newest_step)


def _film(backend: LockstepBackend, seed: int) -> list[Frame]:
    """Pictures of ten seconds, with what they are compared by."""
    side, rate = backend.spec.vision.image_size, backend.spec.code_rate
    steps = (round(i * PICTURES_S * rate) for i in range(round(10 / PICTURES_S)))
    film = [Frame(picture(side, step, rate, seed), 0) for step in steps]
    for frame in film:
        _ = frame.thumbnail, frame.colours
    return film


def _age(stream: ScoreStream, key: int) -> None:
    """As if its leading segment had begun some time ago: listeners are spread evenly over what a segment plays."""
    segments, context = stream.segments, context_steps(stream.backend.spec, stream.policy)
    plays = segments.length - context
    segments.leading = replace(segments.leading, origin=-(context + key * APART % plays))


def row(runs: Sequence[Run], policy: StreamPolicy) -> StreamsRow:
    """Of engines that ran beside each other."""
    heard = [each for run in runs for each in run.heard]
    worst = np.array([each.deficit_s for each in heard]) * 1e3
    ages = _ms(each.ages_s[len(each.ages_s) // 5 :] for each in heard)
    answers = _ms(each.answers_s[1:] for each in heard)
    first = _ms([np.inf if each.first_s is None else each.first_s - each.began_s] for each in heard)
    ticks = _ms(run.ticks_s for run in runs)
    shown, step, decoding = np.sum([run.spent_s for run in runs], 0) / max(ticks.sum() / 1e3, 1e-9)
    powers = [run.power_w for run in runs if run.power_w is not None]
    return StreamsRow(
        len(heard),
        len(runs),
        policy.context_s,
        runs[0].seconds,
        c50=float((worst <= 50).mean()),
        c100=float((worst <= 100).mean()),
        c200=float((worst <= 200).mean()),
        worst_ms=float(worst.max()),
        busy=float(ticks.sum() / 1e3 / sum(run.seconds for run in runs)),
        tick_p50_ms=_percentile(ticks, 50),
        tick_p99_ms=_percentile(ticks, 99),
        shown=float(shown),
        stepping=float(step),
        codec=float(decoding),
        answer_p50_ms=_percentile(answers, 50),
        answer_p95_ms=_percentile(answers, 95),
        age_p50_ms=_percentile(ages, 50),
        age_p95_ms=_percentile(ages, 95),
        first_p50_ms=_percentile(first, 50),
        first_p95_ms=_percentile(first, 95),
        power_w=max(powers) if powers else None,
    )


def _ms(seconds: Iterable[Sequence[float]]) -> np.ndarray:
    return np.concatenate([np.array(each, float) for each in seconds]) * 1e3


def _percentile(values: np.ndarray, percent: float) -> float:
    """Not a finite number where nothing came."""
    with np.errstate(invalid="ignore"):
        return float(np.percentile(values, percent)) if len(values) else float("nan")
