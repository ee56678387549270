"""Websockets that send more than the event loop has time for: what all of them take together, and who goes first. No network."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Any, cast

import pytest

from server.http.turns import Turns

SHARE, PIECE_S = 0.4, 0.01


class Loop:
    """Its time goes on with what is heard."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now_s

    def call_at(self, when_s: float, call: Callable[..., None], *given: Any) -> None:
        heapq.heappush(self._due, (when_s, len(self._due), call, given))

    def run(self, until_s: float) -> None:
        while self._due and self._due[0][0] <= until_s:
            when_s, _, call, given = heapq.heappop(self._due)
            self.now_s = max(self.now_s, when_s)
            call(*given)


class Greedy:
    """Always has another piece to say."""

    def __init__(self, turns: Turns, loop: Loop) -> None:
        self._turns, self._loop, self._taken_s, self.pieces = turns, loop, 0.0, 0

    def go_on(self) -> None:
        loop = self._loop
        while self._turns.are_due(loop.now_s):
            loop.now_s += PIECE_S
            self.pieces += 1
            self._taken_s = self._turns.heard(loop.now_s, self._taken_s, PIECE_S)
        self._turns.wait(cast(asyncio.AbstractEventLoop, loop), self._taken_s, self.go_on)


@pytest.fixture
def crowd() -> tuple[Turns, Loop, list[Greedy]]:
    turns, loop = Turns(SHARE), Loop()
    return turns, loop, [Greedy(turns, loop) for _ in range(20)]


def test_however_many_send_without_end_they_take_their_share(crowd: tuple[Turns, Loop, list[Greedy]]) -> None:
    """And each the same."""
    _, loop, greedy = crowd
    for each in greedy:
        each.go_on()
    loop.run(120.0)
    pieces = [each.pieces for each in greedy]
    assert sum(pieces) * PIECE_S == pytest.approx(20 * SHARE, rel=0.02)
    assert max(pieces[1:]) - min(pieces[1:]) <= 1  # the first one had what was saved


def test_who_says_little_waits_for_one_piece_of_theirs(crowd: tuple[Turns, Loop, list[Greedy]]) -> None:
    turns, loop, greedy = crowd
    for each in greedy:
        each.go_on()
    waited, taken_s = [], 0.0
    for at in range(50):
        loop.run(101 + at / 10)
        asked_s = loop.now_s

        def heard(asked_s: float = asked_s) -> None:
            nonlocal taken_s
            waited.append(loop.now_s - asked_s)
            taken_s = turns.heard(loop.now_s, taken_s, 0.0001)

        turns.wait(cast(asyncio.AbstractEventLoop, loop), taken_s, heard)
    loop.run(110.0)
    assert len(waited) == 50
    assert max(waited) <= 2 * PIECE_S / SHARE
