"""Bodies of JSON, for REST and its description. It needs no aiortc."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Offered(Struct, frozen=True):
    """Of POST /v1/offer: what RTCPeerConnection gives."""

    type: Literal["offer"]
    sdp: str


class Answered(Struct, frozen=True):
    """Its answer: what RTCPeerConnection takes. ice_servers: URIs of STUN."""

    type: Literal["answer"]
    sdp: str
    ice_servers: tuple[str, ...]
