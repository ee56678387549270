"""Many streams on one device, in lock step: whoever is due takes one step, then everybody is asked again.

Streams join and leave between two ticks. A tick advances each stream that is due by a step, or by some where steps cost next to
nothing, and what one stream plays depends on nothing of the others; a stream that fails leaves alone. Admission is by
measurement: how long a step takes by how many streams took part in it. The batcher knows steps and the durations that it is
told by the clock it was given; no sockets.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Generic, TypeVar

from engine.backends.base import I64, DrawCall
from engine.errors import NoRoom
from engine.player import Stream
from engine.sampling import draw_all
from engine.stream import ScoreStream
from engine.together import look_all

STEP_S = 0.02
"""What a tick may take when every stream is due in it: a step is 20 ms of music."""
USED = 0.8
"""Share of a step that admission fills; the rest is for encoding frames, which comes in bursts."""
REMEMBERED = 33
"""Ticks of so many streams whose median counts."""
KNOWN_AFTER = 5
"""Ticks of so many streams after which their median counts: the first ones open graphs and look at first pictures."""
OLD_S = 30.0
"""What was not measured for so long is forgotten while other numbers of streams are: the machine was busy then, and whoever is
not let in for it will not measure it again."""
LEAST_SHARE = 0.25
"""A stream more is expected to take at least so much of what each one took on average, whatever was measured."""
TOGETHER_S = 0.001
"""What a tick may take for steps beyond each stream's first: cheap ones do not spend their time in ticks."""
RETRY_S = 5.0
"""When to ask again: a full device gets room when somebody leaves."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Ticked(Generic[Key]):
    """advanced: who took a step, in that order. failed: who left because of what its stream raised."""

    advanced: tuple[Key, ...]
    failed: dict[Key, Exception]


class Batcher(Generic[Key]):
    """`monotonic` is asked for seconds around each tick."""

    def __init__(self, monotonic: Callable[[], float], step_s: float = STEP_S) -> None:
        self.times = StepTimes(step_s * USED)
        self._monotonic = monotonic
        self._streams: dict[Key, Stream] = {}  # bound: `admit` refuses, NoRoom
        self._resting: set[Key] = set()
        self._turn = 0

    def __len__(self) -> int:
        return len(self._streams)

    def admit(self, coming: int = 0) -> None:
        """Raises NoRoom, with the time to try again, when one stream more would make all of them late. coming: those that were
        let in and have not joined yet.

        An empty device takes one whatever was measured: a measurement from when it was busy would otherwise never be mended.
        """
        playing = len(self._streams) - len(self._resting) + coming
        if playing and not self.times.fits(playing + 1):
            raise NoRoom(f"{playing} streams fill this device", RETRY_S)

    def join(self, key: Key, stream: Stream) -> None:
        """Raises ValueError when somebody of this name plays. `admit` says whether there is room."""
        if key in self._streams:
            raise ValueError(f"a stream named {key!r} plays already")
        self._streams[key] = stream

    def release(self, key: Key) -> None:
        """Let a stream go whose memory another will have, which is given to `swap` before the next tick."""
        del self._streams[key]

    def swap(self, key: Key, stream: Stream) -> None:
        """Another stream in the same place."""
        self._streams[key] = stream
        if key in self._resting:
            self.rest(key, True)

    def rest(self, key: Key, resting: bool) -> None:
        """A stream that rests is in nobody's way: it is not due, `admit` does not count it, and others may have its memory.
        Raises NoRoom when it is to rest no more and there is no memory for it."""
        stream = self._streams[key]
        if isinstance(stream, ScoreStream):
            stream.rest(resting)
        (self._resting.add if resting else self._resting.discard)(key)

    def leave(self, key: Key) -> None:
        """Between two ticks; nothing happens when it has left."""
        self._streams.pop(key, None)
        self._resting.discard(key)

    def tick(self, due: Callable[[Key], int], among: Iterable[Key] | None = None) -> Ticked[Key]:
        """Steps for each stream that is due. due: how many a stream may take now. among: who can be due, else all are asked."""
        asked = [(key, due(key)) for key in self._order(among) if key not in self._resting]
        wanted = [(key, steps) for key, steps in asked if steps]
        if not wanted:
            return Ticked((), {})
        most = max(self.times.together(len(wanted)), _at_once(self._streams[key] for key, _ in wanted))
        turns = [(self._streams[key], min(steps, most)) for key, steps in wanted]
        began = self._monotonic()
        raised = advance_all(turns)
        steps, ended = max(steps for _, steps in turns), self._monotonic()
        self.times.note(len(wanted), (ended - began) / steps, ended)
        failed = {key: error for (key, _), error in zip(wanted, raised, strict=True) if error is not None}
        for key in failed:
            self.leave(key)
        return Ticked(tuple(key for key, _ in wanted if key not in failed), failed)

    def _order(self, among: Iterable[Key] | None) -> list[Key]:
        """Beginning with another one each time: who comes first waits least."""
        keys = list(self._streams) if among is None else [key for key in among if key in self._streams]
        first = self._turn % max(1, len(keys))
        self._turn += 1
        return keys[first:] + keys[:first]


def _at_once(streams: Iterable[Stream]) -> int:
    """Steps that all of them can take without the host having to know of each."""
    return min(stream.at_once if isinstance(stream, ScoreStream) else 1 for stream in streams)


@dataclass(slots=True)
class _Turn:
    """What a stream still has to take in this tick, and what it raised."""

    stream: Stream
    left: int
    raised: Exception | None = None


def advance_all(turns: Sequence[tuple[Stream, int]]) -> list[Exception | None]:
    """So many steps for each stream, and what each raised. Streams of one backend ask it together, so that it reads its weights
    once for all; what they see they look at together too where the backend gains by it."""
    all_turns = [_Turn(stream, steps) for stream, steps in turns]
    while due := [turn for turn in all_turns if turn.left and turn.raised is None]:
        for turn, error in zip(due, look_all([turn.stream for turn in due]), strict=True):
            turn.raised = error
        asking: dict[int, list[tuple[_Turn, ScoreStream, DrawCall[Any, Any]]]] = {}
        for turn in due:
            if turn.raised is not None:
                continue
            try:
                if isinstance(turn.stream, ScoreStream):
                    asked = (turn, turn.stream, turn.stream.ask(turn.left))
                    asking.setdefault(id(turn.stream.backend), []).append(asked)
                else:
                    for _ in range(turn.left):
                        turn.stream.advance()
                    turn.left = 0
            except Exception as error:
                turn.raised = error
        for together in asking.values():
            _answer(together)
    return [turn.raised for turn in all_turns]


def _answer(asked: Sequence[tuple[_Turn, ScoreStream, DrawCall[Any, Any]]]) -> None:
    """One backend's steps for the streams that ask for them. Whatever is raised, the other streams play on."""
    try:
        answers: list[I64] = draw_all(asked[0][1].backend, [call for _, _, call in asked])
    except Exception as error:
        for turn, _, _ in asked:
            turn.raised = error
        return
    for (turn, stream, _), columns in zip(asked, answers, strict=True):
        try:
            stream.hear(columns)
            turn.left -= len(columns)
        except Exception as error:
            turn.raised = error


