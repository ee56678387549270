"""What lies between the network and the eyes cannot grow: laws of the queues, and that aiortc still uses those it is given."""

from __future__ import annotations

import asyncio
import inspect
import queue
from types import SimpleNamespace
from typing import Any

import pytest
from aiortc import rtcrtpreceiver
from aiortc.codecs import CODECS

from server.webrtc.receiving import Backlog, Newest, is_key, know_profiles

H264 = next(codec for codec in CODECS["video"] if codec.name == "H264")
VP8 = next(codec for codec in CODECS["video"] if codec.name == "VP8")
OPUS = next(codec for codec in CODECS["audio"] if codec.name == "opus")
START = b"\x00\x00\x00\x01"
KEY, INTER = START + b"\x67sps" + START + b"\x68pps" + START + b"\x65idr", START + b"\x41inter"


def frame(data: bytes) -> Any:
    return SimpleNamespace(data=data)


def drain(backlog: Backlog) -> list[Any]:
    found = []
    while not backlog.empty():
        item = backlog.get()
        found.append(item and item[1].data)
    return found


def test_a_decoder_that_is_too_slow_loses_all_until_a_keyframe() -> None:
    lost: list[int] = []
    backlog = Backlog(3, lost.append)
    for _ in range(3):
        backlog.put((H264, frame(INTER)))
    assert not lost
    for data in (INTER, INTER, KEY, INTER):
        backlog.put((H264, frame(data)))
    assert drain(backlog) == [KEY, INTER]
    assert lost == [3, 1, 1]


def test_sound_goes_on_with_the_next_packet() -> None:
    lost: list[int] = []
    backlog = Backlog(2, lost.append)
    for data in (b"1", b"2", b"3"):
        backlog.put((OPUS, frame(data)))
    assert (drain(backlog), lost) == ([b"3"], [2])


def test_the_end_waits_for_nothing() -> None:
    """aiortc joins the decoder's thread on the loop."""
    backlog = Backlog(9, lambda count: None)
    for _ in range(9):
        backlog.put((H264, frame(KEY)))
    backlog.put(None)
    assert drain(backlog) == [None]


def test_whatever_comes_no_more_waits_than_may() -> None:
    backlog = Backlog(5, lambda count: None)
    for n in range(1000):
        backlog.put((VP8, frame(bytes([n % 7 != 0]))))
        assert backlog.qsize() <= 5


@pytest.mark.parametrize(
    ("codec", "data", "key"),
    [
        ("H264", KEY, True),
        ("H264", INTER, False),
        ("H264", b"", False),
        ("H264", START, False),
        ("VP8", b"\x10rest", True),
        ("VP8", b"\x11rest", False),
        ("VP8", b"", False),
    ],
)
def test_keyframes_are_known(codec: str, data: bytes, key: bool) -> None:
    assert is_key(codec, data) is key


def test_of_decoded_frames_the_newest_waits() -> None:
    async def play() -> None:
        newest = Newest()
        for n in range(100):
            await newest.put(n)
        assert newest.qsize() == 1
        assert await newest.get() == 99

    asyncio.run(play())


def test_of_decoded_sound_a_few_frames_wait_and_what_goes_is_counted() -> None:
    async def play() -> None:
        gone: list[int] = []
        newest = Newest(3, lambda: gone.append(1))
        for n in range(5):
            await newest.put(n)
        assert [newest.get_nowait() for _ in range(newest.qsize())] == [2, 3, 4]
        assert len(gone) == 2

    asyncio.run(play())


def test_profiles_are_made_known_once() -> None:
    know_profiles()
    before = len(CODECS["video"])
    know_profiles()
    assert len(CODECS["video"]) == before
    types = [codec.payloadType for codec in CODECS["video"]]
    assert len(set(types)) == len(types)


def test_aiortc_has_the_queues_that_are_replaced() -> None:
    """Names that are private to it; without them the queues would be its own again, without a bound and without an error."""
    receiver = inspect.getsource(rtcrtpreceiver.RTCRtpReceiver)
    assert receiver.count("self.__decoder_queue") >= 4
    assert "self.__decoder_queue.put((codec, encoded_frame))" in receiver
    assert "self._track._queue" in receiver
    assert "self._queue" in inspect.getsource(rtcrtpreceiver.RemoteStreamTrack)
    assert issubclass(Backlog, queue.Queue)
