"""What lies between the network and the eyes: frames are whole at once, nothing grows, and aiortc uses what it is given."""

from __future__ import annotations

import asyncio
import inspect
import queue
from types import SimpleNamespace
from typing import Any

import pytest
from aiortc import rtcrtpreceiver
from aiortc.codecs import CODECS
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from server.webrtc.incoming import Pace
from server.webrtc.receiving import PACKETS, Backlog, Frames, Newest, is_key, know_profiles

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


FIRST = 65_533
"""So that sequence numbers begin again soon."""


def packets_of(lengths: list[int], marked: bool = True) -> list[RtpPacket]:
    """Of frames of so many packets each; their data say which frame and which packet."""
    found = []
    for number, length in enumerate(lengths):
        for part in range(length):
            last = marked and part == length - 1
            sequence = (FIRST + len(found)) % 2**16
            packet = RtpPacket(marker=int(last), sequence_number=sequence, timestamp=3000 * number)
            packet._data = b"%d.%d " % (number, part)  # type: ignore[attr-defined]
            found.append(packet)
    return found


def whole(number: int, length: int) -> bytes:
    return b"".join(b"%d.%d " % (number, part) for part in range(length))


def frames_of(buffer: JitterBuffer, packets: list[RtpPacket]) -> list[bytes | None]:
    """What each packet completed."""
    found = [buffer.add(packet)[1] for packet in packets]
    return [frame and frame.data for frame in found]


def test_a_frame_is_whole_with_its_last_packet() -> None:
    assert frames_of(Frames(PACKETS), packets_of([1, 3, 1, 2])) == [
        whole(0, 1),
        None,
        None,
        whole(1, 3),
        whole(2, 1),
        None,
        whole(3, 2),
    ]


@given(st.lists(st.integers(1, 4), min_size=2, max_size=12), st.randoms(use_true_random=False))
def test_frames_stay_whole_and_in_order_whatever_comes_first(lengths: list[int], random: Any) -> None:
    """The first packet says where the video begins; after it a few may overtake others."""
    first, *others = packets_of(lengths)
    for at in range(0, len(others), 5):
        part = others[at : at + 5]
        random.shuffle(part)
        others[at : at + 5] = part
    found = [frame for frame in frames_of(Frames(PACKETS), [first, *others]) if frame]
    assert found == [whole(number, length) for number, length in enumerate(lengths)][: len(found)]
    assert found


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_without_marks_a_frame_is_whole_when_the_next_one_begins(lengths: list[int]) -> None:
    packets = packets_of(lengths, marked=False)
    ours, theirs = Frames(PACKETS), JitterBuffer(PACKETS, is_video=True)
    assert frames_of(ours, packets) == frames_of(theirs, packets)


def test_padding_behind_a_frame_is_no_frame() -> None:
    packets = packets_of([2, 3, 1])
    for packet in (packets[2], packets[3]):  # after the first frame, with its time, as browsers send them
        packet._data, packet.timestamp = b"", 0  # type: ignore[attr-defined]
    assert frames_of(Frames(PACKETS), packets) == [
        None,
        whole(0, 2),
        None,
        None,
        b"1.2 ",
        whole(2, 1),
    ]


def waits(fps: float, came_s: list[float]) -> list[float]:
    """Seconds that each picture waited that was looked at; of those that wait the newest is."""
    pace, found, at = Pace(fps, 0.0), [], 0
    while at < len(came_s):
        while at + 1 < len(came_s) and came_s[at + 1] <= pace.due_s:
            at += 1
        now_s = max(pace.due_s, came_s[at])
        found.append(now_s - came_s[at])
        pace.taken(now_s)
        at += 1
    return found


def test_after_a_late_picture_a_camera_of_our_own_rate_waits_for_nothing() -> None:
    came_s = [1 + n / 30 + (0.02 if n in (20, 21) else 0.002 * (n % 3)) for n in range(300)]
    waited = waits(30, came_s)
    assert len(waited) == 300
    assert max(waited[22:]) < 0.005


@pytest.mark.parametrize("camera_fps", [7, 10, 24, 30, 60])
def test_of_a_faster_camera_as_many_are_looked_at_as_are_wanted(camera_fps: int) -> None:
    waited = waits(8, [n / camera_fps for n in range(camera_fps * 60)])
    assert len(waited) == pytest.approx(60 * min(8, camera_fps), abs=3)
    assert max(waited) <= 1 / camera_fps + 1e-9


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
    assert "pli_flag, encoded_frame = self.__jitter_buffer.add(packet)" in receiver
    assert "self._remove_frame(packet.sequence_number)" in inspect.getsource(JitterBuffer.add)
    assert "self.__decoder_queue.put((codec, encoded_frame))" in receiver
    assert "self._track._queue" in receiver
    assert "self._queue" in inspect.getsource(rtcrtpreceiver.RemoteStreamTrack)
    assert issubclass(Backlog, queue.Queue)
