"""What a client may do after a connection closed, and how long it waits.

resume  connect again with the newest handle; when that is refused, as retry
retry   a new session, after `retry_after_ms` when an error said so, otherwise after a pause that doubles
stop    do not come back by yourself
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Then: TypeAlias = Literal["resume", "retry", "stop"]

BROKEN = 1006
"""Never sent: what a client sees when a connection breaks."""
FULL = 1013
"""No place now; a session that was to be resumed still waits."""
BAD_HANDSHAKE = 4400
"""The connection did not begin as it must."""
UNKNOWN = 4404
"""The session is gone."""
CLOSES: dict[int, Then] = {
    1000: "stop",
    1001: "resume",
    1003: "stop",
    1007: "stop",
    1008: "stop",
    1009: "stop",
    1011: "resume",
    1012: "resume",
    1013: "retry",
    4400: "stop",
    4401: "stop",
    4403: "stop",
    4404: "retry",
    4408: "resume",
    4409: "stop",
    4413: "resume",
    4429: "retry",
    4440: "retry",
    4503: "retry",
}
"""Close codes; one that is not here resumes."""
ENDS: dict[str, int] = {
    "invalid_utf8": 1007,
    "message_too_large": 1009,
    "unexpected_message": 1003,
    "too_many_errors": 1008,
    "bad_handshake": 4400,
    "quota_exceeded": 4429,
    "unauthorized": 4401,
    "forbidden": 4403,
    "session_not_found": 4404,
    "session_expired": 4404,
    "session_superseded": 4409,
    "session_limit": 4440,
    "heartbeat_timeout": 4408,
    "slow_consumer": 4413,
    "capacity": 1013,
    "draining": 4503,
    "restarting": 1012,
    "model_unavailable": 1013,
    "generator_failed": 1011,
    "internal": 1011,
}
"""The code that the server closes with after an error, where the line breaks before it."""
FOR_NOW = (408, 429)
"""HTTP statuses of 4xx that refuse an upgrade for a while, as those of 5xx do: a session that was still waits."""
FOR_GOOD = (501, 505)
"""Those of 5xx that stay: not implemented, and another version of HTTP."""


def after_close(code: int) -> Then:
    return CLOSES.get(code, "resume")


def after_status(status: int) -> Then:
    return "resume" if status in FOR_NOW or (status >= 500 and status not in FOR_GOOD) else "stop"


@dataclass(frozen=True, slots=True)
class Patience:
    """How a client waits before it connects again: `first_s`, doubled each time up to `most_s`, of which a random half is left
    out so that clients do not come back together; after `attempts` in a row it gives up. A connection that stood for `stable_s`
    makes the next break the first one again."""

    first_s: float = 0.25
    most_s: float = 10.0
    attempts: int = 12
    first_attempts: int = 3
    """So many where nobody ever answered: the address is likely wrong."""
    stable_s: float = 2.0
    asked_s: float = 120.0
    """The longest that it waits because it was asked to, by the server or a proxy before it: a session that stood is asked for
    again then, and one that never did is given up at once. A server of ours asks for a minute at most."""

    def pause_s(self, failures: int, random: Callable[[], float]) -> float:
        """failures: attempts in a row that failed before this one, from 0."""
        pause = min(self.most_s, self.first_s * 2.0 ** min(failures, 32))
        return pause * (0.5 + 0.5 * random())
