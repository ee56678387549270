"""SDP offers: read, checked against what this server does, and cut down to it. Text in, text out.

What remains can be answered as it is: Opus and the video that we decode, candidates that are addresses, one bundle. The end of
candidates is always left out: we learn a client's address when it checks ours, so an offer connects without candidates, as OBS
sends it, and with names that only its own network knows.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from aiortc import RTCIceCandidate, RTCRtpCodecParameters
from aiortc.codecs import CODECS, is_rtx
from aiortc.rtcpeerconnection import find_common_codecs
from aiortc.sdp import MediaDescription, SessionDescription, grouplines

from server.webrtc.limits import PeerLimits

MALFORMED = (AssertionError, AttributeError, IndexError, KeyError, StopIteration, TypeError, ValueError)
"""What aiortc's parser raises for text that is no SDP."""
SENDS, RECEIVES = ("sendonly", "sendrecv"), ("recvonly", "sendrecv")
DISCARD = ("0.0.0.0", 9)
CANDIDATE_TYPES = ("host", "srflx", "relay")
BUNDLE_ONLY = "a=bundle-only"
"""Of a line that has no port of its own, since it goes over the transport of the first one (RFC 9143, 6): so Firefox offers."""
FEEDBACK = "a=rtcp-fb:"
GIVEN = frozenset(
    f"{each.type} {each.parameter or ''}".strip() for codec in CODECS["video"] for each in codec.rtcpFeedback
)
"""The feedback that we give."""


