"""What can go wrong, as stable words and numbers: error codes, close codes and what a client may do after each.

An error code is a word of the `error` message; a close code is the number of the websocket's close frame. Codes are added,
never renamed. A client that meets an unknown error code looks at `fatal`, one that meets an unknown close code resumes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

MAX_TEXT = 240
"""Characters of an error's text: what a sender wrote is quoted, never at length."""
MAX_NAME = 128
"""The same of a name or a path."""


class ErrorCode(StrEnum):
    BAD_REQUEST = "bad_request"
    INVALID_JSON = "invalid_json"
    INVALID_UTF8 = "invalid_utf8"
    INVALID_MEDIA = "invalid_media"
    MESSAGE_TOO_LARGE = "message_too_large"
    UNEXPECTED_MESSAGE = "unexpected_message"
    TOO_MANY_ERRORS = "too_many_errors"
    BAD_HANDSHAKE = "bad_handshake"
    UNSUPPORTED_CODEC = "unsupported_codec"
    DECODE_FAILED = "decode_failed"
    FRAME_TOO_LARGE = "frame_too_large"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXCEEDED = "quota_exceeded"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    SESSION_NOT_FOUND = "session_not_found"
    SESSION_EXPIRED = "session_expired"
    SESSION_SUPERSEDED = "session_superseded"
    SESSION_LIMIT = "session_limit"
    HEARTBEAT_TIMEOUT = "heartbeat_timeout"
    SLOW_CONSUMER = "slow_consumer"
    CAPACITY = "capacity"
    DRAINING = "draining"
    RESTARTING = "restarting"
    MODEL_UNAVAILABLE = "model_unavailable"
    GENERATOR_LATE = "generator_late"
    GENERATOR_FAILED = "generator_failed"
    INGEST_FAILED = "ingest_failed"
    INGEST_FORBIDDEN_URL = "ingest_forbidden_url"
    RECORDING_OFF = "recording_off"
    RECORDING_REFUSED = "recording_refused"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Fault:
    """close: the code that the connection is closed with after this error, None when it lives on."""

    close: int | None
    meaning: str


FAULTS: dict[ErrorCode, Fault] = {
    ErrorCode.BAD_REQUEST: Fault(
        None, "a field is missing, of the wrong kind or out of its range; nothing changed"
    ),
    ErrorCode.INVALID_JSON: Fault(
        None, "not JSON, or not the JSON we take: NaN, a repeated name, too deep, a huge number"
    ),
    ErrorCode.INVALID_UTF8: Fault(1007, "a text message is not UTF-8"),
    ErrorCode.INVALID_MEDIA: Fault(None, "a binary message contradicts itself"),
    ErrorCode.MESSAGE_TOO_LARGE: Fault(1009, "a message is longer than its limit"),
    ErrorCode.UNEXPECTED_MESSAGE: Fault(1003, "media before the session, or a second session.start"),
    ErrorCode.TOO_MANY_ERRORS: Fault(1008, "more refused messages in a minute than the limit"),
    ErrorCode.BAD_HANDSHAKE: Fault(4400, "the first message is not session.start or session.resume, or late"),
    ErrorCode.UNSUPPORTED_CODEC: Fault(None, "a codec that this server does not take or send"),
    ErrorCode.DECODE_FAILED: Fault(None, "a picture or sound could not be decoded; it was skipped"),
    ErrorCode.FRAME_TOO_LARGE: Fault(None, "a picture has more pixels than the limit; it was skipped"),
    ErrorCode.RATE_LIMITED: Fault(None, "too many messages a second; this one was skipped"),
    ErrorCode.QUOTA_EXCEEDED: Fault(4429, "the key's quota is used up"),
    ErrorCode.UNAUTHORIZED: Fault(4401, "no token, or one that is not valid"),
    ErrorCode.FORBIDDEN: Fault(4403, "the token does not allow this"),
    ErrorCode.SESSION_NOT_FOUND: Fault(4404, "no such session here"),
    ErrorCode.SESSION_EXPIRED: Fault(4404, "the resume handle is too old"),
    ErrorCode.SESSION_SUPERSEDED: Fault(4409, "another connection resumed this session"),
    ErrorCode.SESSION_LIMIT: Fault(4440, "the session is as long as one may be"),
    ErrorCode.HEARTBEAT_TIMEOUT: Fault(4408, "the client did not answer pings"),
    ErrorCode.SLOW_CONSUMER: Fault(4413, "the listener fell too far behind"),
    ErrorCode.CAPACITY: Fault(
        1013, "every place is taken, or the server is busy; retry_after_ms says when to ask again"
    ),
    ErrorCode.DRAINING: Fault(4503, "the server takes no more sessions, it is going away"),
    ErrorCode.RESTARTING: Fault(1012, "the server restarts"),
    ErrorCode.MODEL_UNAVAILABLE: Fault(
        1013, "the model does not play now; retry_after_ms says when to ask again"
    ),
    ErrorCode.GENERATOR_LATE: Fault(None, "music is made too slowly; what is heard is concealed"),
    ErrorCode.GENERATOR_FAILED: Fault(1011, "the music cannot go on"),
    ErrorCode.INGEST_FAILED: Fault(None, "the video's address could not be read"),
    ErrorCode.INGEST_FORBIDDEN_URL: Fault(None, "the video's address is not allowed"),
    ErrorCode.RECORDING_OFF: Fault(None, "this server was started without a folder for recordings"),
    ErrorCode.RECORDING_REFUSED: Fault(None, "a recording runs already, or as many as may"),
    ErrorCode.INTERNAL: Fault(1011, "our mistake"),
}

