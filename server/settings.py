"""What an operator chooses when a server starts. Every field has a default that suits one person on one machine."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from server.config import SessionConfig
from server.delivery import Patience
from server.doorstep import DoorLimits
from server.playout import Limits as PlayoutLimits
from server.protocol.limits import Limits
from server.protocol.messages import SessionLimits, VideoFormat
from server.protocol.values import VideoCodec
from server.recording.shelf import RecordingLimits

SNAPSHOT_EVERY_S = 1.0
"""So much music is lost at most when the server is killed; it is made again. A checkpoint costs the engine 1 to 2 ms."""

CHUNKS_MS = (20, 40, 60, 80, 100)


@dataclass(frozen=True, slots=True)
class Settings:
    """model: as it is called on the command line. room_s: the longest short-term window that a session may ask for."""

    model: str = "starter"
    api_key: str | None = None
    max_sessions: int = 8
    max_parked: int = 8
    """Sessions beside these whose clients are away; one more, and the one that waits longest ends."""
    checkpoints: Path | None = None
    """A folder; without one a session dies with the server."""
    checkpoint_bytes: int = 512 * 1024 * 1024
    """All checkpoints together; one that does not fit is not written."""
    limits: Limits = field(default_factory=Limits)
    door: DoorLimits = field(default_factory=DoorLimits)
    playout: PlayoutLimits = field(default_factory=PlayoutLimits)
    chunk_ms: int = 20
    """Music that is sent at once. Longer chunks cost a server of many sessions less, and controls are heard as much later."""
    room_s: float = 30.0
    decoders: int = 2
    """Threads that decode pictures."""
    video_fps: float = 8.0
    """What a client is asked for: the newest slot is looked at five times a second, a cut at once."""
    video_edge: int = 320
    recordings: Path | None = None
    """The folder that sessions may be recorded into; None: none is."""
    recording: RecordingLimits = field(default_factory=RecordingLimits)

    def __post_init__(self) -> None:
        if self.chunk_ms not in CHUNKS_MS:
            raise ValueError(f"chunks are of {', '.join(map(str, CHUNKS_MS))} ms, not {self.chunk_ms}")

    @property
    def video(self) -> VideoFormat:
        codecs: tuple[VideoCodec, ...] = ("jpeg", "webp", "png", "h264", "vp8")
        raw: tuple[VideoCodec, ...] = ("i420", "rgb24") if self.limits.raw_video else ()
        return VideoFormat((*codecs, *raw), self.video_fps, self.video_edge)

    @property
    def told(self) -> SessionLimits:
        """The limits that a client has to know."""
        names = SessionLimits.__struct_fields__
        return SessionLimits(**{name: getattr(self.limits, name) for name in names})

    def session(self, config: SessionConfig) -> SessionConfig:
        """The core's configuration with our limits in it."""
        limits, rate = self.limits, self.playout.rate
        patience = Patience(
            credit=limits.credit_ms * rate // 1000,
            skip_behind=limits.skip_behind_ms * rate // 1000,
            give_up_behind=limits.slow_consumer_ms * rate // 1000,
        )
        chunk = self.chunk_ms * rate // 1000
        window = int((limits.resume_window_s + 1) * rate) // chunk * chunk
        return replace(
            config,
            limits=replace(self.playout, window=window, chunk=chunk),
            patience=patience,
            grace_s=float(limits.resume_grace_s),
            resume_s=float(limits.resume_window_s),
            max_catch_up_s=limits.catch_up_ms / 1000,
            snapshot_every_s=float("inf") if self.checkpoints is None else SNAPSHOT_EVERY_S,
            room_s=self.room_s,
        )