@dataclass(slots=True)
class _Ticks:
    """Of one number of streams. median_s: of the latest, once there are enough. noted_s: when the last one was."""

    latest: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    median_s: float | None = None
    noted_s: float = 0.0

    def note(self, took_s: float, now_s: float) -> None:
        self.latest.append(took_s)
        self.noted_s = now_s
        if len(self.latest) >= KNOWN_AFTER:
            self.median_s = median(self.latest)


@dataclass(slots=True)
class StepTimes:
    """Median seconds of a tick by number of streams in it. budget_s: what a tick may take."""

    budget_s: float
    _noted: dict[int, _Ticks] = field(default_factory=dict)

    def note(self, streams: int, took_s: float, now_s: float) -> None:
        ticks = self._noted.setdefault(streams, _Ticks())
        ticks.note(took_s, now_s)
        for old in [count for count, ticks in self._noted.items() if now_s - ticks.noted_s > OLD_S]:
            del self._noted[old]

    def expected_s(self, streams: int) -> float:
        """As measured; else from the nearest number that was, by what each stream more took up to there; 0 before anything was.
        Large numbers are never measured where streams are seldom due together: a busy device takes up who came meanwhile.
        """
        noted = self._noted.copy()  # another thread may ask while a tick is noted
        known = {count: took for count, ticks in noted.items() if (took := ticks.median_s) is not None}
        if not known:
            return 0.0
        nearest, fewest = min(known, key=lambda count: (abs(count - streams), count)), min(known)
        took_s = each_s = known[nearest]
        if nearest > fewest:
            each_s = (took_s - known[fewest]) / (nearest - fewest)
        share_s = took_s / nearest
        return took_s + max(0, streams - nearest) * min(share_s, max(LEAST_SHARE * share_s, each_s))

    def together(self, streams: int) -> int:
        """How many steps one tick of so many streams may take; one where it was not measured or took long."""
        ticks = self._noted.get(streams)
        took_s = None if ticks is None else ticks.median_s
        return 1 if took_s is None else max(1, int(TOGETHER_S / max(took_s, 1e-6)))

    def fits(self, streams: int) -> bool:
        return self.expected_s(streams) <= self.budget_s

    def most(self) -> float:
        """How many streams fit, for a page of metrics; infinite before anything was measured."""
        return next((count - 1 for count in range(1, 1000) if not self.fits(count)), math.inf)
