"""What comes over a peer's transport, before aiortc keeps or passes over it: from so many sources, messages in so many pieces.

aiortc keeps numbers of every source that RTP names, and the pieces of a message until its last one is here, however many they
are. What it cannot read it passes over in silence. A datagram of nothing, which anybody can send who finds the port, ends its
reading. What is replaced is private; `tests/server/test_webrtc_arriving.py` says what is expected of it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from aiortc import RTCPeerConnection
from aiortc.rtcsctptransport import DataChunk, parse_packet
from aiortc.rtp import RtcpPacket, RtpPacket

from server.metrics import LeftOut
from server.webrtc.reach import transports

NONE = (ValueError, IndexError, struct.error)
"""Which aiortc's parsers raise."""
Tell: TypeAlias = Callable[[LeftOut], object]


def bound_sources(peer: RTCPeerConnection, most: int, left_out: Tell) -> None:
    """Of a peer that does not connect yet."""
    for transport in transports(peer):
        replaced: Any = transport
        packets = Packets(replaced, most, left_out)
        replaced._handle_rtp_data, replaced._handle_rtcp_data = packets.rtp, packets.rtcp
        ice: Any = transport.transport
        ice._recv = partial(_something, ice._recv)


def bound_pieces(peer: RTCPeerConnection, most: int, left_out: Tell, too_many: Callable[[], object]) -> None:
    """Of a peer with data channels that does not connect yet. too_many: called with each piece beyond, which is not taken."""
    sctp: Any = peer.sctp
    messages = Messages(sctp, most, left_out, too_many)
    sctp._handle_data, sctp._receive_data_chunk = messages.packet, messages.piece


async def _something(receive: Callable[[], Any]) -> bytes:
    while not (data := await receive()):
        pass
    return bytes(data)


class Packets:
    """RTP and RTCP of a transport, to whom they are for. most: sources."""

    def __init__(self, transport: Any, most: int, left_out: Tell) -> None:
        self._transport, self._most, self._left_out = transport, most, left_out

    async def rtp(self, data: bytes, arrival_time_ms: int) -> None:
        router = self._transport._rtp_router
        try:
            packet = RtpPacket.parse(data, self._transport._rtp_header_extensions_map)
        except NONE:
            self._left_out("rtp")
            return
        if packet.ssrc not in router.ssrc_table and len(router.ssrc_table) >= self._most:
            self._left_out("source")
        elif receiver := router.route_rtp(packet):
            await receiver._handle_rtp_packet(packet, arrival_time_ms=arrival_time_ms)

    async def rtcp(self, data: bytes) -> None:
        try:
            packets = RtcpPacket.parse(data)
        except NONE:
            self._left_out("rtcp")
            return
        for packet in packets:
            for recipient in self._transport._rtp_router.route_rtcp(packet):
                await recipient._handle_rtcp_packet(packet)


class Messages:
    """What goes to data channels. most: pieces that wait for others, of all messages together; and streams, as many."""

    def __init__(self, sctp: Any, most: int, left_out: Tell, too_many: Callable[[], object]) -> None:
        self._sctp, self._most, self._left_out, self._too_many = sctp, most, left_out, too_many
        self._take_packet, self._take_piece = sctp._handle_data, sctp._receive_data_chunk

    async def packet(self, data: bytes) -> None:
        try:
            parse_packet(data)
        except NONE:
            self._left_out("sctp")
            return
        try:
            await self._take_packet(data)
        except UnicodeDecodeError:  # a text, or a name, that is none
            self._left_out("sctp")

    async def piece(self, piece: DataChunk) -> None:
        streams = self._sctp._inbound_streams
        waiting = sum(len(stream.reassembly) for stream in streams.values())
        if waiting >= self._most or len(streams) > self._most:
            self._too_many()
            return
        await self._take_piece(piece)
