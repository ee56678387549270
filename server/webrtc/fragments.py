"""Fragments of SDP that a PATCH brings (RFC 8840): candidates that are trickled, or new credentials for an ICE restart."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiortc import RTCIceCandidate
from aiortc.sdp import candidate_from_sdp

from server.webrtc.offers import MALFORMED, Unfit

MEDIA_TYPE = "application/trickle-ice-sdpfrag"


@dataclass(slots=True)
class Fragment:
    """ufrag: whose candidates they are; another one than before asks for a restart."""

    ufrag: str | None = None
    candidates: list[RTCIceCandidate] = field(default_factory=list)


def read(text: str) -> Fragment:
    """Raises Unfit."""
    found, mid = Fragment(), None
    for line in filter(None, text.splitlines()):
        name, _, value = line.removeprefix("a=").partition(":")
        if line.startswith("m="):
            mid = None
        elif not line.startswith("a="):
            raise Unfit(400, "a fragment has lines that begin with a= or m=")
        elif name == "mid":
            mid = value
        elif name == "ice-ufrag":
            found.ufrag = value
        elif name == "candidate":
            found.candidates.append(_candidate(value, mid))
    return found


def _candidate(value: str, mid: str | None) -> RTCIceCandidate:
    try:
        candidate = candidate_from_sdp(value)
    except MALFORMED:
        raise Unfit(400, "a candidate of the fragment is none") from None
    if mid is None:
        raise Unfit(400, "a candidate stands below no a=mid")
    candidate.sdpMid = mid
    return candidate
