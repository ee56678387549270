"""One session with a server as a state machine without I/O: it survives its connections and is told what they did.

    idle ─opened─► greeting ─created, resumed─► open ─lost─► waiting ─opened─► greeting ...      any ─► over

    opened()       a connection stands; the greeting waits in `take`
    receive(raw)   a message came; returns what the program should see
    take()         the next message to write: greeting, then control, then the newest picture
    tick()         at least every 50 ms: pings, reports
    lost(code)     the connection closed; returns what to do next, as `refused` and `impossible` do where none came about
    send, push, report    what the program wants

It reads the time from the clock that it was given and never waits.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET

from cuestream_client import messages as m
from cuestream_client.bucket import Bucket
from cuestream_client.clocksync import ClockSync
from cuestream_client.closes import (
    BAD_HANDSHAKE,
    BROKEN,
    FULL,
    UNKNOWN,
    Patience,
    Then,
    after_close,
    after_status,
)
from cuestream_client.comeback import Comeback, Next
from cuestream_client.control import decode_server, encode
from cuestream_client.errors import Closed, ProtocolError
from cuestream_client.media import HEADER, Flag, Kind, Media, Size, StreamId, decode_media, encode_media
from cuestream_client.music import Chunk, Music
from cuestream_client.outbox import Outbox
from cuestream_client.ticket import Ticket

PING_EVERY_S = 2.0
ANSWER_S = 10.0
"""How long a greeting waits for its session."""
REPORT_EVERY_S = 0.1
"""Half of what the protocol asks for, so that one late report stops no music."""

State: TypeAlias = Literal["idle", "greeting", "open", "waiting", "over"]
Seen: TypeAlias = m.ServerMessage | Chunk


PCM = m.AudioFormat("pcm_s16", 48_000, 2)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a session begins with."""

    audio: m.AudioFormat = PCM
    config: m.ConfigPatch = field(default_factory=m.ConfigPatch)
    client: str = "cuestream-client/0.1.0"
    original: m.AudioFormat | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """at_us: when it was captured, on the session's clock (`Session.now_us`)."""

    kind: Kind
    payload: bytes
    at_us: int
    size: Size | None = None
    """Of a raw picture."""


@dataclass(frozen=True, slots=True)
class Playout:
    """What was heard. session: the number of the session whose samples these are."""

    session: int
    played_through: int
    buffer_ms: float = 0.0
    underruns: int = 0
    clock_ppm: float = 0.0


