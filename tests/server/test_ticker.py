"""The ticker: at the moment that is due, sooner when woken, never too often, and past a tick that raises."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from server.sessions.ticker import APART_S, Ticker


class Clock:
    """Stands still in a tick and is moved by the test, as far as the ticker's timer says."""

    def __init__(self, next_s: Callable[[float], float]) -> None:
        self.now_s, self.ticks, self.late, self._next_s = 0.0, list[float](), list[float](), next_s

    def tick(self) -> float:
        self.ticks.append(self.now_s)
        return self._next_s(self.now_s)


def ticked(
    clock: Clock,
    delays: list[float],
    at: Callable[[int, Ticker], None] = lambda _n, _t: None,
    whole_ms: bool = False,
    chunk_s: float = 0.0,
) -> Ticker:
    """Runs the ticker for as many timers as there are delays; each fires so much later than it was to.

    whole_ms: the loop rounds to milliseconds, as uvloop does.
    """

    class Loop:
        """As much of an event loop as a ticker asks for."""

        def __init__(self) -> None:
            self.timer: tuple[float, Any] | None = None

        def call_later(self, delay_s: float, call: Any) -> Any:
            delay_s = round(delay_s * 1000) / 1000 if whole_ms else delay_s
            self.timer = (clock.now_s + delay_s, call)

            class Handle:
                def cancel(_) -> None:
                    self.timer = None

            return Handle()

    loop = Loop()
    ticker = Ticker(lambda: clock.now_s, clock.tick, clock.late.append, loop, chunk_s)  # type: ignore[arg-type]
    for turn, delay_s in enumerate(delays):
        at(turn, ticker)
        assert loop.timer is not None
        clock.now_s, call = loop.timer[0] + delay_s, loop.timer[1]
        call()
    return ticker


def test_it_ticks_when_the_next_thing_is_due_and_says_how_late_it_was() -> None:
    clock = Clock(lambda now_s: round(now_s // 0.02 + 1) * 0.02)
    ticked(clock, [0.0, 0.0, 0.005, 0.0])
    assert [round(at_s, 9) for at_s in clock.ticks] == [0.0, 0.02, 0.045, 0.06]
    assert [round(late_s, 9) for late_s in clock.late] == [0.0, 0.0, 0.005, 0.0]


def test_a_loop_that_counts_in_milliseconds_never_ticks_too_soon() -> None:
    due = [0.0]

    def tick(now_s: float) -> float:
        due.append(now_s + 0.0203)
        clock.now_s += 0.0004
        return due[-1]

    clock = Clock(tick)
    ticked(clock, [0.0] * 50, whole_ms=True)
    late = [tick - due for tick, due in zip(clock.ticks, due, strict=False)]
    assert min(late) >= 0
    assert max(late) < 0.001


def test_ticks_are_apart_however_much_is_due() -> None:
    clock = Clock(lambda now_s: now_s)
    ticked(clock, [0.0] * 4, lambda _turn, ticker: ticker.wake())
    assert [round(at_s / APART_S, 6) for at_s in clock.ticks] == [0, 1, 2, 3]


def test_the_longer_ticks_take_the_further_apart_they_are_to_a_bound() -> None:
    def busy(now_s: float) -> float:
        clock.now_s += 0.002 if len(clock.ticks) == 1 else 0.1 if len(clock.ticks) == 2 else 0.0
        return now_s

    clock = Clock(busy)
    ticked(clock, [0.0] * 4, lambda _turn, ticker: ticker.wake())
    apart = [round(after - before, 6) for before, after in pairwise(clock.ticks)]
    assert apart == [0.004, 0.1, APART_S]


def test_where_chunks_are_long_ticks_are_further_apart() -> None:
    clock = Clock(lambda now_s: now_s)
    ticked(clock, [0.0] * 4, lambda _turn, ticker: ticker.wake(), chunk_s=0.1)
    assert [round(at_s, 6) for at_s in clock.ticks] == [0, 0.01, 0.02, 0.03]


def test_how_busy_it_is_is_the_share_that_ticks_take() -> None:
    def half(now_s: float) -> float:
        clock.now_s += 0.005
        return now_s + 0.01

    clock = Clock(half)
    assert ticked(clock, [0.0] * 400).busy == pytest.approx(0.5, abs=1e-3)
    clock = Clock(lambda now_s: now_s + 0.01)
    assert ticked(clock, [0.0] * 400).busy == 0


def test_ease_is_believed_later_than_work() -> None:
    def at_first(now_s: float) -> float:
        clock.now_s += 0.005 if len(clock.ticks) <= 100 else 0.0
        return now_s + 0.01

    clock = Clock(at_first)
    assert 0.4 < ticked(clock, [0.0] * 100).busy < 0.5, "a second of work"
    clock = Clock(at_first)
    assert 0.3 < ticked(clock, [0.0] * 200).busy < 0.4, "and a second of ease"


def test_woken_it_does_not_wait_for_what_is_due() -> None:
    clock = Clock(lambda now_s: now_s + 10)

    def at(turn: int, ticker: Ticker) -> None:
        if turn == 1:
            clock.now_s = 3.0
            ticker.wake()
            ticker.wake()

    ticked(clock, [0.0, 0.0, 0.0], at)
    assert clock.ticks == [0.0, 3.0, 13.0]


def test_after_a_tick_that_raised_comes_the_next_one() -> None:
    raised = []

    async def run() -> None:
        done = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: raised.append(context["exception"])
        )

        def tick() -> float:
            if raised:
                done.set()
                return loop.time() + 10
            raise RuntimeError("broken")

        loop = asyncio.get_running_loop()
        ticker = Ticker(loop.time, tick, lambda _: None, loop)
        async with asyncio.timeout(10):
            await done.wait()
        ticker.stop()

    asyncio.run(run())
    assert [str(error) for error in raised] == ["broken"]
