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
from aiortc import MediaStreamTrack, RTCRtpSender
from rtc_client import RtcClient, closing, eventually
from served import Serve, Served
from shell_client import ask

from cuestream.players import find_player
from server.pictures import decoders
from server.pictures.headers import START_CODE, is_keyframe
from server.protocol.media import Kind
from server.sessions.hosted import Hosted

pytestmark = pytest.mark.usefixtures("loopback")
HERE = {"player": find_player("synthetic"), "ice_addresses": ("127.0.0.1",)}
CODECS = {"H264": ("libx264", {"tune": "zerolatency"}), "VP8": ("libvpx", {"lag-in-frames": "0"})}
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
    """Video that is encoded already, 25 packets a second, over and over."""

    kind = "video"

    def __init__(self, packets: list[bytes]) -> None:
        super().__init__()
        self.packets, self.sent = packets, 0

    async def recv(self) -> av.Packet:
        await asyncio.sleep(0.04)
        packet = av.Packet(self.packets[self.sent % len(self.packets)])
        packet.pts, packet.time_base = 3600 * self.sent, Fraction(1, 90_000)
        self.sent += 1
        return packet


def shows(codec: str, track: MediaStreamTrack) -> RtcClient:
    client = RtcClient()
    sender = client.pc.addTransceiver(track, "sendonly")
    known = RTCRtpSender.getCapabilities("video")
    assert known is not None
    sender.setCodecPreferences([each for each in known.codecs if each.name == codec])
    return client


def published(served: Served, codec: str, track: MediaStreamTrack, work: Callable[[Hosted], Any]) -> None:
    """Do it once the session `show` plays."""

    async def play() -> None:
        client = shows(codec, track)
        async with closing(client):
            assert (await client.post(f"{served.http}/v1/whip/show"))[0] == 201
            await client.connected()
            hosted = served.host.find("show")
            assert hosted is not None
            await eventually(lambda: hosted.core.state == "playing")
            await work(hosted)

    asyncio.run(play())


def units(frame: bytes) -> list[bytes]:
    """Of a frame of H.264 as it is sent."""
    return [unit.rstrip(b"\x00") for unit in frame.split(START_CODE)[1:]]


def units_of_mp4(path: Path) -> list[list[bytes]]:
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
        track.packets = [packets[1] + b"\x00" + START_CODE + b"\x06" + BROKEN]
        await eventually(lambda: hosted.watching.counts["refused"] == 1)
        track.packets = packets
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
    filmed = [sent.index(frame) for frame in units_of_mp4(path)]
    assert is_keyframe(Kind.H264, packets[filmed[0]])
    assert filmed == [(filmed[0] + n) % 25 for n in range(len(filmed))]
    assert len(filmed) >= 20
    with av.open(str(path)) as film:
        times = [packet.pts for packet in film.demux(video=0) if packet.pts is not None]
        assert all(before < after for before, after in pairwise(times))
