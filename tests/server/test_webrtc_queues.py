"""What lies between the network and the eyes: frames are whole at once, nothing grows, and aiortc uses what it is given."""

from __future__ import annotations

import asyncio
import inspect
import queue
from typing import Any

import pytest
from aiortc import rtcrtpreceiver
from aiortc.codecs import CODECS
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from server.webrtc.receiving import PACKETS, Backlog, Encoded, Frames, Newest, know_profiles

H264 = next(codec for codec in CODECS["video"] if codec.name == "H264")
OPUS = next(codec for codec in CODECS["audio"] if codec.name == "opus")


def drain(backlog: Backlog) -> list[Any]:
    found = []
    while not backlog.empty():
        found.append(backlog.get())
    return found


def test_sound_goes_on_with_the_next_packet() -> None:
    lost: list[int] = []
    backlog = Backlog(2, lost.append)
    for data in (b"1", b"2", b"3"):
        backlog.put((OPUS, data))
    assert (drain(backlog), lost) == ([(OPUS, b"3")], [2])


def test_the_end_waits_for_nothing() -> None:
    """aiortc joins the decoder's thread on the loop."""
    backlog = Backlog(9, lambda count: None)
    for _ in range(9):
        backlog.put((OPUS, b""))
    backlog.put(None)
    assert drain(backlog) == [None]


def test_whatever_comes_no_more_waits_than_may() -> None:
    backlog = Backlog(5, lambda count: None)
    for _ in range(1000):
        backlog.put((OPUS, b""))
        assert backlog.qsize() <= 5


def test_of_decoded_sound_a_few_frames_wait_and_what_goes_is_counted() -> None:
    async def play() -> None:
        gone: list[int] = []
        newest = Newest(3, gone.append)
        for n in range(5):
            await newest.put(n)
        assert [newest.get_nowait() for _ in range(newest.qsize())] == [2, 3, 4]
        assert gone == [1, 1]

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
            packet = RtpPacket(
                payload_type=H264.payloadType,
                marker=int(last),
                sequence_number=sequence,
                timestamp=3000 * number,
            )
            packet._data = b"%d.%d " % (number, part)  # type: ignore[attr-defined]
            found.append(packet)
    return found


def whole(number: int, length: int) -> bytes:
    return b"".join(b"%d.%d " % (number, part) for part in range(length))


def encoded(packets: list[RtpPacket]) -> list[Encoded]:
    """What is given away when these come, in this order."""
    found: list[Encoded] = []
    buffer = Frames(PACKETS, {H264.payloadType: H264}, found.append)
    for packet in packets:
        assert buffer.add(packet)[1] is None  # else aiortc would decode it
    return found


def frames_of(packets: list[RtpPacket]) -> list[bytes]:
    return [frame.data for frame in encoded(packets)]


def test_a_frame_is_whole_with_its_last_packet() -> None:
    lengths = [1, 3, 1, 2]
    packets = packets_of(lengths)
    ends = [sum(lengths[: n + 1]) for n in range(len(lengths))]
    for count in range(1, len(packets) + 1):
        done = sum(end <= count for end in ends)
        assert frames_of(packets[:count]) == [whole(n, lengths[n]) for n in range(done)]


@given(st.lists(st.integers(1, 4), min_size=2, max_size=12), st.randoms(use_true_random=False))
def test_frames_stay_whole_and_in_order_whatever_comes_first(lengths: list[int], random: Any) -> None:
    """The first packet says where the video begins; after it others may overtake each other."""
    first, *others = packets_of(lengths)
    random.shuffle(others)
    found = encoded([first, *others])
    assert [frame.data for frame in found] == [whole(number, length) for number, length in enumerate(lengths)]
    assert [frame.follows for frame in found] == [False] + [True] * (len(lengths) - 1)
    assert [frame.at for frame in found] == [3000 * number for number in range(len(lengths))]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_without_marks_a_frame_is_whole_when_the_next_one_begins(lengths: list[int]) -> None:
    theirs = JitterBuffer(PACKETS, is_video=True)
    found = [theirs.add(packet)[1] for packet in packets_of(lengths, marked=False)]
    assert frames_of(packets_of(lengths, marked=False)) == [frame.data for frame in found if frame]


def test_padding_behind_a_frame_is_no_frame_and_no_loss() -> None:
    packets = packets_of([2, 1, 1, 1])
    for packet in packets[2:4]:  # after the first frame, with its time, as browsers send them
        packet._data, packet.timestamp, packet.marker = b"", 0, 0  # type: ignore[attr-defined]
    found = encoded(packets)
    assert [(frame.data, frame.follows) for frame in found] == [(whole(0, 2), False), (whole(3, 1), True)]


def test_a_frame_after_packets_that_were_given_up_does_not_follow() -> None:
    packets = packets_of([40] * 20)
    for packet in packets:
        packet.timestamp //= 20  # so many a second that there is no room for those that wait
    del packets[3 * 40 + 7]
    found = encoded(packets)
    assert [frame.data for frame in found] == [whole(n, 40) for n in (0, 1, 2, *range(4, 20))]
    assert [n for n, frame in enumerate(found) if not frame.follows] == [0, 3]


@pytest.mark.parametrize("missing", [[0], [1], [2], [0, 1, 2]], ids=["first", "middle", "last", "all"])
def test_a_packet_that_does_not_come_again_is_waited_for_for_a_second(missing: list[int]) -> None:
    lengths = [3] * 60
    packets = packets_of(lengths)
    for part in reversed(missing):
        del packets[3 * 5 + part]
    waits = [frame.data for frame in encoded(packets[: 3 * 35])]
    assert waits == [whole(n, 3) for n in range(5)]
    found = encoded(packets)
    after = [frame.data for frame in found[5:]]
    assert after[-50:] == [whole(n, 3) for n in range(10, 60)]
    assert [n for n, frame in enumerate(found) if not frame.follows] == [0, 5]


def test_the_clock_begins_again_and_goes_back_for_pictures_out_of_order() -> None:
    times = [2**32 - 6000, 2**32 - 3000, 3000, 0, 6000]
    packets = packets_of([1] * len(times))
    for packet, time in zip(packets, times, strict=True):
        packet.timestamp = time
    assert [frame.at for frame in encoded(packets)] == [0, 3000, 9000, 6000, 12_000]


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
    assert "self.__codecs[codec.payloadType] = codec" in receiver
    assert "pli_flag, encoded_frame = self.__jitter_buffer.add(packet)" in receiver
    assert "self._remove_frame(packet.sequence_number)" in inspect.getsource(JitterBuffer.add)
    assert "self.__decoder_queue.put((codec, encoded_frame))" in receiver
    assert "self._track._queue" in receiver
    assert "self._queue" in inspect.getsource(rtcrtpreceiver.RemoteStreamTrack)
    assert issubclass(Backlog, queue.Queue)
