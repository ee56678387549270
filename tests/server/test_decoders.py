"""Pictures are decoded in another process, and it makes no difference to what is seen, whatever becomes of the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import uvloop
from process import is_gone
from shell_client import jpeg

from engine.frames import U8
from server.pictures import decoders as under_test
from server.pictures.decoders import BREAKING, COMMAND, DecoderLimits, Decoders
from server.pictures.imaging import Eyes
from server.pictures.wire import Answers, Job, Picture, Ready, Seen
from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.limits import DEFAULTS
from server.protocol.media import Kind, Media, Size, StreamId
from server.system.environment import of_a_process
from server.system.records import packed

SIDE = 56
Answer = U8 | ProtocolError | None
PICTURE = jpeg(3)
STILLS = [
    (Kind.JPEG, PICTURE),
    (Kind.PNG, jpeg(4, "png", (320, 180))),
    (Kind.WEBP, jpeg(5, "libwebp")),
    (Kind.JPEG, jpeg(6, "mjpeg", (640, 360))),
]


def media(kind: Kind, payload: bytes, size: Size | None = None) -> Media:
    return Media(kind, StreamId.VIDEO, 0, 0, payload, size=size)


def video(codec: str, count: int) -> list[bytes]:
    """Packets, each of which needs the ones before it."""
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.time_base, encoder.pix_fmt = 96, 64, Fraction(1, 25), "yuv420p"
    encoder.options = {"tune": "zerolatency"} if codec == "libx264" else {"lag-in-frames": "0"}
    pixels = np.random.default_rng(7).integers(0, 255, (count, 64, 96, 3), dtype=np.uint8)
    frames = [av.VideoFrame.from_ndarray(each, format="rgb24").reformat(format="yuv420p") for each in pixels]
    return [bytes(packet) for frame in frames for packet in encoder.encode(frame)]


class Counted:
    def __init__(self) -> None:
        self.broke = 0

    def __call__(self) -> None:
        self.broke += 1


@contextlib.asynccontextmanager
async def decoders(counted: Callable[[], object] = int, **limits: float) -> AsyncIterator[Decoders]:
    made = Decoders(SIDE, DEFAULTS.image_pixels, DecoderLimits(**limits), time.monotonic, counted)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.stop()


def asked(decoders: Decoders, session: str, picture: Media) -> asyncio.Future[Answer]:
    answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    decoders.see(session, picture, answer.set_result)
    return answer


def run(work: Callable[[], Awaitable[None]], loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def patient() -> None:
        async with asyncio.timeout(60):
            await work()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(patient())


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    made: Callable[[], asyncio.AbstractEventLoop] = request.param
    return made


async def worker_of(decoders: Decoders) -> int:
    """When it answers."""
    assert isinstance(await asked(decoders, "first", media(Kind.JPEG, PICTURE)), np.ndarray)
    (pid,) = decoders.pids
    return pid


@pytest.mark.parametrize("count", [1, 2])
def test_what_another_process_sees_is_what_would_be_seen_here(
    loop: Callable[[], asyncio.AbstractEventLoop], count: int
) -> None:
    async def work() -> None:
        async with decoders(count=count) as made:
            pictures = [media(*still) for still in STILLS]
            pixels = np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8)
            pictures.append(media(Kind.RGB24, pixels.tobytes(), Size(64, 48)))
            answers = [asked(made, f"s{at}", picture) for at, picture in enumerate(pictures)]
            for picture, answer in zip(pictures, answers, strict=True):
                seen = await answer
                assert isinstance(seen, np.ndarray)
                assert seen.flags.writeable
                np.testing.assert_array_equal(seen, Eyes(SIDE).see(picture))

    run(work, loop)


@pytest.mark.parametrize(("kind", "codec"), [(Kind.H264, "libx264"), (Kind.VP8, "libvpx")])
def test_the_videos_of_two_sessions_do_not_meet(kind: Kind, codec: str) -> None:
    packets = [video(codec, 5), video(codec, 5)[::-1][-1:] * 5]

    async def work() -> None:
        async with decoders() as made:
            eyes = [Eyes(SIDE), Eyes(SIDE)]
            for step in range(5):
                for session in range(2):
                    picture = media(kind, packets[session][step])
                    seen, here = await asked(made, f"s{session}", picture), eyes[session].see(picture)
                    assert isinstance(seen, np.ndarray)
                    np.testing.assert_array_equal(seen, here)
            made.forget("s0")
            again = await asked(made, "s0", media(kind, packets[0][4]))
            assert not isinstance(again, np.ndarray)  # another decoder, that lacks the pictures before it

    run(work, uvloop.new_event_loop)


def test_a_refusal_says_what_it_would_say_here(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def work() -> None:
        async with decoders() as made:
            for picture in (media(Kind.JPEG, b"nonsense"), media(Kind.PNG, PICTURE)):
                refusal = await asked(made, "s", picture)
                with pytest.raises(ProtocolError) as here:
                    Eyes(SIDE).see(picture)
                assert isinstance(refusal, ProtocolError)
                assert (refusal.code, refusal.text) == (here.value.code, here.value.text)
            assert isinstance(await asked(made, "s", media(Kind.JPEG, PICTURE)), np.ndarray)

    run(work, loop)


def test_what_breaks_a_process_is_refused_and_what_was_behind_it_is_seen_by_the_next_one(
    loop: Callable[[], asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture
) -> None:
    counted = Counted()

    async def work() -> None:
        async with decoders(counted) as made:
            pid = await worker_of(made)
            os.kill(pid, signal.SIGSTOP)  # so that nothing is answered before it dies
            answers = [asked(made, f"s{at}", media(*still)) for at, still in enumerate(STILLS)]
            os.kill(pid, signal.SIGKILL)
            refusal, *others = [await answer for answer in answers]
            assert isinstance(refusal, ProtocolError)
            assert (refusal.code, refusal.weight) == (ErrorCode.DECODE_FAILED, BREAKING)
            for still, seen in zip(STILLS[1:], others, strict=True):
                assert isinstance(seen, np.ndarray)
                np.testing.assert_array_equal(seen, Eyes(SIDE).see(media(*still)))
            assert await worker_of(made) != pid

    run(work, loop)
    assert counted.broke == 1
    assert "exit status -9; 3 others wait for the next one" in caplog.text


def test_one_that_hangs_is_killed_and_the_others_are_seen() -> None:
    counted = Counted()

    async def work() -> None:
        async with decoders(counted, silent_s=0.5) as made:
            pid = await worker_of(made)
            os.kill(pid, signal.SIGSTOP)
            answers = [asked(made, f"s{at}", media(*still)) for at, still in enumerate(STILLS[:2])]
            while not answers[0].done():
                made.look()
                await asyncio.sleep(0.05)
            assert isinstance(await answers[0], ProtocolError)
            async with asyncio.timeout(10):
                while not isinstance(
                    await answers[1], np.ndarray
                ):  # on a busy machine Python's start may take too long
                    answers[1] = asked(made, "s1", media(*STILLS[1]))
            assert made.pids != [pid]

    run(work, uvloop.new_event_loop)
    assert counted.broke >= 1


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("/nowhere/python",), "No such file or directory"),
        ((sys.executable, "-c", "import this_is_not_there"), "exit status 1: ModuleNotFoundError: "),
    ],
)
def test_one_that_cannot_be_started_is_said_and_nobody_is_to_blame(
    command: tuple[str, ...],
    why: str,
    loop: Callable[[], asyncio.AbstractEventLoop],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(under_test, "COMMAND", command)
    counted = Counted()

    async def work() -> None:
        async with decoders(counted) as made:
            for _ in range(3):
                refusals = [asked(made, f"s{at}", media(Kind.JPEG, PICTURE)) for at in range(3)]
                for refusal in [await answer for answer in refusals]:
                    assert isinstance(refusal, ProtocolError)
                    assert refusal.text.startswith(f"no decoder can be started: {why}")
                    assert refusal.weight == 0
            began_s = time.monotonic()
            monkeypatch.setattr(under_test, "COMMAND", COMMAND)
            await worker_of(made)
            assert time.monotonic() - began_s > 0.3  # it is not tried all the time

    run(work, loop)
    assert counted.broke == 3  # not once for each picture
    assert f"no decoder can be started: {why}" in caplog.text


SLOW = """
import sys, time
from pathlib import Path
from server.pictures import worker

