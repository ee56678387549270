"""What is said on one connection: the first message, those that follow, pictures and sound. It knows no websocket.

Everything that a client gets wrong is a ProtocolError, which `receive` tells it; answers go to the line.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import UNSET

from engine.errors import NoRoom
from server.access.admission import TooOften
from server.access.limiting import Bucket
from server.access.secrets import NO_KEY_ASKED, Anybody, Caller, Hearing, Identity, Invited, new_session_id
from server.audio.feed import Feed
from server.audio.original_sound import Ear, check_original
from server.audio.speaker import DEFAULT, Outlet, settled
from server.core.errors import SessionError
from server.protocol import PROTOCOL_MINOR
from server.protocol import messages as m
from server.protocol.errors import FAULTS, ErrorCode, ProtocolError
from server.protocol.media import StreamId
from server.protocol.reader import Reader
from server.sessions.host import RETRY_S, Draining, Hanging, Host
from server.sessions.hosted import Hosted
from server.sessions.outbox import Line

NAME = "cuestream"


class Conversation:
    """token: what the client brought. address: from where. `hosted`: the session, once it was started or resumed.

    track: where pictures and music have tracks of their own, makes the music's from a feed; there is only talk here then.
    """

    def __init__(
        self,
        host: Host,
        line: Line,
        token: str | None,
        address: str | None,
        track: Callable[[Feed], Outlet] | None = None,
    ) -> None:
        self._host, self._line, self._token, self._address = host, line, token, address
        self._track = track
        self._limits = host.settings.limits
        self._reader = Reader(self._limits)
        self._ear = Ear()
        self._rate = Bucket(self._limits.messages_per_s, self._limits.messages_per_s)
        self.hosted: Hosted | None = None

    def receive(self, data: str | bytes) -> None:
        """One message; what is wrong with it is told. Nothing is heard any more once the line is closing."""
        if self._line.closing is not None:
            return
        try:
            self.text(data) if isinstance(data, str) else self.binary(data)
        except ProtocolError as error:
            self._host.metrics.errors.labels(str(error.code)).inc()
            self._line.refuse(error, self._host.monotonic())
        except Exception:
            self._line.fail(ErrorCode.INTERNAL, "something went wrong here; the session may still be there")
            raise

    def binary(self, data: bytes) -> None:
        if self._track:
            raise ProtocolError(ErrorCode.BAD_REQUEST, "pictures and sound go over their tracks here")
        if self.hosted is None:
            raise ProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "media before the session")
        media = self._reader.media(data)
        if media is None:
            self._host.metrics.frames.labels("ignored").inc()
        elif media.stream is StreamId.VIDEO and media.payload:
            self._host.metrics.frames.labels("taken").inc()
            self.hosted.picture(self._host.monotonic(), media)
        elif media.stream is StreamId.ORIGINAL and media.payload:
            self.hosted.original(self._host.monotonic(), self._ear.hear(media, self.hosted.original_rate))

    def text(self, text: str) -> None:
        if self.hosted:
            self.hosted.consumed += 1
            if not self._rate.allows(self._host.monotonic()):
                said = f"at most {self._limits.messages_per_s} messages a second"
                raise ProtocolError(ErrorCode.RATE_LIMITED, said)
        message, warnings = self._reader.control(text)
        if self.hosted is None:
            self._begin(message)
        elif message is not None:
            self._follow(self.hosted, message)
        for warning in warnings:
            self._line.say(warning)

    # --- the first message

    def _begin(self, message: m.ClientMessage | None) -> None:
        if not isinstance(message, m.SessionStart | m.SessionResume):
            raise ProtocolError(
                ErrorCode.BAD_HANDSHAKE, "the first message is session.start or session.resume"
            )
        if isinstance(message, m.SessionResume):
            self._resume(message)
            return
        try:
            caller = self._host.admission.caller(self._token, self._address)
            self._start(message, caller)
        except TooOften as error:
            self._turn_away(ErrorCode.QUOTA_EXCEEDED, str(error), error.retry_s)

    def _start(self, message: m.SessionStart, caller: Caller) -> None:
        if isinstance(caller, Hearing):
            raise ProtocolError(ErrorCode.FORBIDDEN, "this token lets its bearer hear a session, and no more")
        if isinstance(caller, Anybody):
            asked = "a client secret or the key is needed, and not used before"
            raise ProtocolError(
                ErrorCode.UNAUTHORIZED, asked if self._host.settings.api_key else NO_KEY_ASKED
            )
        form = settled(DEFAULT if message.audio is UNSET or self._track else message.audio)
        if message.original is not UNSET and not self._track:
            check_original(message.original)
        if isinstance(caller, Invited):
            session_id = caller.session_id  # counted when it was invited
        else:
            session_id = new_session_id()
            self._host.admission.check_start(self._address)
        hosted = self._open(session_id, message)
        if hosted is None:
            return
        hosted.consumed = 1
        if message.original is not UNSET:
            hosted.original_rate = message.original.sample_rate
        if self._track:
            hosted.join(self._host.monotonic(), self._line, self._track)
        else:
            hosted.attach(self._host.monotonic(), self._line, form)
        self.hosted = hosted
        assert hosted.speaker is not None
        self._line.say(
            m.SessionCreated(
                protocol_minor=min(PROTOCOL_MINOR, message.protocol_minor),
                session_id=hosted.id,
                server=NAME,
                model=self._host.player.name[:128],
                label=self._host.player.label,
                steps_per_s=self._host.player.code_rate,
                audio=hosted.speaker.form,
                video=self._host.settings.video,
                limits=self._host.settings.told,
                revision=hosted.revisions.newest,
                config=hosted.config,
                event_id=message.event_id,
            )
        )

    def _open(self, session_id: str, message: m.SessionStart) -> Hosted | None:
        patch = None if message.config is UNSET else message.config
        try:
            return self._host.open(session_id, patch)
        except (Draining, Hanging, NoRoom) as error:
            self._refuse(error)
        except ValueError as error:
            raise ProtocolError(ErrorCode.BAD_REQUEST, str(error), "config", _id_of(message)) from None
        return None

    def _find_again(self, session: Identity) -> Hosted | None:
        try:
            return self._host.find_again(session.session_id, session.nonce)
        except (Draining, Hanging, NoRoom) as error:
            self._refuse(error)
        return None

    def _turn_away(self, code: ErrorCode, text: str, retry_s: float) -> None:
        """For now; a session that waits for its client goes on waiting."""
        close = FAULTS[code].close
        assert close is not None
        self._line.say(m.ErrorMessage(str(code), text, True, retry_after_ms=int(retry_s * 1000)))
        self._line.hang_up(close)

    def _refuse(self, error: Draining | Hanging | NoRoom) -> None:
        if isinstance(error, NoRoom):
            self._host.metrics.refused.labels("capacity").inc()
            self._turn_away(ErrorCode.CAPACITY, str(error), error.retry_s)
            return
        if isinstance(error, Hanging):
            self._host.metrics.refused.labels("hanging").inc()
            self._turn_away(ErrorCode.MODEL_UNAVAILABLE, "the engine does not answer", RETRY_S)
            return
        code = ErrorCode.RESTARTING if self._host.restarts else ErrorCode.DRAINING
        self._host.metrics.refused.labels(str(code)).inc()
        self._line.fail(code, "the server is going away")

    def _resume(self, message: m.SessionResume) -> None:
        session, fresh = self._host.door.session_of(message.handle, self._host.monotonic())
        hosted = self._find_again(session) if session and fresh else None
        if self._line.closing is not None:
            return
        code = ErrorCode.SESSION_NOT_FOUND if session is None else ErrorCode.SESSION_EXPIRED
        if hosted is None or not fresh:
            self._host.metrics.resumes.labels(str(code)).inc()
            raise ProtocolError(code, "no such session here, or it is over")
        try:
            first = self._come_back(hosted, message)
        except SessionError as error:
            self._host.metrics.resumes.labels(error.code).inc()
            raise ProtocolError(ErrorCode(error.code), str(error)) from None
        self.hosted = hosted
        self._host.metrics.resumes.labels("resumed").inc()
        assert hosted.speaker is not None
        self._line.say(
            m.SessionResumed(
                protocol_minor=min(PROTOCOL_MINOR, message.protocol_minor),
                session_id=hosted.id,
                first_sample=first,
                consumed_messages=hosted.consumed,
                audio=hosted.speaker.form,
                video=self._host.settings.video,
                limits=self._host.settings.told,
                revision=hosted.revisions.newest,
                config=hosted.config,
                event_id=message.event_id,
            )
        )
        if hosted.tape:
            self._line.say(hosted.tape.state)

    def _come_back(self, hosted: Hosted, message: m.SessionResume) -> int:
        """The first sample that it will get. Raises SessionError."""
        now_s = self._host.monotonic()
        if self._track:
            return hosted.join(now_s, self._line, self._track)
        heard, played = message.received_through_sample, message.played_through_sample
        return hosted.resume(now_s, self._line, heard, played)

    # --- the others

    def _follow(self, hosted: Hosted, message: m.ClientMessage) -> None:
        now_s = self._host.monotonic()
        try:
            answer = self._answer(hosted, message, now_s)
        except SessionError as error:
            raise ProtocolError(ErrorCode(error.code), str(error), event_id=_id_of(message)) from None
        if answer is not None:
            self._line.say(msgspec.structs.replace(answer, event_id=message.event_id))

    def _answer(self, hosted: Hosted, message: m.ClientMessage, now_s: float) -> m.ServerMessage | None:
        match message:
            case m.SessionUpdate(config=patch):
                return hosted.update(now_s, patch)
            case m.Playback(action=action):
                return hosted.playback(now_s, action)
            case m.SceneChange(at_us=at_us):
                hosted.change(now_s, 0 if at_us is UNSET else at_us, _id_of(message))
            case m.FlowCredit(credit_ms=credit_ms):
                hosted.credit(credit_ms)
            case m.PlayoutReport():
                hosted.reported(message)
            case m.Ping(t_us=t_us):
                return m.Pong(t_us, int(now_s * 1e6))
            case m.Recording():
                self._record(hosted, message)
            case m.SessionEnd(fade_ms=fade_ms):
                hosted.end(now_s, None if fade_ms is UNSET else fade_ms, message.event_id)
            case _:
                raise ProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "the session has begun already")
        return None

    def _record(self, hosted: Hosted, message: m.Recording) -> None:
        """The answer comes when the files are open, or finished."""
        if message.action == "start":
            hosted.record(message.audio, message.video).begun_by = message.event_id
        elif hosted.tape is None:
            raise SessionError("bad_request", "this session is not being recorded")
        else:
            hosted.tape.ended_by = message.event_id
            hosted.tape.end("asked")


def _id_of(message: m.Message) -> str | None:
    return None if message.event_id is UNSET else message.event_id
