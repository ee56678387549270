"""What an operator chooses when a server starts. Every field has a default that suits one person on one machine."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from cuestream.players import ROOM_S
from server.access.origins import origin_of, plain
from server.core.config import SessionConfig
from server.core.delivery import Patience
from server.core.playout import Limits as PlayoutLimits
from server.http.connections import DoorLimits
from server.ingest.limits import IngestLimits
from server.output.limits import OutputLimits
from server.pictures.decoders import DecoderLimits
from server.protocol.limits import Limits
from server.protocol.messages import SessionLimits, VideoFormat
from server.protocol.values import VideoCodec
from server.recording.shelf import RecordingLimits
from server.webrtc.limits import PeerLimits

SNAPSHOT_EVERY_S = 1.0
"""So much music is lost at most when the server is killed; it is made again. A checkpoint costs the engine 1 to 2 ms."""

KEY = re.compile(r"[!-~]([ -~]*[!-~])?")
HOST = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
CHUNKS_MS = (20, 40, 60, 80, 100, 200, 300, 400, 500)
CREDIT_CHUNKS = 3
"""Credit is for so many chunks at least: one that is played, the next one, and what a client says of them too late."""
MOST_LEAD_MS = 2000


@dataclass(frozen=True, slots=True)
class Settings:
    """model: as it is called on the command line. room_s: the longest short-term window that a session may ask for."""

    model: str = "starter"
    api_key: str | None = None
    max_sessions: int = 8
    max_parked: int = 8
    """Sessions beside these whose clients are away; one more, and the one that waits longest ends."""
    most_busy: float = 0.6
    """Share of its time that the event loop may spend on sessions when one more is let in; at 0.75 a quiet machine is in time."""
    checkpoints: Path | None = None
    """A folder; without one a session dies with the server."""
    checkpoint_bytes: int = 512 * 1024 * 1024
    """All checkpoints together; one that does not fit is not written."""
    limits: Limits = field(default_factory=Limits)
    door: DoorLimits = field(default_factory=DoorLimits)
    playout: PlayoutLimits = field(default_factory=PlayoutLimits)
    chunk_ms: int = 20
    """Music that is sent at once. Longer chunks cost a server of many sessions less, and controls are heard as much later."""
    room_s: float = ROOM_S
    decoders: DecoderLimits = field(default_factory=DecoderLimits)
    video_fps: float = 12.0
    """What a client is asked for: the newest slot is looked at five times a second, a cut at once. What is looked at is the newer
    the more there are: with 8 an answer took up to 460 ms, with 12 it takes 420. (10 would keep step with the pieces.)"""
    video_edge: int = 320
    """Pixels of their longer edge, and of those that the server reads itself."""
    recordings: Path | None = None
    """The folder that sessions may be recorded into; None: none is."""
    ingest: IngestLimits = field(default_factory=IngestLimits)
    recording: RecordingLimits = field(default_factory=RecordingLimits)
    outputs: Path | None = None
    """The folder that sessions may be written to while they play, as files and as HLS; None: none is."""
    push_hosts: tuple[str, ...] = ()
    """Servers that sessions may be pushed to by RTMP and SRT, `*` for all of them."""
    output: OutputLimits = field(default_factory=OutputLimits)
    peers: PeerLimits = field(default_factory=PeerLimits)
    ice_addresses: tuple[str, ...] = ()
    """Where WebRTC is listened for; none: at all of this machine's addresses that others can reach."""
    ice_servers: tuple[str, ...] = ()
    """STUN servers, that a server behind an address translation is told its own address by: `stun:host:port`."""
    names: tuple[str, ...] = ()
    """What others call this server: the names of a proxy in front of it."""
    origins: tuple[str, ...] = ()
    """Other sites whose pages may use this server, as its own page does: `https://music.example`."""
    proxies: tuple[str, ...] = ()
    """Addresses and networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed, beside this machine's."""
    redirect: str | None = None
    """Base URL of another server, that publishers are sent to when this one has no room."""

    def __post_init__(self) -> None:
        if self.chunk_ms not in CHUNKS_MS:
            raise ValueError(f"chunks are of {', '.join(map(str, CHUNKS_MS))} ms, not {self.chunk_ms}")
        lead_ms = self.playout.high * 1000 // self.playout.rate
        if not 2 * self.chunk_ms <= lead_ms <= MOST_LEAD_MS:
            wanted = f"two chunks, {2 * self.chunk_ms} ms, to {MOST_LEAD_MS} ms"
            raise ValueError(f"music is made ahead by {wanted}, not by {lead_ms} ms")
        if not 0 < self.video_fps <= self.limits.fps:
            raise ValueError(
                f"more than 0 and at most {self.limits.fps} pictures a second, not {self.video_fps:g}"
            )
        for address in self.ice_addresses:
            ipaddress.ip_address(address)
        if wrong := [server for server in self.ice_servers if not server.startswith("stun:")]:
            raise ValueError(f"expected stun:HOST or stun:HOST:PORT, found {wrong[0]}")
        if self.api_key is not None and not KEY.fullmatch(self.api_key):
            raise ValueError(
                "a key has signs of ASCII, and no blank at either end: a header carries nothing else"
            )
        for option, hosts in (("name", map(plain, self.names)), ("push", set(self.push_hosts) - {"*"})):
            if wrong := [host for host in hosts if not (HOST.fullmatch(host) or _is_address(host))]:
                raise ValueError(
                    f"--{option} takes a host in signs of ASCII, without scheme and port, not {wrong[0]!r}"
                )
        for site in self.origins:
            origin_of(site)
        for proxy in self.proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError as error:
                raise ValueError(f"--proxy takes an address or a network, not {proxy}: {error}") from None
        if self.redirect is not None and urlsplit(self.redirect).scheme not in ("http", "https"):
            raise ValueError(f"expected http://... or https://... to redirect to, found {self.redirect}")

    @property
    def video(self) -> VideoFormat:
        codecs: tuple[VideoCodec, ...] = ("jpeg", "webp", "png", "h264", "vp8")
        raw: tuple[VideoCodec, ...] = ("i420", "rgb24") if self.limits.raw_video else ()
        return VideoFormat((*codecs, *raw), self.video_fps, self.video_edge)

    @property
    def picture_age_s(self) -> float:
        """How old what is shown of a video is in the mean, of which so many pictures are looked at: sound is held back by it."""
        return 0.5 / self.video_fps

    @property
    def credit_ms(self) -> int:
        """What a client may be sent beyond what it said it played."""
        return max(self.limits.credit_ms, CREDIT_CHUNKS * self.chunk_ms)

    def piece_steps(self, own: int, code_rate: int) -> int:
        """How many steps a player makes at once: `own`, or a chunk if that is more. Fewer where the lead has no room for them, or
        leaves less than three quarters of their length to make them in, as where they are no whole chunks."""
        limits, hop = self._limits, self.playout.rate // code_rate
        room = max(1, (limits.high - limits.low) // hop)
        steps = min(room, max(own, limits.chunk // hop))
        while limits.left_when_asked(steps * hop) < max(limits.chunk, steps * hop * 3 // 4):
            steps -= 1  # to one at the most, which divides every chunk
        return steps

    @property
    def _limits(self) -> PlayoutLimits:
        chunk = self.chunk_ms * self.playout.rate // 1000
        return replace(self.playout, chunk=chunk, low=max(self.playout.low, chunk))

    @property
    def told(self) -> SessionLimits:
        """The limits that a client has to know."""
        names = SessionLimits.__struct_fields__
        told = SessionLimits(**{name: getattr(self.limits, name) for name in names})
        return msgspec.structs.replace(told, credit_ms=self.credit_ms)

    def session(self, config: SessionConfig) -> SessionConfig:
        """The core's configuration with our limits in it."""
        limits, rate = self.limits, self.playout.rate
        patience = Patience(
            credit=self.credit_ms * rate // 1000,
            skip_behind=limits.skip_behind_ms * rate // 1000,
            give_up_behind=limits.slow_consumer_ms * rate // 1000,
        )
        playout, piece = self._limits, config.policy.chunk_steps * config.hop
        window = int((limits.resume_window_s + 1) * rate) // playout.chunk * playout.chunk
        return replace(
            config,
            limits=replace(playout, window=window, low=min(playout.low, playout.most_ready(piece))),
            patience=patience,
            grace_s=float(limits.resume_grace_s),
            resume_s=float(limits.resume_window_s),
            max_catch_up_s=limits.catch_up_ms / 1000,
            snapshot_every_s=float("inf") if self.checkpoints is None else SNAPSHOT_EVERY_S,
            room_s=self.room_s,
        )


def _is_address(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False