def wait(gate):
    while not Path(gate).exists():
        time.sleep(0.01)

see = worker.see
worker.see = lambda *about: (wait(sys.argv[2]), see(*about))[1]
wait(sys.argv[1])
worker.main()
"""
"""Begins, and answers, once there are two files."""


def test_one_that_begins_slowly_begins_and_no_picture_is_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a game has the processor: each that is killed before it began leaves the next one twice as long."""
    begins, answers = tmp_path / "begins", tmp_path / "answers"
    monkeypatch.setattr(under_test, "COMMAND", (sys.executable, "-c", SLOW, str(begins), str(answers)))
    now_s = 0.0

    async def work() -> None:
        nonlocal now_s
        made = Decoders(SIDE, DEFAULTS.image_pixels, DecoderLimits(silent_s=10.0), lambda: now_s, int)
        (worker,) = made._workers

        async def begun() -> None:
            while not made.pids:
                await asyncio.sleep(0.01)

        try:
            refused = asked(made, "s", media(Kind.JPEG, PICTURE))
            await begun()
            now_s += 11.0
            made.look()
            said = await refused
            assert isinstance(said, ProtocolError)
            assert (said.weight, said.text) == (0, "no decoder can be started: exit status -9")
            seen = asked(made, "s", media(Kind.JPEG, PICTURE))
            await begun()
            for happens in (begins.touch, answers.touch):
                now_s += 9.0 if worker._ready else 19.0
                made.look()
                happens()
                while not (worker._ready or seen.done()):
                    await asyncio.sleep(0.01)
            assert isinstance(await seen, np.ndarray)
        finally:
            await made.stop()

    run(work, uvloop.new_event_loop)


