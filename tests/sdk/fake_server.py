"""A server of the protocol without I/O, for tests of clients: it plays a ramp whose every sample says its own index.

One `Take` is a session; it outlives connections. A `Line` is one connection to it: `feed` takes what the client wrote,
`due` gives what the server writes. Written with the server's own protocol package, so that both sides of a test do not share
one misunderstanding.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import msgspec
import numpy as np
from msgspec import UNSET

from server.protocol import PROTOCOL_MINOR
from server.protocol import messages as t
from server.protocol.config import Config, first_config, merge
from server.protocol.control import Unknown, decode_client, encode
from server.protocol.media import Flag, Kind, Media, Source, StreamId, UnknownKind, decode_media, encode_media

RATE, CHUNK = 32_000, 640
AUDIO = t.AudioFormat("pcm_s16", RATE, 1)
CREDIT = RATE // 2


def ramp(first: int, count: int) -> np.ndarray:
    """int16 [n]: each sample is its index, wrapped."""
    return (np.arange(first, first + count) % 65_536 - 32_768).astype("<i2")


@dataclass
class Take:
    """A session. position: samples made by now; seen: every control message, in order."""

    catch_up: int = 2**62
    position: int = 0
    playing: bool = False
    played: int = 0
    consumed: int = 0
    revision: int = 0
    config: Config = field(default_factory=lambda: first_config(3.0, 1.0, 250, 0.0, 0, 8.0))
    seen: list[t.ClientMessage] = field(default_factory=list)
    pictures: list[Media] = field(default_factory=list)
    ended: bool = False

    def advance(self) -> None:
        """20 ms pass."""
        self.position += CHUNK * self.playing


class Line:
    """One connection. `close` is the code that the server closes with after what it wrote."""

    def __init__(self, takes: dict[str, Take], handle_every: int = 10) -> None:
        self.takes, self.take, self.handle_every = takes, Take(), handle_every
        self.name = ""
        self.cursor = self.seq = 0
        self.close: int | None = None
        self.moved = False
        self.pushed: deque[str | bytes] = deque()
        self.turn = 0

    def feed(self, raw: str | bytes) -> None:
        if isinstance(raw, bytes):
            media = decode_media(raw)
            assert not isinstance(media, UnknownKind)
            self.take.pictures.append(media)
            return
        message = decode_client(raw).message
        assert not isinstance(message, Unknown)
        if isinstance(message, t.SessionResume):
            self._resume(message)
            return
        if isinstance(message, t.SessionStart):
            self._start(message)
        self.take.consumed += 1
        self.take.seen.append(message)
        self._act(message)

    def due(self) -> list[str | bytes]:
        """What may be written now: answers, music within the credit, and a handle now and then."""
        out = list(self.pushed)
        self.pushed.clear()
        if not self.name or self.close:
            return out
        while self.cursor < min(self.take.position, self.take.played + CREDIT):
            out.append(self._music())
        self.turn += 1
        if self.turn % self.handle_every == 0:
            out.append(encode(t.ResumeHandle(self.name, True, 30_000, self.take.consumed)))
        return out

    def say(self, message: t.ServerMessage) -> None:
        self.pushed.append(encode(message))

    def _music(self) -> bytes:
        end = min(self.take.position, (self.cursor // CHUNK + 1) * CHUNK)
        flags = Flag.DISCONTINUITY | Flag.CROSSFADE if self.moved else Flag(0)
        count, self.moved = end - self.cursor, False
        newest = self.take.pictures[-1].ts if self.take.pictures else 0
        source = Source(newest, 0, 0, self.take.config.seed, self.take.revision)
        payload = ramp(self.cursor, count).tobytes()
        media = Media(Kind.PCM_S16, StreamId.MUSIC, self.seq, self.cursor, payload, flags, 0, count, source)
        self.cursor, self.seq = end, self.seq + 1
        return encode_media(media)

    def _start(self, message: t.SessionStart) -> None:
        self.name = f"s{len(self.takes)}"
        self.take = self.takes[self.name] = Take()
        if message.config is not UNSET:
            self.take.config = merge(self.take.config, message.config)
        self.say(
            t.SessionCreated(
                PROTOCOL_MINOR,
                self.name,
                "fake/1",
                "ramp",
                "a ramp, not music",
                50,
                AUDIO,
                t.VideoFormat(("jpeg",), 4.0, 448),
                LIMITS,
                0,
                self.take.config,
                event_id=message.event_id,
            )
        )

    def _resume(self, message: t.SessionResume) -> None:
        if message.handle not in self.takes or self.takes[message.handle].ended:
            self.say(t.ErrorMessage("session_expired", "too old", True))
            self.close = 4404
            return
        self.name, self.take = message.handle, self.takes[message.handle]
        self.cursor = message.received_through_sample
        assert message.played_through_sample <= self.cursor <= self.take.position
        self.take.played = max(self.take.played, message.played_through_sample)
        if self.take.position - self.cursor > self.take.catch_up:
            self.cursor, self.moved = self.take.position, True
            self.take.played = max(self.take.played, self.cursor)
        self.say(
            t.SessionResumed(
                PROTOCOL_MINOR,
                self.name,
                self.cursor,
                self.take.consumed,
                AUDIO,
                t.VideoFormat(("jpeg",), 4.0, 448),
                LIMITS,
                self.take.revision,
                self.take.config,
            )
        )

    def _act(self, message: t.ClientMessage) -> None:
        take = self.take
        match message:
            case t.Playback(action=action):
                take.playing = action == "play"
                self.say(t.State("playing" if take.playing else "paused", "on_time", 0))
            case t.SessionUpdate(config=patch):
                take.config, take.revision = merge(take.config, patch), take.revision + 1
                self.say(t.SessionUpdated(take.revision, take.config, event_id=message.event_id))
            case t.PlayoutReport(played_through_sample=played):
                assert played <= take.position
                take.played = max(take.played, played)
            case t.Ping(t_us=t_us):
                self.say(t.Pong(t_us, t_us + 1_000_000))
            case t.SessionEnd():
                take.ended = True
                self.say(t.SessionEnded("asked", take.position))
                self.close = 1000


LIMITS = msgspec.convert(
    {
        "text_bytes": 65536, "image_bytes": 1048576, "audio_bytes": 65536, "messages_per_s": 50,
        "credit_ms": 500, "resume_window_s": 30, "session_s": 3600,
    },
    t.SessionLimits,
)  # fmt: skip
