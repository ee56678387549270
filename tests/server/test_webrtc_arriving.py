"""What comes over a peer's transport is bounded before aiortc keeps it, and counted where it is nothing."""

from __future__ import annotations

import asyncio
import inspect
import re
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiortc import rtcdtlstransport, rtcicetransport, rtcsctptransport
from aiortc.rtcsctptransport import SCTP_DATA_FIRST_FRAG, WEBRTC_STRING, DataChunk
from aiortc.rtp import RtpPacket
from rtc_client import RtcClient, browser, closing, eventually
from served import Serve, Served
from shell_client import ask

from cuestream.players import find_player
from server.webrtc.limits import PeerLimits

pytestmark = pytest.mark.usefixtures("loopback")
HERE = {"player": find_player("synthetic"), "ice_addresses": ("127.0.0.1",)}
Work = Callable[[RtcClient, Served], Coroutine[Any, Any, None]]


def met(serve: Serve, work: Work, **limits: int) -> None:
    """A browser that has a session, and what is done then."""

    async def meet() -> None:
        client = browser()
        async with closing(client):
            assert await client.meet(served.http) == 201
            await client.start()
            await work(client, served)

    with serve(peers=PeerLimits(**limits), **HERE) as served:
        asyncio.run(meet())


async def answers(client: RtcClient, **more: Any) -> None:
    client.send("ping", t_us=1, event_id="still there", **more)
    await client.until("pong", event_id="still there")


def left_out(served: Served, reason: str) -> float:
    name = f'cuestream_webrtc_packets_left_out_total{{reason="{reason}"}}'
    lines = ask("GET", f"{served.http}/metrics")[1].splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_a_peer_opens_so_many_sources_and_no_more(serve: Serve) -> None:
    async def work(client: RtcClient, served: Served) -> None:
        video = client.pc.getTransceivers()[0]
        transport, codec = video.sender.transport, video._codecs[0]
        for ssrc in range(1, 101):
            packet = RtpPacket(payload_type=codec.payloadType)
            packet.ssrc = ssrc
            await transport._send_rtp(packet.serialize())
        await eventually(lambda: left_out(served, "source") >= 92)
        (peer,) = served.app.state.peers._open.values()
        receiver = peer.connection.getTransceivers()[0].receiver
        assert len(receiver.transport._rtp_router.ssrc_table) == 8
        assert len(receiver._RTCRtpReceiver__remote_streams) <= 8
        await answers(client)

    met(serve, work, sources=8)


def test_what_is_no_packet_is_counted_and_nothing_ends(serve: Serve) -> None:
    async def work(client: RtcClient, served: Served) -> None:
        transport = client.pc.getTransceivers()[0].sender.transport
        await transport._send_rtp(b"\xa0\x60" + bytes(14))  # more padding than there is
        await transport._send_rtp(b"\x80\xc8\x00\xff" + bytes(8))  # longer than it is
        await transport._send_data(b"no SCTP at all")
        for kind in ("rtp", "rtcp", "sctp"):
            await eventually(lambda kind=kind: left_out(served, kind) == 1)
        await answers(client)

    met(serve, work)


def test_a_datagram_of_nothing_ends_no_peer(serve: Serve) -> None:
    """Anybody can send one who finds the port."""

    async def work(client: RtcClient, served: Served) -> None:
        found = re.search(r"a=candidate:\S+ 1 udp \d+ 127\.0\.0\.1 (\d+) ", client.pc.remoteDescription.sdp)
        assert found
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"", ("127.0.0.1", int(found[1])))
        await answers(client)

    met(serve, work)


def test_a_message_in_more_pieces_than_may_wait_ends_the_peer_and_says_why(serve: Serve) -> None:
    async def work(client: RtcClient, served: Served) -> None:
        await answers(client, more="x" * 60_000)  # as long as one may be
        assert client.channel is not None
        sctp: Any = client.pc.sctp
        for number in range(200):
            piece = DataChunk(flags=0 if number else SCTP_DATA_FIRST_FRAG)
            piece.tsn, piece.stream_id = (sctp._local_tsn + number) % 2**32, client.channel.id
            piece.stream_seq = sctp._outbound_stream_seq[client.channel.id]
            piece.protocol, piece.user_data = WEBRTC_STRING, b" "
            await sctp._send_chunk(piece)
        error = await client.until("error", code="message_too_large")
        assert error["fatal"] is True
        (peer,) = served.app.state.peers._open.values()
        waiting = [len(stream.reassembly) for stream in peer.connection.sctp._inbound_streams.values()]
        assert sum(waiting) <= 128
        await client.ended.wait()

    met(serve, work)


def test_aiortc_has_the_methods_that_are_replaced() -> None:
    """Names that are private to it; without them nothing would be bounded, and without an error."""
    transport = inspect.getsource(rtcdtlstransport.RTCDtlsTransport)
    assert "await self._handle_rtp_data(data, arrival_time_ms=arrival_time_ms)" in transport
    assert "await self._handle_rtcp_data(data)" in transport
    assert transport.count("data = await self.transport._recv()") == 1
    assert "await self._data_receiver._handle_data(data)" in transport
    sctp = inspect.getsource(rtcsctptransport.RTCSctpTransport)
    assert "await self._receive_data_chunk(chunk)" in sctp
    assert "self._recv = self._connection.recv" in inspect.getsource(rtcicetransport.RTCIceTransport)
