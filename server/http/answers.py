"""What REST answers of sessions and of the server itself: one source for the answers and for their description."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from server.core.session import ShownState
from server.output.outputs import OutputState
from server.protocol.config import Config
from server.protocol.messages import SessionLimits


class Secret(Struct, frozen=True):
    """value: opens the session, once, within expires_s."""

    value: str
    expires_s: float


class Urls(Struct, frozen=True):
    """Where a session is reached, as the caller reached the server. Where a key is asked for, those of sound carry a token.

    audio: its music without end, by the ending of the address. obs: the page for OBS's browser source. control: the page that
    turns it. offer, whip, whep: where WebRTC is installed.
    """

    ws: str
    audio: dict[str, str]
    obs: str
    control: str
    offer: str | UnsetType = UNSET
    whip: str | UnsetType = UNSET
    whep: str | UnsetType = UNSET


class Made(Struct, frozen=True):
    """A session that was made, and which nobody has opened yet."""

    session_id: str
    client_secret: Secret
    urls: Urls
    protocol: str
    resume_window_s: int
    limits: SessionLimits
    model: str
    label: str


class Shown(Struct, frozen=True):
    """An open session. samples: placed so far, and those of them that were made up, at the rate of its client.

    pictures: counted by what became of them: shown, dropped, ... recording: the id of the one that runs.
    """

    session_id: str
    state: ShownState
    playback: Literal["playing", "paused", "stopped"]
    health: Literal["on_time", "degraded", "concealing", "waiting"]
    level: int
    samples: int
    concealed_samples: int
    pictures: dict[str, int]
    revision: int
    config: Config
    recording: str | None
    output: OutputState | None
    urls: Urls


class About(Struct, frozen=True):
    """A server. follows: fields of the configuration that its model heeds. outputs: the kinds that it allows."""

    server: str
    version: str
    protocol: str
    protocol_minor: int
    model: str
    label: str
    config: Config
    follows: list[str]
    asks_for_a_key: bool
    webrtc: bool
    records: bool
    outputs: list[str]
