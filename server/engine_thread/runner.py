"""The engine's thread: it fetches orders, ticks the voices, hands reports back. Everything that is slow happens here.

The event loop never waits for it and it never waits for the loop: orders lie in one record for each session, and reports are
bounded by what the sessions want made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Condition, Thread

from engine.errors import NoRoom, check_device
from server.core.orders import Orders, Report
from server.engine_thread.voices import Voice, Voices

MOST_OPENINGS = 16
STEP_LIMIT_S = 3.0
"""A tick that takes longer hangs, and is not only late: on a machine that is busy otherwise a first step was seen to take one."""
OPENING_LIMIT_S = 15.0
"""The same of making a voice, which may read files or take in what it played before."""
TOGETHER_S = 0.001
"""Ticks that are shorter than this are taken together, so that cheap steps do not spend their time in handing over."""
Reports = dict[str, Report]
Opening = tuple[str, Callable[[], Voice]]


class Runner:
    """post: runs `deliver(reports)` on the loop, as `loop.call_soon_threadsafe` does; called once a tick at most."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        post: Callable[[Callable[[Reports], None], Reports], object],
        deliver: Callable[[Reports], None],
        ask_device: Callable[[], object] = lambda: None,
    ) -> None:
        """ask_device: see `Voices`."""
        self.voices, self._monotonic = Voices(monotonic, ask_device), monotonic
        self._ask_device = ask_device
        self._post, self._deliver = post, deliver
        self._orders: dict[str, Orders] = {}  # bound: one record for each session, merged
        self._openings: deque[Opening] = deque()  # bound: MOST_OPENINGS, then NoRoom
        self._opening = 0  # that were taken from there, and have not joined the others yet
        self._change = Condition()
        self._stopping = False
        self._limit_s: float | None = None  # until when the work at hand is to be done
        self.error: Exception | None = None
        """Why the thread ended on its own; every session was told."""
        self._thread = Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 3.0) -> None:
        """Finish the tick and end. Raises TimeoutError when the tick does not end."""
        with self._change:
            self._stopping = True
            self._change.notify()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"the engine's tick did not end within {timeout_s:g} s")

    def open(self, key: str, make: Callable[[], Voice]) -> None:
        """Admit a voice, and make it on the engine's thread; a failure comes as the session's report. Raises NoRoom."""
        with self._change:
            self.voices.batcher.admit(len(self._openings) + self._opening)
            if len(self._openings) == MOST_OPENINGS:
                raise NoRoom(f"{MOST_OPENINGS} sessions wait to be opened", 1.0)
            self._openings.append((key, make))
            self._change.notify()

    def knows(self, key: str) -> bool:
        """Whether there is a voice of this key, or will be, or orders for one. From any thread."""
        with self._change:
            known = {*self._orders, *self.voices.keys(), *dict(self._openings)}
            return key in known

    def hangs_s(self, now_s: float) -> float:
        """For how long the work at hand has been taking too long; 0 when all is well. From any thread."""
        limit_s = self._limit_s
        return 0.0 if limit_s is None else max(0.0, now_s - limit_s)

    @contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        self._limit_s = self._monotonic() + seconds
        yield
        self._limit_s = None

    def order(self, orders: Mapping[str, Orders]) -> None:
        """Leave orders for some sessions; the thread is woken once for all of them."""
        with self._change:
            for key, each in orders.items():
                before = self._orders.get(key)
                self._orders[key] = before.then(each) if before else each
            self._change.notify()

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:
            self.error = error
            failed = Report(failed=f"the engine ended: {type(error).__name__}: {error}")
            self._post(self._deliver, dict.fromkeys(self.voices.keys(), failed))

    def _work(self) -> None:
        busy = False
        while (work := self._fetch(wait=not busy)) is not None:
            openings, orders = work
            until_s = self._monotonic() + TOGETHER_S
            with self._within(OPENING_LIMIT_S * max(1, len(openings))):
                self.voices.make_room(orders)
                opened = self._open(openings)
            with self._within(STEP_LIMIT_S):
                ticks = [opened | self.voices.tick(orders)]
                while ticks[-1] and not _is_snapshot(ticks[-1]) and self._monotonic() < until_s:
                    ticks.append(self.voices.tick({}))
            busy = bool(ticks[-1])
            if news := _news(ticks):
                self._post(self._deliver, news)

    def _fetch(self, wait: bool) -> tuple[list[Opening], dict[str, Orders]] | None:
        """What came since the last tick, None at the end. wait: until something comes."""
        with self._change:
            if wait:
                self._change.wait_for(lambda: self._stopping or self._orders or self._openings)
            if self._stopping:
                return None
            openings, orders = list(self._openings), dict(self._orders)
            self._openings.clear()
            self._opening = len(openings)
            self._orders.clear()
        return openings, orders

    def _open(self, openings: list[Opening]) -> Reports:
        """The sessions that could not be opened, and why."""
        failed: Reports = {}
        for key, make in openings:
            try:
                self.voices.open(key, make())
            except (
                Exception
            ) as error:  # a model that cannot be opened is its session's misfortune, and it is told
                check_device(error, self._ask_device)
                failed[key] = Report(failed=f"{type(error).__name__}: {error}")
            with self._change:
                self._opening -= 1
        return failed


def _is_snapshot(tick: Reports) -> bool:
    """A snapshot is of the moment after its report's music, so nothing is put together with it."""
    return any(report.snapshot is not None for report in tick.values())


def _news(ticks: list[Reports]) -> Reports:
    """Of some ticks, what their sessions are to hear, in order."""
    news: Reports = {}
    for reports in ticks:
        for key, report in reports.items():
            if report.is_news:
                news[key] = news[key].then(report) if key in news else report
    return news
