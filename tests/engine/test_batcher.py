"""Streams in lock step: a batch changes no stream's audio, each is served in turn, a full device says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from streams import camera, play

from engine.batcher import KNOWN_AFTER, LEAST_SHARE, OLD_S, RETRY_S, Batcher, StepTimes
from engine.errors import NoRoom
from engine.spec import StreamPolicy
from engine.stream import ScoreStream

U8 = NDArray[np.uint8]


def ticking(step_s: float = 0.001) -> Callable[[], float]:
    """A clock that goes on by as much each time that it is asked."""
    now = [0.0]

    def monotonic() -> float:
        now[0] += step_s
        return now[0]

    return monotonic


def always(_: Any) -> bool:
    return True


def get_known(batcher: Batcher[Any], due: Callable[[Any], bool] = always) -> None:
    """Tick until the batcher goes by what that takes."""
    for _ in range(KNOWN_AFTER):
        batcher.tick(due)


def test_streams_in_a_batch_equal_single_streams(short_backend: Any, pictures: Callable[..., U8]) -> None:
    """Three seeds and videos; the second joins late, the third leaves early, the first is not always due."""
    batcher = Batcher[int](ticking())
    videos = [camera(pictures(20, seed)) for seed in range(3)]
    streams = [ScoreStream(short_backend, StreamPolicy(seed=seed, context_s=0.8)) for seed in range(3)]
    heard: list[list[Any]] = [[], [], []]
    batcher.join(0, streams[0]), batcher.join(2, streams[2])
    for tick in range(160):
        if tick == 37:
            batcher.join(1, streams[1])
        if tick == 90:
            batcher.leave(2)
        for stream, video in zip(streams, videos, strict=True):
            if (pixels := video(stream.now)) is not None:
                stream.push(pixels)
        for key in batcher.tick(lambda key, tick=tick: key != 0 or tick % 3 > 0).advanced:
            while chunk := streams[key].take():
                heard[key].append(chunk.samples)
    assert [stream.now for stream in streams] == [106, 123, 90]
    for seed in range(3):
        alone = ScoreStream(short_backend, StreamPolicy(seed=seed, context_s=0.8))
        expected = play(alone, streams[seed].now, videos[seed]).samples
        assert np.array_equal(np.concatenate(heard[seed]), expected)


class Counted:
    """A stream of nothing that may break."""

    def __init__(self, breaks_at: int = -1) -> None:
        self.now, self.breaks_at = 0, breaks_at

    def advance(self) -> None:
        if self.now == self.breaks_at:
            raise RuntimeError("broken")
        self.now += 1


def test_each_stream_comes_first_in_turn() -> None:
    batcher = Batcher[str](ticking())
    for key in "abc":
        batcher.join(key, Counted())  # type: ignore[arg-type]
    assert ["".join(batcher.tick(always).advanced) for _ in range(4)] == ["abc", "bca", "cab", "abc"]
    with pytest.raises(ValueError, match="'a' plays already"):
        batcher.join("a", Counted())  # type: ignore[arg-type]


def test_cheap_steps_are_taken_together_and_dear_ones_one_by_one() -> None:
    """A tick of two streams takes 0.4 ms by the clock: once that is known, two such steps fit into a millisecond."""
    for tick_s, expected in ((0.0004, [5, 7, 9]), (0.01, [5, 6, 7])):
        batcher, eager, single = Batcher[str](ticking(tick_s)), Counted(), Counted()
        batcher.join("eager", eager), batcher.join("single", single)  # type: ignore[arg-type]
        seen = []
        for _ in range(KNOWN_AFTER + 2):
            batcher.tick(lambda key: 5 if key == "eager" else 1)
            seen.append(eager.now)
        assert seen[KNOWN_AFTER - 1 :] == expected
        assert single.now == KNOWN_AFTER + 2


def test_a_stream_that_breaks_leaves_alone() -> None:
    batcher, good, bad = Batcher[str](ticking()), Counted(), Counted(breaks_at=2)
    batcher.join("bad", bad), batcher.join("good", good)  # type: ignore[arg-type]
    ticks = [batcher.tick(always) for _ in range(5)]
    assert [list(tick.failed) for tick in ticks] == [[], [], ["bad"], [], []]
    assert str(ticks[2].failed["bad"]) == "broken"
    assert (good.now, bad.now, len(batcher)) == (5, 2, 1)


def test_an_empty_device_lets_one_in_however_slow_it_was() -> None:
    batcher = Batcher[int](ticking(1.0))
    batcher.join(0, Counted())  # type: ignore[arg-type]
    get_known(batcher)
    with pytest.raises(NoRoom):
        batcher.admit()
    batcher.leave(0)
    batcher.admit()


def test_a_full_device_refuses_and_says_when_to_come_again() -> None:
    """A tick takes 5 ms whatever is in it; 16 of 20 ms are for steps."""
    batcher = Batcher[int](ticking(0.005))
    for key in range(3):
        batcher.admit()
        batcher.join(key, Counted())  # type: ignore[arg-type]
    get_known(batcher, lambda key: key == 0)
    assert batcher.times.most() == 3
    with pytest.raises(NoRoom, match="3 streams fill this device") as caught:
        batcher.admit()
    assert caught.value.retry_s == RETRY_S
    get_known(batcher)  # measured: three together cost no more than one
    assert batcher.times.expected_s(4) == pytest.approx(0.005 + LEAST_SHARE * 0.005 / 3)
    batcher.admit()


def test_a_stream_that_rests_is_in_nobodys_way() -> None:
    batcher, resting, playing = Batcher[str](ticking(0.012)), Counted(), Counted()
    batcher.join("resting", resting), batcher.join("playing", playing)  # type: ignore[arg-type]
    get_known(batcher)
    with pytest.raises(NoRoom, match="2 streams"):
        batcher.admit()
    batcher.rest("resting", True)
    batcher.swap("resting", resting)  # type: ignore[arg-type]
    assert batcher.tick(always).advanced == ("playing",)
    get_known(batcher)
    batcher.admit()
    batcher.rest("resting", False)
    assert set(batcher.tick(always).advanced) == {"resting", "playing"}


def test_an_empty_device_takes_one_however_slow_it_was() -> None:
    """What was measured while the machine was busy is measured again, not believed for ever."""
    batcher = Batcher[str](ticking(0.05))
    batcher.join("slow", Counted())  # type: ignore[arg-type]
    get_known(batcher)
    with pytest.raises(NoRoom):
        batcher.admit()
    batcher.leave("slow")
    batcher.admit()


def test_what_a_number_of_streams_took_while_the_machine_was_busy_keeps_nobody_out_for_ever() -> None:
    """Two play, and a third one is never let in to measure it again."""
    times = StepTimes(0.016)
    for streams, took_s in ((2, 0.012), (3, 0.020)):
        for _ in range(KNOWN_AFTER):
            times.note(streams, took_s, 0.0)
    for second in range(1, 30):
        times.note(2, 0.004, float(second))
        assert not times.fits(3)
    times.note(2, 0.004, OLD_S + 1)
    assert times.expected_s(3) == pytest.approx(0.006)


def test_who_was_let_in_and_has_not_joined_yet_is_counted() -> None:
    batcher = Batcher[int](ticking(0.006))
    batcher.join(0, Counted())  # type: ignore[arg-type]
    get_known(batcher)
    batcher.admit()
    with pytest.raises(NoRoom, match="2 streams"):
        batcher.admit(coming=1)


def test_step_times_are_measured_or_in_proportion() -> None:
    times = StepTimes(0.016)
    assert times.expected_s(7) == 0
    assert times.fits(10_000)
    for took_s in (0.1, 0.004, 0.004, 0.004):  # the first one opened a graph
        times.note(2, took_s, 0.0)
        assert times.expected_s(7) == 0
    times.note(2, 0.004, 0.0)
    assert [times.expected_s(n) for n in (1, 2, 4)] == [0.004, 0.004, 0.008]
    for _ in range(200):
        times.note(2, 0.008, 0.0)
    assert times.expected_s(2) == pytest.approx(0.008, rel=0.01)


@pytest.mark.parametrize(
    ("one_s", "four_s", "ten_s"),
    [
        (0.002, 0.005, 0.011),  # each stream more takes a millisecond
        (0.005, 0.004, 0.004 + 6 * 0.00025),  # it cannot take less than nothing: a quarter of the mean
        (0.0005, 0.008, 0.020),  # nor more than the mean
    ],
)
def test_more_streams_than_were_measured_take_what_each_more_took(
    one_s: float, four_s: float, ten_s: float
) -> None:
    times = StepTimes(0.016)
    for count, took_s in ((1, one_s), (4, four_s)):
        for _ in range(KNOWN_AFTER):
            times.note(count, took_s, 0.0)
    assert times.expected_s(4) == four_s
    assert times.expected_s(10) == pytest.approx(ten_s)