class Session:
    """See the module."""

    def __init__(
        self,
        url: str,
        wish: Wish | None = None,
        patience: Patience | None = None,
        clock: Callable[[], float] = time.perf_counter,
        chance: Callable[[], float] = random.random,
        ticket: Ticket | None = None,
    ) -> None:
        """ticket: of a session that another client left."""
        self.wish = wish or Wish()
        self._clock, self._zero_s = clock, clock()
        self._comeback = Comeback(url, patience or Patience(), clock, chance)
        self.state: State = "idle"
        self.created: m.SessionCreated | None = None
        self.config: m.Config | None = None
        self.video: m.VideoFormat | None = None
        self.limits: m.SessionLimits | None = None
        self.music: Music | None = None
        self.ended: m.SessionEnded | None = None
        self.sessions = 0
        self.sync = ClockSync()
        self.outbox = Outbox()
        self._bucket: Bucket | None = None
        self.counts: Counter[str] = Counter()
        self._greeted = False
        self._opened_s = float("-inf")
        self._handle: str | None = None
        self._handle_until_s = float("-inf")
        self._wants_play = False
        self._credit: m.FlowCredit | None = None
        self.ending = False
        self._picture: Picture | None = None  # bound: 1, a newer one replaces it
        self._seq = 0
        self._playout: Playout | None = None  # bound: 1, a newer one replaces it
        self._reported_s = self._pinged_s = float("-inf")
        self._told: m.PlayoutReport | None = None
        if ticket:
            self._go_on_with(ticket)

    # --- what the program wants

    @property
    def url(self) -> str:
        """Where to connect; a server that goes away may name another place."""
        return self._comeback.url

    def begin_at(self, url: str) -> None:
        """Where the session that is to begin is."""
        self._comeback.begin_at(url)

    @property
    def now_us(self) -> int:
        """The clock of pictures: microseconds since this object was made."""
        return int((self._clock() - self._zero_s) * 1e6)

    @property
    def audio(self) -> m.AudioFormat:
        """How the music comes; what was wished for before the server said it."""
        return self.music.audio if self.music else self.wish.audio

    @property
    def played_through(self) -> int:
        """One after the last sample that was heard of the session that stands."""
        if self.music is None or self._playout is None or self._playout.session != self.sessions:
            return 0
        return min(self._playout.played_through, self.music.received_through)

    @property
    def has_ended(self) -> bool:
        """Whether the session is over as it should be: it was asked to end, or nothing happened for long."""
        return self.ended is not None and self.ended.reason in ("asked", "idle")

    @property
    def ticket(self) -> Ticket | None:
        """What another client needs to go on with this session; None when it cannot."""
        music, expires_s = self.music, self._handle_until_s - self._clock()
        if self._handle is None or music is None or self.ending or self.state == "over" or expires_s <= 0:
            return None
        now = (self.now_us, self.played_through, music.audio, self._wants_play)
        return Ticket(self._handle, self.url, expires_s, *now)

    def send(self, message: m.ClientMessage) -> None:
        """A control message; while there is no connection it waits. Raises Closed or TooMuch."""
        if self.state == "over":
            raise Closed("the session is over")
        self.outbox.add(message)
        match message:
            case m.Playback(action=action) if action != "reset_context":
                self._wants_play = action == "play"
            case m.FlowCredit():
                self._credit = message
            case m.SessionEnd():
                self.ending = True

    def check(self, picture: Picture) -> None:
        """Raises ValueError when a picture is larger than the server takes."""
        most = self.limits.image_bytes if self.limits else 1024 * 1024
        if len(picture.payload) + HEADER.size > most:
            raise ValueError(f"a picture of {len(picture.payload)} bytes; the server takes {most}")

    def push(self, picture: Picture) -> None:
        """The newest picture; one that still waits is dropped."""
        self.counts["replaced_pictures"] += self._picture is not None
        self._picture = picture

    def report(self, playout: Playout) -> None:
        """What was heard; sent with the next `tick`. Going back or beyond what was received does no harm."""
        before = self._playout
        is_back = (
            before and before.session == playout.session and playout.played_through < before.played_through
        )
        self._playout = before if is_back else playout

    def close(self) -> None:
        """Nothing more will be sent or received."""
        self.state = "over"

    # --- the connection

    def opened(self) -> None:
        """A connection stands."""
        self.state, self._greeted, self._opened_s = "greeting", False, self._clock()
        self._comeback.opened()
        if self.music:
            self.music.reconnected()

    def take(self) -> str | bytes | None:
        """The next message to write, None when there is nothing."""
        if self.state == "greeting" and not self._greeted:
            self._greeted = True
            return encode(self._greeting())
        if self.state != "open":
            return None
        message = self._take_message()
        return encode(message) if message is not None else self._take_picture()

    def receive(self, raw: str | bytes) -> Seen | None:
        """What a message says, None when there is nothing to tell. One that breaks the protocol is counted and left alone."""
        try:
            if isinstance(raw, bytes):
                return self._media(raw)
            return self._control(raw)
        except ProtocolError as error:
            if error.code == "unsupported_codec":
                raise
            self.counts[f"refused_{error.code}"] += 1
            return None

    def tick(self) -> None:
        """Queue a ping and a report when they are due."""
        now = self._clock()
        if self.state != "open":
            return
        if now - self._pinged_s >= PING_EVERY_S:
            self._pinged_s = now
            self.outbox.add(m.Ping(self.now_us))
        playout = self._playout
        if playout and playout.session == self.sessions and now - self._reported_s >= REPORT_EVERY_S:
            self._reported_s = now
            buffer_ms, ppm = max(0.0, playout.buffer_ms), max(-10_000.0, min(10_000.0, playout.clock_ppm))
            self._tell(m.PlayoutReport(self.played_through, buffer_ms, playout.underruns, ppm))

    @property
    def wants_to_leave(self) -> bool:
        """The server goes away, or refused the greeting: it is time to close this connection with 1001."""
        return self._comeback.wants_to_leave

    @property
    def is_unanswered(self) -> bool:
        """The greeting was not answered for long: no session will stand on this connection."""
        return self.state == "greeting" and self._clock() - self._opened_s >= ANSWER_S

    def lost(self, code: int = BROKEN, reason: str = "") -> Next:
        """The connection closed."""
        code = self._comeback.code_of(code)
        if self.state == "greeting" and code == BROKEN:
            reason = reason or f"{self.url} opened a connection, and no session on it"
        is_over = self.state == "over" or self.has_ended
        then = "resume" if code == FULL and self._resumes else after_close(code)
        if self._comeback.is_refused:
            code, then = BAD_HANDSHAKE, "retry" if self._resumes else "stop"
        return self._after("stop" if is_over else then, code, self._comeback.why(code, reason))

    def refused(self, status: int | None, why: str, retry_after_s: float | None = None) -> Next:
        """A connection did not come about: the server answered with an HTTP status, or nobody did."""
        if status is None:
            return self._after("resume", BROKEN, why)
        return self._after(after_status(status), status, why, retry_after_s)

    def impossible(self, why: str) -> Next:
        """A connection can never come about, by what this program or an address is."""
        return self._after("stop", BROKEN, why)

    # --- inside

    @property
    def begins(self) -> bool:
        """Whether the next connection begins a session; it goes on with the one that was otherwise."""
        return self._handle is None or self.music is None

    def _go_on_with(self, ticket: Ticket) -> None:
        self.begin_at(ticket.url)
        self._zero_s -= ticket.now_us / 1e6
        self._handle, self._handle_until_s = ticket.handle, self._clock() + ticket.expires_s
        self._wants_play, self.sessions = ticket.plays, 1
        self.music = Music(1, ticket.audio)
        self.music.received_through = ticket.played
        self._playout = Playout(1, ticket.played)

    @property
    def _resumes(self) -> bool:
        """Whether this connection asked for a session and was not answered yet."""
        return self.state == "greeting" and not self.begins

    def _tell(self, report: m.PlayoutReport) -> None:
        """Nothing new is not said again."""
        if report != self._told:
            self._told = report
            self.outbox.add(report)

    def _greeting(self) -> m.Message:
        if self._handle is not None and self.music is not None:
            through = self.music.received_through
            return m.SessionResume(
                m.PROTOCOL_MINOR, self._handle, through, self.played_through, client=self.wish.client
            )
        if self.sessions:
            self._start_over()
        wish = self.wish
        return m.SessionStart(
            m.PROTOCOL_MINOR,
            client=wish.client,
            audio=wish.audio,
            original=UNSET if wish.original is None else wish.original,
            config=UNSET if wish.config == m.ConfigPatch() else wish.config,
        )

    def _start_over(self) -> None:
        """A session that is gone is begun anew: with what held last and the changes that nobody saw, and playing if it played."""
        config, left = self.wish.config, self.outbox.restart()
        if self.config:
            config, self.config = msgspec.convert(msgspec.to_builtins(self.config), m.ConfigPatch), None
        for message in left:
            if isinstance(message, m.SessionUpdate):
                config = m.merged(config, message.config)
        self.wish = replace(self.wish, config=config)
        ends = [message for message in left if isinstance(message, m.SessionEnd)]
        plays = [m.Playback("play")] if self._wants_play else []
        for again in (*filter(None, [self._credit]), *plays, *ends):
            self.outbox.add(again)

    def _take_message(self) -> m.Message | None:
        """The next one, as soon as the server takes one more."""
        if self.outbox.waits and self._bucket and self._bucket.allows(self._clock()):
            return self.outbox.take()
        return None

    def _take_picture(self) -> bytes | None:
        picture, self._picture = self._picture, None
        if picture is None:
            return None
        self.counts["sent_pictures"] += 1
        seq, self._seq = self._seq, (self._seq + 1) % 2**32
        about = (picture.kind, StreamId.VIDEO, seq, picture.at_us, picture.payload, Flag.KEYFRAME)
        return encode_media(Media(*about, size=picture.size))

    def _media(self, raw: bytes) -> Chunk | None:
        media = decode_media(raw)
        if media is None or self.music is None or self.state != "open":
            self.counts["ignored"] += 1
            return None
        return self.music.add(media)

    def _control(self, raw: str) -> m.ServerMessage | None:
        message = decode_server(raw)
        if isinstance(message, m.SessionResumed) and self.music is None:
            message = None  # there was nothing to resume
        match message:
            case m.SessionCreated():
                self._begin(message)
            case m.SessionResumed():
                self._go_on(message)
            case m.SessionUpdated():
                self.config = message.config
            case m.ResumeHandle():
                self._handle = message.handle if message.resumable else None
                self._handle_until_s = self._clock() + message.expires_ms / 1000
                self.outbox.consumed(message.consumed_messages)
            case m.VideoRequest():
                self.video = message.video
            case m.Pong():
                self.sync.pong(message.t_us, message.server_us, self.now_us)
            case m.ErrorMessage():
                self._comeback.error(message)
            case m.GoAway():
                self._comeback.go_away(message)
            case m.SessionEnded():
                self.ended = message
            case None:
                self.counts["ignored"] += 1
        return message

    def _begin(self, created: m.SessionCreated) -> None:
        self.sessions += 1
        self.ended = None
        self.music = Music(self.sessions, created.audio)
        self.created, self._playout = created, None
        self._opens(created)

    def _go_on(self, resumed: m.SessionResumed) -> None:
        self.outbox.rewind(resumed.consumed_messages)
        if self._credit:
            self.outbox.add(self._credit)  # each connection begins with the server's own
        self.counts["resumed"] += 1
        self._opens(resumed)

    def _opens(self, message: m.SessionCreated | m.SessionResumed) -> None:
        self.state = "open"
        self._comeback.stands()
        self.config, self.video, self.limits = message.config, message.video, message.limits
        self._bucket = Bucket(message.limits.messages_per_s, self._clock())
        self._reported_s = self._pinged_s = float("-inf")
        self._told = None

    def _after(self, then: Then, code: int, why: str, retry_after_s: float | None = None) -> Next:
        """resume without a handle is retry; a session that was to end is not begun anew."""
        then = "retry" if then == "resume" and self._handle is None else then
        if then == "retry":
            if code == UNKNOWN and self._handle and self.state != "open":  # to who asked for it
                self._comeback.answered()
            self._handle, then = None, "stop" if self.ending else then
        following = self._comeback.after(then, code, why, retry_after_s)
        self.state = "over" if following.then == "stop" else "waiting"
        return following
