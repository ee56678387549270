"""Video over WebRTC goes the way of a websocket's: decoded in a process of its own, copied into films as it came."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiortc.rtcrtpreceiver
import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack
from rtc_client import closing, eventually, publisher
from served import Serve, Served
from shell_client import Client, ask

from cuestream.players import find_player
from server.pictures import decoders
from server.pictures.headers import START_CODE, is_keyframe
from server.protocol.media import NO_FLAGS, Flag, Kind
from server.sessions.hosted import Hosted
from server.webrtc.incoming import Incoming, Keyframes
from server.webrtc.receiving import Encoded

pytestmark = pytest.mark.usefixtures("loopback")
HERE = {"player": find_player("synthetic"), "ice_addresses": ("127.0.0.1",)}
CODECS = {
    "H264": ("libx264", {"tune": "zerolatency", "sc_threshold": "0"}),
    "VP8": ("libvpx", {"lag-in-frames": "0"}),
}
BROKEN = b"this frame breaks its decoder"
WORKER = f"""
import os, signal
from server.pictures import worker
see = worker.see
def breaks(eyes, record):
    if {BROKEN!r} in getattr(record, "payload", b""):
        os.kill(os.getpid(), signal.SIGKILL)
    return see(eyes, record)
worker.see = breaks
worker.main()
"""


def encoded(codec: str, count: int, size: tuple[int, int] = (96, 64), keyframes: int = 5) -> list[bytes]:
    """Packets, each of which needs the ones before it, but for a keyframe now and then."""
    name, options = CODECS[codec]
    encoder: Any = av.CodecContext.create(name, "w")
    encoder.width, encoder.height = size
    encoder.time_base, encoder.pix_fmt, encoder.gop_size = Fraction(1, 25), "yuv420p", keyframes
    encoder.options = options
    pixels = np.random.default_rng(7).integers(0, 255, (count, *size[::-1], 3), dtype=np.uint8)
    frames = [av.VideoFrame.from_ndarray(each, format="rgb24").reformat(format="yuv420p") for each in pixels]
    return [bytes(packet) for frame in frames for packet in encoder.encode(frame)]


class Packets(MediaStreamTrack):
    """Video that is encoded already, 25 packets a second, over and over. at: which one is next; sent: how many were."""

    kind = "video"

    def __init__(self, packets: list[bytes]) -> None:
        super().__init__()
        self.packets, self.sent, self.at = packets, 0, 0

    async def recv(self) -> av.Packet:
        await asyncio.sleep(0.04)
        packet = av.Packet(self.packets[self.at])
        packet.pts, packet.time_base = 3600 * self.sent, Fraction(1, 90_000)
        self.sent, self.at = self.sent + 1, (self.at + 1) % len(self.packets)
        return packet


def published(served: Served, codec: str, track: MediaStreamTrack, work: Callable[[Hosted], Any]) -> None:
    """Do it once the session `show` plays."""

    async def play() -> None:
        client = publisher(track, codec=codec)
        async with closing(client):
            assert (await client.post(f"{served.http}/v1/whip/show"))[0] == 201
            await client.connected()
            hosted = served.host.find("show")
            assert hosted is not None
            await eventually(lambda: hosted.core.state == "playing")
            await work(hosted)

    asyncio.run(play())


class Fed:
    """Frames as a peer's receiver gives them, to the session of a websocket's client. asked: whether a keyframe was, by each."""

    def __init__(self, served: Served, session_id: str) -> None:
        self._served, self.asked = served, list[bool]()
        self._incoming = Incoming(served.host, lambda: served.host.find(session_id), "whip")

    def show(self, data: bytes, follows: bool = True, kind: Kind = Kind.H264) -> None:
        frame = Encoded(kind, data, 3600 * len(self.asked), follows)
        self.asked.append(self._served.on_loop(lambda: self._incoming.picture(frame)))

    def end(self) -> None:
        self._served.on_loop(self._incoming.end)


def units(frame: bytes) -> list[bytes]:
    """Of a frame of H.264 as it is sent."""
    return [unit.rstrip(b"\x00") for unit in frame.split(START_CODE)[1:]]


def units_in(path: Path) -> list[list[bytes]]:
    """Of each of its frames."""
    found = []
    with av.open(str(path)) as film:
        for packet in film.demux(video=0):
            data, at, frame = bytes(packet), 0, []
            while at < len(data):
                end = at + 4 + int.from_bytes(data[at : at + 4], "big")
                frame.append(data[at + 4 : end].rstrip(b"\x00"))
                at = end
            found += [frame] if frame else []
    return found


@pytest.mark.parametrize("codec", ["H264", "VP8"])
def test_video_is_decoded_in_a_decoder_process_and_not_in_the_server(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    decoded: list[str] = []
    get_decoder = aiortc.rtcrtpreceiver.get_decoder

    def noted(codec: Any) -> Any:
        decoded.append(codec.name)
        return get_decoder(codec)

    async def work(hosted: Hosted) -> None:
        await eventually(lambda: hosted.watching.counts["shown"] >= 5)
        assert len(served.host.decoders.pids) == 1
        assert decoded == []

    monkeypatch.setattr(aiortc.rtcrtpreceiver, "get_decoder", noted)
    with serve(**HERE) as served:
        published(served, codec, Packets(encoded(codec, 25)), work)


def test_a_frame_that_breaks_its_decoder_ends_neither_peer_nor_session(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    packets = encoded("H264", 25)
    track = Packets(packets)

    async def work(hosted: Hosted) -> None:
        await eventually(lambda: hosted.watching.counts["shown"] >= 3)
        (pid,) = served.host.decoders.pids
        track.at, track.packets = 0, [packets[1] + b"\x00" + START_CODE + b"\x06" + BROKEN]
        await eventually(lambda: hosted.watching.counts["refused"] == 1)
        track.at, track.packets = 0, packets
        shown = hosted.watching.counts["shown"]
        await eventually(lambda: hosted.watching.counts["shown"] > shown + 3)
        assert served.host.decoders.pids != [pid]
        assert hosted.core.state == "playing"
        assert "cuestream_decoders_broken_total 1.0" in ask("GET", f"{served.http}/metrics")[1]

    monkeypatch.setattr(decoders, "COMMAND", (sys.executable, "-c", WORKER))
    with serve(**HERE) as served:
        published(served, "H264", track, work)


def test_a_film_has_the_packets_that_were_published(serve: Serve, tmp_path: Path) -> None:
    packets = encoded("H264", 25)

    async def work(hosted: Hosted) -> None:
        address = f"{served.http}/v1/sessions/show/recording"
        assert (await asyncio.to_thread(ask, "POST", address, {"video": True}))[0] == 201
        taken = track.sent
        await eventually(lambda: track.sent > taken + 30)
        assert (await asyncio.to_thread(ask, "DELETE", address))[0] == 200

    track = Packets(packets)
    with serve(recordings=tmp_path, **HERE) as served:
        published(served, "H264", track, work)
    (path,) = tmp_path.glob("*/film.mp4")
    sent = [units(packet) for packet in packets]
    filmed = [sent.index(frame) for frame in units_in(path)]
    assert is_keyframe(Kind.H264, packets[filmed[0]])
    assert filmed == [(filmed[0] + n) % 25 for n in range(len(filmed))]
    assert len(filmed) >= 20
    with av.open(str(path)) as film:
        times = [packet.pts for packet in film.demux(video=0) if packet.pts is not None]
        assert all(before < after for before, after in pairwise(times))


def test_an_output_has_the_packets_that_were_published(serve: Serve, tmp_path: Path) -> None:
    packets = encoded("H264", 25)

    async def work(hosted: Hosted) -> None:
        address = f"{served.http}/v1/sessions/show/output"
        wanted = {"url": "file:a.mkv", "what": "mixed", "delay_ms": 0}
        assert (await asyncio.to_thread(ask, "POST", address, wanted))[0] == 201
        taken = track.sent
        await eventually(lambda: track.sent > taken + 30)
        assert (await asyncio.to_thread(ask, "DELETE", address))[0] == 200

    track = Packets(packets)
    with serve(outputs=tmp_path, **HERE) as served:
        published(served, "H264", track, work)
    sent = [units(packet) for packet in packets]
    shown = [sent.index(frame) for frame in units_in(tmp_path / "a.mkv")]
    assert is_keyframe(Kind.H264, packets[shown[0]])
    assert shown == [(shown[0] + n) % 25 for n in range(len(shown))]
    assert len(shown) >= 15


def test_a_film_is_cut_at_a_loss_and_goes_on_with_the_next_keyframe(serve: Serve, tmp_path: Path) -> None:
    packets = encoded("H264", 20)
    keyframes = [n for n, packet in enumerate(packets) if is_keyframe(Kind.H264, packet)]
    lost = keyframes[1] + 2
    goes_on = next(n for n in keyframes if n > lost)
    with serve(recordings=tmp_path) as served, Client(served.ws) as client:
        fed = Fed(served, client.start()["session_id"])
        client.play()
        client.send("recording", action="start", video=True)
        client.until("recording.state", state="recording")
        for n, packet in enumerate(packets):
            if n != lost:
                fed.show(packet, follows=n not in (0, lost + 1))
        client.send("recording", action="stop")
        client.until("recording.state", state="finished")
    assert [n for n in range(len(fed.asked)) if fed.asked[n]] == list(range(lost, goes_on - 1))
    sent = [units(packet) for packet in packets]
    (path,) = tmp_path.glob("*/film.mp4")
    assert [sent.index(frame) for frame in units_in(path)] == [
        *range(lost),
        *range(goes_on, len(packets)),
    ]


def test_a_film_has_also_what_comes_faster_than_may_be_decoded(serve: Serve, tmp_path: Path) -> None:
    packets = encoded("H264", 20, keyframes=100)
    with serve(recordings=tmp_path, fps=12) as served, Client(served.ws) as client:
        session_id = client.start()["session_id"]
        fed = Fed(served, session_id)
        client.play()
        client.send("recording", action="start", video=True)
        client.until("recording.state", state="recording")
        for n, packet in enumerate(packets):
            fed.show(packet, follows=n > 0)
        hosted = served.host.find(session_id)
        assert hosted is not None
        assert hosted.watching.counts["too_many"] > 0
        client.send("recording", action="stop")
        client.until("recording.state", state="finished")
    (path,) = tmp_path.glob("*/film.mp4")
    assert units_in(path) == [units(packet) for packet in packets]


def test_two_videos_of_a_session_do_not_take_each_others_decoder(served: Served) -> None:
    packets = encoded("H264", 12, keyframes=100)
    with Client(served.ws) as client:
        session_id = client.start()["session_id"]
        hosted, fed = served.host.find(session_id), Fed(served, session_id)
        assert hosted is not None
        for n, packet in enumerate(packets):
            client.show(packet, Kind.H264, flags=NO_FLAGS if n else Flag.KEYFRAME)
            fed.show(packet, follows=n > 0)
        client.send("ping", t_us=1)
        client.until("pong")
        client.wait_for(lambda: not any(way._busy for way in hosted._ways))
        assert hosted.watching.counts["refused"] == hosted.watching.counts["dropped"] == 0
        assert not any(fed.asked)
        assert len(hosted._ways) == 2
        fed.end()
        assert len(hosted._ways) == 1


def test_a_frame_of_too_many_bytes_is_refused_and_a_keyframe_is_asked_for(serve: Serve) -> None:
    packets = encoded("H264", 5)
    most = max(map(len, packets))
    with serve(image_bytes=most) as served, Client(served.ws) as client:
        fed = Fed(served, client.start()["session_id"])
        fed.show(packets[0])
        fed.show(packets[1] + bytes(most))
        assert "bytes" in client.until("error", code="frame_too_large")["text"]
        fed.show(packets[1])
        fed.show(packets[0])
        assert fed.asked == [False, True, True, False]


def test_a_keyframe_is_asked_for_where_something_begins_to_copy_and_each_two_seconds() -> None:
    keyframes, nothing, film, both = Keyframes(), (None, None), ("film", None), ("film", "output")
    assert not keyframes.due(0.0, True, nothing)
    assert not keyframes.due(9.0, False, nothing)
    assert keyframes.due(9.1, False, film)
    assert keyframes.due(9.2, False, film)  # until it comes
    assert not keyframes.due(9.3, True, film)
    assert not keyframes.due(11.2, False, film)
    assert keyframes.due(11.3, False, film)
    assert not keyframes.due(11.4, True, film)
    assert keyframes.due(11.5, False, both)
    assert not keyframes.due(11.6, True, both)
    assert not keyframes.due(20.0, False, nothing)


def test_a_film_begins_though_its_publisher_sends_keyframes_only_when_asked(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    track = Packets(encoded("H264", 200, keyframes=1000))

    async def again(receiver: Any, source: int) -> None:
        track.at = 0

    async def work(hosted: Hosted) -> None:
        await eventually(lambda: track.at > 10)
        address = f"{served.http}/v1/sessions/show/recording"
        assert (await asyncio.to_thread(ask, "POST", address, {"video": True}))[0] == 201
        await eventually(lambda: hosted.tape and track.at < 10)
        await eventually(lambda: track.at > 10)
        assert (await asyncio.to_thread(ask, "DELETE", address))[0] == 200

    monkeypatch.setattr(aiortc.RTCRtpReceiver, "_send_rtcp_pli", again)
    with serve(recordings=tmp_path, **HERE) as served:
        published(served, "H264", track, work)
    (path,) = tmp_path.glob("*/film.mp4")
    with av.open(str(path)) as film:
        assert len(list(film.decode(video=0))) >= 9