class Unfit(Exception):
    """An offer that is not answered. status: of HTTP, 400 for what is no offer and 422 for one that cannot be met."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Purpose:
    """What an offer has to have. pictures: video that is sent to us. music: sound that we send. channel: a data channel."""

    name: str
    pictures: bool = False
    music: bool = False
    channel: bool = False


WHIP = Purpose("whip", pictures=True)
WHEP = Purpose("whep", music=True)
BROWSER = Purpose("offer", music=True, channel=True)


@dataclass(frozen=True, slots=True)
class Offer:
    """sdp: cut down. music_mid: the media line that the music is sent on. ufrag: of its ICE."""

    sdp: str
    purpose: Purpose
    music_mid: str | None
    ufrag: str
    candidates: int


def read(text: str, purpose: Purpose, limits: PeerLimits) -> Offer:
    """Raises Unfit."""
    try:
        offered = SessionDescription.parse(_lean(text, limits.attributes))
    except MALFORMED:
        raise Unfit(400, "this is no SDP offer") from None
    offered.type = "offer"
    _check_session(offered, text, limits)
    for media in offered.media:
        _cut(media)
    _check_purpose(offered.media, purpose)
    found = usable((c for media in offered.media for c in media.ice_candidates), limits.candidates)
    for media in offered.media:
        media.ice_candidates, media.ice_candidates_complete = found, False
    music = [media for media in offered.media if media.kind == "audio" and media.direction in RECEIVES]
    mid = music[0].rtp.muxId if purpose.music else None
    try:
        return Offer(str(offered), purpose, mid, _ufrag(offered), len(found))
    except MALFORMED:
        raise Unfit(400, "this SDP offer has an address or an attribute that is none") from None


def _lean(text: str, most: int) -> str:
    """Without what is said twice below a media line, and without feedback that we do not give: aiortc notes each for each format.

    most: lines that are left there. Raises Unfit.
    """
    session, media = grouplines(text)
    parts = [list(dict.fromkeys(filter(_is_read, part))) for part in (session, *media)]
    if (longest := max(map(len, parts))) > most:
        raise Unfit(400, f"a media line has at most {most} lines below it, this one {longest}")
    return "\r\n".join(chain(*parts, ("",)))


def _is_read(line: str) -> bool:
    return not line.startswith(FEEDBACK) or line.partition(" ")[2].strip() in GIVEN


def _ufrag(offered: SessionDescription) -> str:
    ice = offered.media[0].ice
    return str(ice.usernameFragment) if ice else ""


def usable(candidates: Iterable[RTCIceCandidate], most: int) -> list[RTCIceCandidate]:
    """Those that may be probed: addresses for UDP. Names would be asked for by multicast, and are learnt when they check us."""
    return [candidate for candidate in candidates if _is_usable(candidate)][:most]


def _is_usable(candidate: RTCIceCandidate) -> bool:
    try:
        address = ipaddress.ip_address(candidate.ip)
    except ValueError:
        return False
    plain = not (address.is_multicast or address.is_unspecified) and 0 < candidate.port < 65536
    for_us = candidate.component == 1 and candidate.protocol.lower() == "udp"
    return plain and for_us and candidate.type in CANDIDATE_TYPES


def _check_session(offered: SessionDescription, text: str, limits: PeerLimits) -> None:
    if not 0 < len(offered.media) <= limits.lines:
        raise Unfit(400, f"an offer has 1 to {limits.lines} media lines, this one {len(offered.media)}")
    if any(line.startswith("a=simulcast:") and ";" in line for line in text.splitlines()):
        raise Unfit(422, "one layer of video is taken, no simulcast")
    for media, below in zip(offered.media, grouplines(text)[1], strict=True):
        if media.ice is None or not media.ice.usernameFragment or not media.ice.password:
            raise Unfit(400, "a media line has no a=ice-ufrag or no a=ice-pwd")
        if (
            media.dtls is None
            or not media.dtls.fingerprints
            or media.dtls.role not in ("auto", "client", "server")
        ):
            raise Unfit(400, "a media line has no a=fingerprint or no a=setup")
        if media.port == 0 and BUNDLE_ONLY not in below:
            raise Unfit(422, "a media line is switched off; leave it out")
    mids = [media.rtp.muxId for media in offered.media]
    bundled = [mid for group in offered.group if group.semantic == "BUNDLE" for mid in group.items]
    if len(mids) > 1 and (len(set(mids)) < len(mids) or "" in mids or set(bundled) != set(mids)):
        raise Unfit(
            422, "all media lines go over one transport: a=mid each, and a=group:BUNDLE with all of them"
        )


def _cut(media: MediaDescription) -> None:
    """To the formats that we take. Raises Unfit when none is left."""
    if media.kind == "application":
        return
    if media.kind not in ("audio", "video"):
        raise Unfit(422, f"audio, video and a data channel are taken, not {media.kind}")
    if not media.rtcp_mux:
        raise Unfit(422, "RTCP goes with RTP here: a=rtcp-mux")
    media.direction = media.direction or "sendrecv"
    offered = [codec.name for codec in media.rtp.codecs if not is_rtx(codec)]
    codecs = _common(media)
    if not codecs:
        taken = "H.264 or VP8" if media.kind == "video" else "Opus"
        raise Unfit(
            422, f"{media.kind} goes as {taken} here; offered: {', '.join(offered)[:80] or 'nothing'}"
        )
    media.rtp.codecs, media.fmt = codecs, [codec.payloadType for codec in codecs]
    media.rtcp_host, media.rtcp_port = DISCARD


def _common(media: MediaDescription) -> list[RTCRtpCodecParameters]:
    """Of the offered formats those that both sides know, as offered."""
    ours = [c for c in CODECS[media.kind] if media.kind == "video" or c.name.lower() == "opus"]
    common = {codec.payloadType for codec in find_common_codecs(ours, media.rtp.codecs)}
    return [codec for codec in media.rtp.codecs if codec.payloadType in common]


def _check_purpose(lines: list[MediaDescription], purpose: Purpose) -> None:
    channels = sum(media.kind == "application" for media in lines)
    pictures, sounds = _count(lines, "video", SENDS), _count(lines, "audio", SENDS)
    if purpose.pictures and not pictures:
        raise Unfit(422, "video is needed, sendonly")
    if purpose.music and _count(lines, "audio", RECEIVES) != 1:
        raise Unfit(422, "exactly one audio line is needed that receives, recvonly or sendrecv")
    if max(pictures, sounds) > 1:
        raise Unfit(422, "one video and one sound are taken, not several")
    if channels != purpose.channel:
        raise Unfit(422, "a data channel is needed" if purpose.channel else "no data channel is taken here")


def _count(lines: list[MediaDescription], kind: str, directions: tuple[str, ...]) -> int:
    return sum(media.kind == kind and media.direction in directions for media in lines)
