"""How much WebRTC may take, each a field with its default and its reason. An operator may change any. It needs no aiortc."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeerLimits:
    """Of peer connections: who publishes, who listens, and browsers that do both."""

    at_once: int = 64
    """Peers of all sessions; each has two sockets at least, and up to two threads. One more gets 503."""
    connect_s: float = 15.0
    """From the offer to the first encrypted packet; ICE alone waits for an offer without candidates for ever."""
    gather_s: float = 2.0
    """How long an answer may wait for the servers of ICE; OBS waits 8 s for it."""
    lost_s: float = 4.5
    """Without a packet and without an answer to a consent check, then the peer is lost; half a second more to notice it."""
    sdp_bytes: int = 64 * 1024
    """An offer or a fragment; Chromium's is 8 KiB."""
    lines: int = 8
    """Media lines of an offer."""
    attributes: int = 400
    """Lines below one of them, each once; below Chromium's video are 125. What aiortc does with them grows with their square."""
    candidates: int = 32
    """Of one peer, by its offer and trickled; each may be probed by us. Those beyond are left out."""
    sources: int = 31
    """Of RTP (SSRC) that a peer may name; as many as RTCP reports on at once. Packets of others are left out."""
    pieces: int = 128
    """Of messages on data channels that wait for the rest; the longest that may be has 57 where packets are small."""
    encoded_sounds: int = 30
    """Frames of original sound that wait for their decoder; when it is slower, they go."""
    decoded_sounds: int = 32
    """Frames of original sound, of 20 ms mostly, that wait for the loop; then the oldest goes."""
    waiting_ms: int = 500
    """Music that waits to be sent; then the oldest goes."""
    channel_bytes: int = 256 * 1024
    """That wait in a data channel; then its messages wait in the line, which has a bound of its own."""
    close_s: float = 5.0
    """How long taking leave may take."""
