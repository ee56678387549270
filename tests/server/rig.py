"""A session and its voice on a virtual clock: the two threads take turns, and nothing sleeps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from engine.player import Held
from engine.spec import StreamPolicy
from engine.stream import AudioChunk
from server.core.checkpoint import Checkpoint
from server.core.config import SessionConfig
from server.core.controls import Event
from server.core.delivery import AudioOut
from server.core.orders import Orders, Report, Shown
from server.core.session import Session
from server.engine_thread.voices import Voice, Voices

U8 = NDArray[np.uint8]
HOP, RATE = 640, 32000
TICK_S = 0.02
SIDE = 8


def tone(first: int, count: int) -> NDArray[np.float32]:
    """Samples that say which they are: a slow chirp over the index."""
    at = np.arange(first, first + count)
    return (0.3 * np.sin(at * 0.02 + 20 * np.sin(at * 1e-5))).astype(np.float32)


class ToneStream:
    """Plays `tone`; follows the protocol of a stream."""

    def __init__(self, policy: StreamPolicy, now: int = 0, taken: int = 0) -> None:
        self.policy, self.now, self.taken = policy, now, taken
        self.seen, self.newest, self.turns = now > 0, 0, 0

    @property
    def frames(self) -> int:
        return self.now

    @property
    def lacks(self) -> int:
        return max(0, self.taken + self.policy.chunk_steps - self.now)

    def push(self, pixels: U8, step: int | None = None) -> None:
        self.seen, self.newest = True, self.now if step is None else step

    def set_policy(self, policy: StreamPolicy) -> None:
        self.policy = policy

    def turn(self) -> None:
        self.turns += 1

    def advance(self) -> None:
        assert self.seen
        self.now += 1

    def take(self) -> AudioChunk | None:
        end = self.taken + self.policy.chunk_steps
        if end > self.now:
            return None
        first, self.taken = self.taken, end
        samples = tone(first * HOP, (end - first) * HOP)
        return AudioChunk(samples, first * HOP, self.newest, end - self.newest, 0, self.policy.seed)

    def close(self, frames: int | None = None) -> AudioChunk | None:
        return None

    def snapshot(self, caches: bool = True) -> bytes:
        return f"{self.now} {self.taken}".encode()


class TonePlayer:
    name, digest, label = "tone", "tone", ""
    defaults, follows = StreamPolicy(), frozenset({"seed"})
    side, code_rate, sample_rate, fewest_frames = SIDE, 50, RATE, 1

    def check(self, policy: StreamPolicy) -> None: ...

    def open(self, policy: StreamPolicy) -> ToneStream:
        return ToneStream(policy)

    def restore(self, blob: bytes) -> ToneStream:
        return ToneStream(StreamPolicy(), *map(int, blob.split()))

    def held(self, stream: ToneStream) -> Held:
        return Held([], [], [], {})


def black(side: int = SIDE) -> U8:
    return np.zeros((side, side, 3), np.uint8)


def config(player: Any = None, policy: StreamPolicy | None = None, **changes: Any) -> SessionConfig:
    chosen = player or TonePlayer()
    return SessionConfig(policy or chosen.defaults, chosen.side, **changes)


def slow_clock() -> Callable[[], float]:
    """A tick takes a millisecond by it, so that none takes steps together."""
    reads = count()
    return lambda: next(reads) * 0.001


class FilmVoice(Voice):
    """Sees each picture of a film right before the step that it belongs to, so its music is always the same.

    Its snapshots hold the caches and continue bit for bit.
    """

    def __init__(
        self,
        player: Any,
        policy: StreamPolicy,
        film: Iterable[Shown],
        checkpoint: Checkpoint | None = None,
    ) -> None:
        super().__init__(player, policy, checkpoint=checkpoint)
        self._film = deque(shown for shown in film if shown.step >= self.stream.now)

    @property
    def shows(self) -> bool:
        return bool(self._film) and self._film[0].step <= self.stream.now

    def show(self) -> None:
        while self.shows:
            self._newest = self._film.popleft()
            self.stream.push(self._newest.pixels, self._newest.step)

    def due(self) -> int:
        return min(1, super().due())

    def report(self, taken: Sequence[AudioChunk], refused: str | None, snapshot: bool) -> Report:
        report = super().report(taken, refused, snapshot)
        return replace(report, snapshot=self.stream.snapshot(caches=True)) if snapshot else report


@dataclass
class Rig:
    """speed: decoder steps that the engine can take in 20 ms of virtual time; a function of the time."""

    session: Session
    voice: Voice
    speed: Callable[[float], float] = lambda _: 5.0
    now: float = 0.0
    chunks: list[AudioOut] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    acknowledges: bool = True
    voices: Voices = field(default_factory=lambda: Voices(slow_clock()))
    before: Callable[[Rig], None] = lambda _: None
    _budget: float = 0.0
    _mail: Orders = field(default_factory=Orders)
    leads: list[int] = field(default_factory=list)
    levels: list[str] = field(default_factory=lambda: ["on_time"])
    """Of degradation, as they were entered."""
    codes: set[str] = field(default_factory=set)
    """Of errors that a test caught on the way."""

    def __post_init__(self) -> None:
        self.voices.open("s", self.voice)

    def run(self, seconds: float) -> list[AudioOut]:
        """Let time pass; returns the chunks that came in it."""
        had = len(self.chunks)
        for _ in range(round(seconds / TICK_S)):
            self.tick()
        return self.chunks[had:]

    def tick(self) -> None:
        self.now += TICK_S
        self.before(self)
        orders, outputs = self.session.poll(self.now)
        for output in outputs:
            self.chunks.append(output) if isinstance(output, AudioOut) else self.events.append(output)
        if (level := self.session.degradation.row.name) != self.levels[-1]:
            self.levels.append(level)
        if self.session.state == "playing":
            self.leads.append(self.session.playout.lead(self.now))
        if self.acknowledges and self.session.delivery:
            self.session.report(self.session.delivery.cursor)
        self._engine(orders or Orders())

    def _engine(self, orders: Orders) -> None:
        self._mail = self._mail.then(orders)
        speed = self.speed(self.now)
        self._budget = min(self._budget + speed, speed + 1)
        while self._budget >= 1:
            mail, self._mail = self._mail, Orders()
            reports = self.voices.tick({"s": mail})
            if "s" in reports:
                self.session.heard(self.now, reports["s"])
            if not reports:
                break
            self._budget -= 1

    @property
    def pcm(self) -> NDArray[np.float32]:
        return np.concatenate([chunk.samples for chunk in self.chunks])

    def kinds(self, kind: str) -> list[Any]:
        return [event.about for event in self.events if event.kind == kind]


def rig(
    player: Any = None, policy: StreamPolicy | None = None, film: Sequence[Shown] = (), **changes: Any
) -> Rig:
    """A session that plays to an attached client; a first frame was shown, or its voice sees a film."""
    speed = changes.pop("speed", lambda _: 5.0)
    chosen = player or TonePlayer()
    settings = config(chosen, policy, **changes)
    voice = (
        FilmVoice(chosen, settings.policy, film) if film else Voice(chosen, settings.policy, settings.room_s)
    )
    made = Rig(Session(settings, 0.0), voice, speed)
    made.session.attach(0.0)
    if not film:
        made.session.frame(0.0, black(chosen.side))
    made.session.play(0.0)
    return made


def by_index(chunks: list[AudioOut]) -> dict[int, NDArray[np.float32]]:
    return {chunk.first_sample: chunk.samples for chunk in chunks}


def check_in_order(chunks: list[AudioOut], first: int | None = None) -> None:
    """Every sample once, none left out but where it says so."""
    at = chunks[0].first_sample if first is None else first
    for chunk in chunks:
        assert chunk.first_sample == at or (chunk.discontinuity and chunk.first_sample > at)
        at = chunk.first_sample + len(chunk.samples)
