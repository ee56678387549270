"""The engine's thread: orders in, reports out, one post a tick; it starts, is waited for and ends."""

from __future__ import annotations

from collections import deque
from queue import SimpleQueue
from threading import Semaphore
from typing import Any

import numpy as np
import pytest
import torch
from rig import RATE, Rig, TonePlayer, black, rig, tone

from cuestream.players import find_player
from engine.backends.lockstep import LockstepBackend
from engine.batcher import KNOWN_AFTER
from engine.errors import DeviceLost, NoRoom
from engine.player import ModelPlayer
from engine.spec import StreamPolicy
from export.checkpoint import Package, load_model
from server.core.delivery import AudioOut
from server.core.orders import Orders, Report, Shown
from server.core.playout import Music
from server.engine_thread.runner import MOST_OPENINGS, Reports, Runner
from server.engine_thread.voices import Voice

TIMEOUT_S = 10


class Loop:
    """Where reports arrive, as they would in an event loop."""

    def __init__(self) -> None:
        self.posted: SimpleQueue[Reports] = SimpleQueue()
        self.runner = Runner(lambda: 0.0, lambda call, reports: call(reports), self.posted.put, self._asked)
        self.answers = deque[str]()
        """What the device answers when it is asked; nothing: it does what it is asked for."""

    def _asked(self) -> None:
        if self.answers:
            raise RuntimeError(self.answers.popleft())

    def next(self) -> Reports:
        return self.posted.get(timeout=TIMEOUT_S)


def voice() -> Voice:
    return Voice(TonePlayer(), StreamPolicy())  # type: ignore[arg-type]


def test_what_is_wanted_is_made_and_no_more() -> None:
    loop = Loop()
    loop.runner.start()
    loop.runner.open("a", voice)
    loop.runner.order({"a": Orders(frame=Shown(black(), 0))})
    loop.runner.order({"a": Orders(wanted=RATE)})
    made = 0
    while made < RATE:
        for piece in loop.next()["a"].music:
            assert (piece.samples == tone(made, 3200)).all()
            made += len(piece.samples)
    loop.runner.order({"a": Orders(snapshot=True)})
    assert loop.next()["a"].snapshot == b"50 50"
    assert loop.posted.empty()
    loop.runner.stop()


def test_a_session_over_the_thread_plays_what_it_plays_in_turns() -> None:
    """A model that ships, ten frames a second, on a virtual clock that waits for the engine."""
    player = find_player("starter", threads=1)
    pictures = np.random.default_rng(1).integers(0, 255, (20, player.side, player.side, 3), dtype=np.uint8)
    heard = []
    for threaded in (True, False):
        played = rig(player, film=[Shown(pixels, step * 5) for step, pixels in enumerate(pictures)])
        if threaded:
            over_the_thread(played)
        played.run(2)
        heard.append(played.pcm)
    assert len(heard[0]) > 1.5 * RATE
    both = min(map(len, heard))
    assert np.array_equal(heard[0][:both], heard[1][:both])


def over_the_thread(played: Rig) -> None:
    """Two seconds of the session with its voice in a runner's thread."""
    loop, session = Loop(), played.session
    loop.runner.start()
    loop.runner.open("s", lambda: played.voice)
    for _ in range(100):
        played.now += 0.02
        orders, outputs = session.poll(played.now)
        played.chunks += [each for each in outputs if isinstance(each, AudioOut)]
        loop.runner.order({"s": orders or Orders()})
        if session.delivery:
            session.report(session.delivery.cursor)
        while session.playout.wanted(played.now) - session.playout.played - session.playout.ready >= 3200:
            session.heard(played.now, loop.next()["s"])
    loop.runner.stop()
    played.run = lambda _: []  # type: ignore[method-assign,assignment]


def test_what_cannot_be_opened_says_so_and_the_thread_goes_on() -> None:
    loop = Loop()

    def broken() -> Voice:
        raise RuntimeError("no such model")

    loop.runner.start()
    loop.runner.open("bad", broken)
    assert loop.next() == {"bad": Report(failed="RuntimeError: no such model")}
    loop.runner.open("good", voice)
    loop.runner.order({"good": Orders(snapshot=True)})
    assert loop.next()["good"].snapshot == b"0 0"
    loop.runner.stop()


def test_an_engine_that_ends_tells_every_session() -> None:
    loop = Loop()
    loop.runner.voices.open("a", voice())
    loop.runner.voices.tick = None  # type: ignore[assignment,method-assign]
    loop.runner.start()
    loop.runner.order({"a": Orders(wanted=RATE)})
    failed = loop.next()["a"].failed
    assert failed is not None
    assert "the engine ended: TypeError" in failed
    loop.runner.stop()
    assert isinstance(loop.runner.error, TypeError)


