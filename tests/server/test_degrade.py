"""What is late: an engine that has no time left steps down before music is made up, and a short lead alone gives nothing up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from rig import HOP, RATE, SIDE, black

from engine.spec import StreamPolicy
from server.core.config import SessionConfig
from server.core.controls import Event
from server.core.degrade import Degradation
from server.core.delivery import AudioOut
from server.core.orders import Report
from server.core.playout import Limits, Music
from server.core.session import Session
from server.settings import CHUNKS_MS, Settings

TICKS_LATE_MS = (0, 2, 1, 3)
"""How late the loop looks after its sessions, in turn."""
SHORT = [(lead_ms, 20) for lead_ms in (40, 60, 80, 120, 160, 200, 340)]
LONG = [(200, 100), (240, 100), (340, 100), (1000, 500)]


@dataclass
class Schedule:
    """A session on a device that many share, a millisecond at a time: a piece waits for the call at hand, then for its own.

    call: how much of a piece's length a call takes; a function of the time in seconds. Over 1 the device does not keep up.
    """

    lead_ms: int
    chunk_ms: int
    call: Callable[[float], float]
    degraded_s: list[float] = field(default_factory=list)
    """When a level was entered that is not the first."""
    made_up_s: list[float] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = Settings(chunk_ms=self.chunk_ms, playout=Limits().led_by(self.lead_ms))
        steps = settings.piece_steps(5, 50)
        chosen = SessionConfig(StreamPolicy(chunk_steps=steps), SIDE, limits=settings.playout)
        self.session, self.piece = Session(settings.session(chosen), 0.0), steps * HOP
        self.session.attach(0.0)
        self.session.frame(0.0, black())
        self.session.play(0.0)

    def run(self, seconds: float) -> Schedule:
        wanted = taken = polls = 0
        until_ms, asked = 0.0, False
        for at_ms in range(round(1000 * seconds)):
            now_s = at_ms / 1000
            if at_ms >= until_ms:
                if asked:
                    samples = np.zeros(self.piece, np.float32)
                    self.session.heard(now_s, Report((Music(samples, taken - self.piece, 0, 0, 0, 0),)))
                asked = wanted >= taken + self.piece
                taken += self.piece * asked
                until_ms += 1000 * self.call(now_s) * self.piece / RATE
            due_s = self.session.chunk_due_s or 0.0
            if now_s >= due_s + TICKS_LATE_MS[polls % len(TICKS_LATE_MS)] / 1000 - 1e-9:
                polls += 1
                orders, said = self.session.poll(now_s)
                wanted = orders.wanted if orders and orders.wanted is not None else wanted
                self._note(now_s, said)
        return self

    def _note(self, now_s: float, said: list[AudioOut | Event]) -> None:
        for each in said:
            if isinstance(each, AudioOut):
                self.made_up_s += [now_s] * each.concealed
                self.session.report(each.first_sample + len(each.samples))
        name = self.session.degradation.row.name
        if name != (self.names or ["on_time"])[-1]:
            self.names.append(name)
            self.degraded_s += [now_s] * (name != "on_time")


@pytest.mark.parametrize(("lead_ms", "chunk_ms"), SHORT + LONG)
def test_where_a_device_has_time_nothing_is_given_up_however_short_the_lead(
    lead_ms: int, chunk_ms: int
) -> None:
    played = Schedule(lead_ms, chunk_ms, lambda _: 0.2).run(10)
    assert (played.names, played.made_up_s) == ([], [])


@pytest.mark.parametrize(
    ("lead_ms", "chunk_ms"), [(120, 40), (140, 40), (180, 60), (200, 60), (220, 60), (240, 60), (240, 80)]
)
def test_a_device_of_which_a_third_is_free_keeps_up_where_pieces_are_no_whole_chunks(
    lead_ms: int, chunk_ms: int
) -> None:
    """It asks for the next piece when a whole chunk was placed, which may be late for a piece that is a chunk and a half."""
    played = Schedule(lead_ms, chunk_ms, lambda _: 0.35).run(10)
    assert played.made_up_s == []


def test_long_chunks_leave_a_device_that_keeps_up_on_time() -> None:
    """Pieces come 120 ms after they were asked for, and 80 before they are due."""
    played = Schedule(340, 100, lambda _: 0.6).run(10)
    assert (played.names, played.made_up_s) == ([], [])


@pytest.mark.parametrize(("apart_s", "levels_left"), [(60, 10), (10, 2)])
def test_who_relapses_is_given_longer_to_be_calm(apart_s: int, levels_left: int) -> None:
    """A device that is late for a moment once a minute, for ten of them; and each ten seconds, which after twice are borne."""
    now, left = Degradation(), 0
    for at_s in range(600 if apart_s == 60 else 120):
        before = now
        now = now.seen(float(at_s), 0.5 if at_s % apart_s == 0 else 2.0, False)
        left += now.level < before.level
    assert left == levels_left


@pytest.mark.parametrize("chunk_ms", CHUNKS_MS)
def test_after_a_device_stood_still_music_sounds_again_whatever_the_lead(chunk_ms: int) -> None:
    """Enough of it is made while it is made up, and the next piece is asked for before the next chunk is due."""
    for more_ms in (0, 10, 40, 60, 100, 140):
        lead_ms = 2 * chunk_ms + more_ms
        stood_s = 1 + 3 * lead_ms / 1000
        played = Schedule(lead_ms, chunk_ms, lambda t: 0.15 if t < 1 else 8.0 if t < stood_s else 0.15)  # noqa: B023
        played.run(8 * stood_s)
        assert 1 < min(played.made_up_s) < max(played.made_up_s) < 3 * stood_s, lead_ms
        assert min(played.degraded_s) > 1, lead_ms


@pytest.mark.parametrize(("lead_ms", "chunk_ms"), SHORT + LONG)
def test_where_a_device_has_less_and_less_time_something_is_given_up_before_music_is_made_up(
    lead_ms: int, chunk_ms: int
) -> None:
    played = Schedule(lead_ms, chunk_ms, lambda t: 0.2 + 0.1 * t if t < 12 else 0.2).run(24)
    assert played.names[0] == "looks_less"
    assert played.made_up_s
    assert played.degraded_s[0] < played.made_up_s[0]
    assert played.names[-1] == "on_time"
    assert not played.session.degradation.level