def test_one_that_has_failed_to_start_for_days_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as often as a float holds."""
    monkeypatch.setattr(under_test, "PAUSES_S", (0.1, 0.2))

    async def work() -> None:
        async with decoders() as made:
            for _ in range(3000):
                made._workers[0]._not_begun("no")
            await worker_of(made)

    run(work, uvloop.new_event_loop)


def test_one_that_dies_idle_is_nobodys_picture(caplog: pytest.LogCaptureFixture) -> None:
    counted = Counted()

    async def work() -> None:
        async with decoders(counted) as made:
            pid = await worker_of(made)
            os.kill(pid, signal.SIGTERM)  # it is for the server, which would end the input
            assert await worker_of(made) == pid
            os.kill(pid, signal.SIGINT)
            while made.pids == [pid]:
                await asyncio.sleep(0.01)
            assert await worker_of(made) != pid

    run(work, uvloop.new_event_loop)
    assert counted.broke == 1
    assert "the decoder of pictures ended, exit status -2" in caplog.text
    assert "broke its decoder" not in caplog.text


def test_what_takes_too_much_of_the_processor_is_refused_and_others_are_seen() -> None:
    large = jpeg(8, "png", (4000, 2300))

    async def work() -> None:
        async with decoders(picture_s=0.02) as made:
            refusal = await asked(made, "s", media(Kind.PNG, large))
            assert isinstance(refusal, ProtocolError)
            assert (refusal.code, refusal.weight) == (ErrorCode.DECODE_FAILED, BREAKING)

    run(work, uvloop.new_event_loop)


def test_the_working_folder_holds_no_code_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("server", "av", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)

    async def work() -> None:
        async with decoders() as made:
            await worker_of(made)

    run(work, uvloop.new_event_loop)


def test_a_session_that_ends_while_its_picture_waits_is_unknown_to_the_next_process() -> None:
    packets = video("libx264", 2)

    async def work() -> None:
        async with decoders() as made:
            pid = await worker_of(made)
            os.kill(pid, signal.SIGSTOP)
            asked(made, "other", media(Kind.JPEG, PICTURE))
            asked(made, "s", media(Kind.H264, packets[0]))
            made.forget("s")
            os.kill(pid, signal.SIGKILL)
            assert await worker_of(made) != pid
            assert not isinstance(await asked(made, "s", media(Kind.H264, packets[1])), np.ndarray)

    run(work, uvloop.new_event_loop)


def test_a_picture_that_takes_too_much_memory_is_refused_and_others_are_seen() -> None:
    large = jpeg(8, "png", (4000, 2300))

    async def work() -> None:
        async with decoders(memory_bytes=1) as made:  # no more than it has when it begins
            refusal = await asked(made, "s", media(Kind.PNG, large))
            assert isinstance(refusal, ProtocolError)
            assert refusal.code is ErrorCode.DECODE_FAILED
        async with decoders() as made:
            assert isinstance(await asked(made, "s", media(Kind.PNG, large)), np.ndarray)

    run(work, uvloop.new_event_loop)


def test_there_is_no_process_before_the_first_picture_nor_after_the_end() -> None:
    async def work() -> None:
        async with decoders() as made:
            made.forget("nobody")
            await asyncio.sleep(0)
            assert made.pids == []
            pid = await worker_of(made)
        assert is_gone(pid)
        async with decoders() as made:
            waiting = asked(made, "s", media(Kind.JPEG, PICTURE))  # stopped while it starts
        assert not waiting.done()
        assert made.pids == []

    run(work, uvloop.new_event_loop)


@pytest.mark.parametrize("cut", [b"", packed(Picture("way", Kind.JPEG, bytes(9)))[:-1]], ids=["", "cut"])
def test_it_ends_with_the_server(cut: bytes) -> None:
    """Also with one that was killed while it wrote."""
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=of_a_process()
    ) as process:
        out, _ = process.communicate(packed(Job(SIDE, 1000, 1 << 31, 1.0)) + cut, timeout=60)
        assert (process.returncode, out) == (0, packed(Ready()))


def test_what_a_worker_says_is_believed_only_when_it_is_an_answer() -> None:
    said = packed(Seen(bytearray(b"abc"))) + packed(Seen(None, "decode_failed", "why"))
    for piece in (1, 2, 7, len(said)):
        answers = Answers(100)
        heard: list[Any] = [
            seen for at in range(0, len(said), piece) for seen in answers.feed(said[at : at + piece])
        ]
        assert [(seen.pixels, seen.text) for seen in heard] == [(b"abc", ""), (None, "why")]
    with pytest.raises(ValueError, match="a record of 101 bytes"):
        list(Answers(100).feed((101).to_bytes(4, "little")))