LOST = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be reported later"


@pytest.mark.parametrize(
    ("said", "is_lost"),
    [
        (LOST, True),
        ("Triton Error [CUDA]: an illegal memory access was encountered", True),
        ("CUDA failure 719: unspecified launch failure ; GPU=0 ; hostname=a ; file=b", True),
        ("CUDA's cudaGraphLaunch answers 214: uncorrectable ECC error encountered", True),
        ("CUDA error: Invalid access of peer GPU memory over nvlink or a hardware error", True),
        ("CUDA error: tensor memory not completely freed", True),
        ("CUDA error: context is destroyed", True),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", False),
        ("CUDA error: operation failed due to a previous error during capture", False),
        ("CUDA error: invalid configuration argument", False),
        ("an illegal instruction", False),
    ],
)
def test_a_lost_device_ends_the_engine_and_a_stream_that_breaks_only_itself(said: str, is_lost: bool) -> None:
    loop = Loop()

    def broken(*_: object) -> None:
        raise RuntimeError(said)

    breaks, plays = voice(), voice()
    breaks.stream.advance = broken  # type: ignore[method-assign]
    for key, each in (("breaks", breaks), ("plays", plays)):
        loop.runner.voices.open(key, each)
        loop.runner.order({key: Orders(frame=Shown(black(), 0), wanted=RATE // 10)})
    loop.runner.start()
    told = loop.next()
    loop.runner.stop()
    assert isinstance(loop.runner.error, DeviceLost) == is_lost
    failed = {key for key, report in told.items() if report.failed}
    assert failed == ({"breaks", "plays"} if is_lost else {"breaks"})
    assert (
        told["plays"].failed == f"the engine ended: DeviceLost: the device is lost: {said.splitlines()[0]}"
    ) == is_lost


@pytest.mark.parametrize(
    ("answer", "is_lost"),
    [
        (None, False),
        ("CUDA error: unspecified launch failure", True),
        ("CUDNN_STATUS_NOT_INITIALIZED", True),
        ("CUDA error: out of memory", False),
    ],
)
@pytest.mark.parametrize("opens", [True, False])
def test_a_device_that_a_library_says_nothing_of_is_asked(
    answer: str | None, is_lost: bool, opens: bool
) -> None:
    loop = Loop()
    loop.answers.extend([answer] if answer else [])

    def broken(*_: object) -> Any:
        raise RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(...)`")

    breaks = voice()
    breaks.stream.advance = broken  # type: ignore[method-assign]
    loop.runner.start()
    loop.runner.open("a", broken if opens else lambda: breaks)
    loop.runner.order({"a": Orders(frame=Shown(black(), 0), wanted=RATE // 10)})
    told = loop.next()
    loop.runner.stop()
    assert isinstance(loop.runner.error, DeviceLost) == is_lost
    if not is_lost:
        assert "CUBLAS_STATUS_EXECUTION_FAILED" in str(told["a"].failed)


def test_a_device_that_is_lost_while_a_session_opens_ends_the_engine() -> None:
    loop = Loop()

    def broken() -> Voice:
        raise RuntimeError(LOST)

    loop.runner.start()
    loop.runner.open("a", broken)
    assert loop.next() == {}
    loop.runner.stop()
    assert isinstance(loop.runner.error, DeviceLost)


def test_sessions_that_wait_leave_their_places_to_others_and_find_them_again(nano_package: Package) -> None:
    """On a device with places for two. Who leaves or waits does so first, whatever the order of those who come in that moment."""
    loop, backend = Loop(), LockstepBackend(load_model(nano_package), "cpu", torch.float32, places=2)
    player, busy, moment = ModelPlayer(backend), Semaphore(0), Semaphore(0)
    music: dict[str, list[Music]] = {key: [] for key in "abcd"}

    def comes() -> Voice:
        return Voice(player, player.defaults)

    def holds() -> Voice:
        busy.release()
        moment.acquire(timeout=TIMEOUT_S)
        raise NoRoom("it only keeps the thread busy", 1.0)

    def follow(orders: dict[str, Orders], come: str = "") -> None:
        """All of it in one moment, until as much was made as was wanted."""
        loop.runner.open("-", holds)
        assert busy.acquire(timeout=TIMEOUT_S)
        for key in come:
            loop.runner.open(key, comes)
        loop.runner.order(orders)
        moment.release()
        made = {key: each.wanted for key, each in orders.items() if each.wanted}
        while any(sum(len(piece.samples) for piece in music[key]) < most for key, most in made.items()):
            for key, report in loop.next().items():
                if key != "-":
                    assert report.failed is None
                    music[key].extend(report.music)

    def wants(pieces: int, shade: int, **more: Any) -> Orders:
        shown = Shown(np.full((player.side, player.side, 3), shade, np.uint8), 0)
        samples = pieces * player.defaults.chunk_steps * player.sample_rate // player.code_rate
        return Orders(frame=shown, wanted=samples, **more)

    loop.runner.start()
    follow({"a": wants(2, 10), "b": wants(2, 90)}, come="ab")
    follow({"c": wants(1, 60), "d": wants(1, 200), "a": Orders(rest=True), "b": Orders(rest=True)}, come="cd")
    follow(
        {
            "a": wants(3, 250, rest=False),
            "b": wants(3, 30, rest=False),
            "c": Orders(leave=True),
            "d": Orders(rest=True),
        }
    )
    loop.runner.stop()
    for pieces, key in zip((3, 3, 1, 1), "abcd", strict=True):
        firsts = [piece.first for piece in music[key]]
        assert firsts == [at * len(music[key][0].samples) for at in range(pieces)]
    assert [pool.places for pools in backend._pools.values() for pool in pools] == [2, 2]


def test_openings_are_bounded() -> None:
    loop = Loop()  # not started: nobody opens
    for number in range(MOST_OPENINGS):
        loop.runner.open(str(number), voice)
    with pytest.raises(NoRoom, match="16 sessions wait"):
        loop.runner.open("one more", voice)


def test_of_two_that_come_at_once_the_one_without_room_is_refused_and_not_begun() -> None:
    """On a device that has room for one."""
    loop = Loop()
    for _ in range(KNOWN_AFTER):
        loop.runner.voices.batcher.times.note(1, 0.012, 0.0)
    loop.runner.open("a", voice)
    with pytest.raises(NoRoom, match="1 streams fill"):
        loop.runner.open("b", voice)
    loop.runner.start()
    loop.runner.order({"a": Orders(frame=Shown(black(), 0), wanted=RATE // 10)})
    assert loop.next()["a"].music
    loop.runner.stop()


def test_orders_that_wait_are_one_record() -> None:
    """The newest frame alone; a new take forgets what was wanted of the old one."""
    first, newest = (Shown(black(), step) for step in (1, 2))
    merged = Orders(wanted=5, turn=True).then(Orders(frame=first)).then(Orders(frame=newest)).then(Orders())
    assert merged.frame is newest
    assert (merged.wanted, merged.turn) == (5, True)
    after = merged.then(Orders(reset=3))
    assert (after.reset, after.wanted, after.turn) == (3, None, False)
    assert after.then(Orders(wanted=7)).wanted == 7


def test_only_what_is_to_be_heard_is_posted() -> None:
    """Fifty steps are ten pieces: no post is without music, and none is lost."""
    loop = Loop()
    loop.runner.start()
    loop.runner.open("a", voice)
    loop.runner.order({"a": Orders(frame=Shown(black(), 0), wanted=RATE)})
    made = 0
    while made < RATE:
        music = loop.next()["a"].music
        assert music
        made += sum(len(piece.samples) for piece in music)
    loop.runner.stop()
    assert loop.posted.empty()


def piece(number: int) -> Music:
    return Music(tone(number * 3200, 3200), number * 3200, 0, 5, 0, 0)


def test_reports_of_ticks_that_were_taken_together_are_one_in_order() -> None:
    first, second = (
        Report((piece(0),), (4,), refused="no"),
        Report((piece(1),), snapshot=b"s"),
    )
    both = first.then(second)
    assert both == Report((*first.music, *second.music), (4,), snapshot=b"s", refused="no")


def test_a_snapshot_is_of_the_moment_after_the_music_that_it_comes_with() -> None:
    """Ticks are not put together over it: what came later is in no report that has it."""
    loop = Loop()
    loop.runner.start()
    loop.runner.open("a", voice)
    loop.runner.order({"a": Orders(frame=Shown(black(), 0), wanted=RATE, snapshot=True)})
    made, seen = 0, list[bytes]()
    while made < RATE:
        report = loop.next()["a"]
        made += sum(len(piece.samples) for piece in report.music)
        if report.snapshot is not None:
            seen.append(report.snapshot)
            steps_taken = int(report.snapshot.split()[0])
            assert made == steps_taken // 5 * 3200
            assert steps_taken < 50
    loop.runner.stop()
    assert len(seen) == 1