Action: TypeAlias = Literal["resume", "retry", "stop"]
"""resume: connect again with the handle. retry: a new session, after retry_after_ms when that was said. stop: do not."""


@dataclass(frozen=True, slots=True)
class Close:
    name: str
    action: Action
    meaning: str


CLOSES: dict[int, Close] = {
    1000: Close("normal", "stop", "the session ended as asked"),
    1001: Close("going_away", "resume", "the time of a go_away is over; resume at its reconnect_url"),
    1003: Close("unexpected_message", "stop", "a message of a kind that has no place there"),
    1007: Close("invalid_utf8", "stop", "a text message is not UTF-8"),
    1008: Close("policy", "stop", "too many refused messages"),
    1009: Close("too_large", "stop", "a message is longer than its limit"),
    1011: Close("internal", "resume", "our mistake; the session may still be there"),
    1012: Close("restarting", "resume", "the server restarts"),
    1013: Close("try_again", "retry", "no place now"),
    4400: Close("bad_handshake", "stop", "the connection did not begin as it must"),
    4401: Close("unauthorized", "stop", "no valid token; get a new one first"),
    4403: Close("forbidden", "stop", "the token does not allow this"),
    4404: Close("no_session", "retry", "the session is unknown or gone"),
    4408: Close("heartbeat_timeout", "resume", "pings were not answered"),
    4409: Close("superseded", "stop", "another connection of this client has the session"),
    4413: Close("slow_consumer", "resume", "the listener fell too far behind"),
    4429: Close("rate_limited", "retry", "too much was asked for; wait"),
    4440: Close("session_limit", "retry", "the session is as long as one may be"),
    4503: Close("draining", "retry", "this server takes no more sessions; ask another"),
}
"""1006 is never sent: it is what a client sees when a connection breaks. It resumes."""


API = "/v1/"
"""Addresses below it answer errors with `error_body`."""


def error_body(code: str, text: str) -> dict[str, dict[str, str]]:
    """What REST answers with an error."""
    return {"error": {"code": code, "text": text}}


class ProtocolError(Exception):
    """What was received breaks the protocol. `param` is the field, `event_id` the message, where they are known.

    weight: how many times it counts against who sent it.
    """

    def __init__(
        self,
        code: ErrorCode,
        text: str,
        param: str | None = None,
        event_id: str | None = None,
        weight: int = 1,
    ) -> None:
        self.code, self.param, self.event_id, self.weight = code, param, event_id, weight
        self.text = quotable(text)
        super().__init__(f"{code}: {self.text}")


def quotable(text: str, limit: int = MAX_TEXT) -> str:
    """Fit to be sent back: not long, and no half of a surrogate pair."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return short.encode("utf-8", "replace").decode()
