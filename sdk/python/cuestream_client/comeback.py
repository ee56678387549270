"""When and where a client connects again: the pauses, the server's wishes, the place that it names when it goes away.

It knows no messages but those three that say something about coming back, and neither handles nor sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from msgspec import UNSET

from cuestream_client.closes import BROKEN, Patience, Then
from cuestream_client.messages import ErrorMessage, GoAway

LEAVE_AFTER_S = 1.5
"""From `go_away` to our leaving: a newer resume handle comes within a second."""
AT_ONCE = (BROKEN, 1001)
"""After these the first attempt does not wait: the music in the buffer is short."""


@dataclass(frozen=True, slots=True)
class Next:
    """What to do after a connection is gone: wait `pause_s` and connect to `url`, or stop. why: one line. code: of the close, or
    the HTTP status."""

    then: Then
    url: str
    pause_s: float
    code: int
    why: str
    gave_up: bool = False


class Comeback:
    """One session's, over its connections. url: where to connect."""

    def __init__(
        self, url: str, patience: Patience, clock: Callable[[], float], chance: Callable[[], float]
    ) -> None:
        self.url, self._patience, self._clock, self._chance = url, patience, clock, chance
        self._failures = 0
        self._ever = False
        self._stands_s: float | None = None
        self._error: ErrorMessage | None = None
        self._retry_after_s = 0.0
        self._leave_at_s: float | None = None
        self._leave_to: str | None = None

    def opened(self) -> None:
        """A connection stands, the session not yet."""
        self._error = self._leave_at_s = self._stands_s = None
        self._retry_after_s = 0.0

    def stands(self) -> None:
        """The session stands on it."""
        self._ever, self._stands_s = True, self._clock()

    def error(self, error: ErrorMessage) -> None:
        """What the server said before it closes, and how long it wants to be left alone. One that refused the greeting need not
        close; there is nothing to wait for."""
        if error.fatal or self._stands_s is None:
            self._error = error
        if self.is_refused:
            self._leave_at_s = self._clock()
        if error.retry_after_ms is not UNSET:
            self._retry_after_s = error.retry_after_ms / 1000

    def go_away(self, message: GoAway) -> None:
        """Prepare to leave before the end for the place that it names; without one the music is here to the end. A session at its
        limit would only be refused elsewhere."""
        url = message.reconnect_url
        if message.reason == "session_limit" or url is UNSET or not _is_as_safe(url, self.url):
            return
        self._leave_at_s = self._clock() + min(LEAVE_AFTER_S, message.time_left_ms / 2000)
        self._leave_to = url

    def answered(self) -> None:
        """The server is there again, only without the session: a new one need not wait long."""
        self._failures = 0

    @property
    def is_refused(self) -> bool:
        """Whether the greeting was, on a connection that lives on."""
        return self._error is not None and not self._error.fatal

    @property
    def wants_to_leave(self) -> bool:
        return self._leave_at_s is not None and self._clock() >= self._leave_at_s

    def why(self, code: int, reason: str) -> str:
        error = self._error
        return f"{error.code}: {error.text}" if error else reason or f"closed with {int(code)}"

    def after(self, then: Then, code: int, why: str, retry_after_s: float | None = None) -> Next:
        """The connection is gone, or did not come about: when to try again, or that it was tried often enough."""
        if self._stands_s is not None and self._clock() - self._stands_s >= self._patience.stable_s:
            self._failures = 0
        if then == "stop":
            return self.stop(code, why)
        nobody = code == BROKEN and not self._ever
        tried = self._failures + (not self._ever)  # a line that broke was no attempt
        if tried >= (self._patience.first_attempts if nobody else self._patience.attempts):
            times = "1 attempt" if tried == 1 else f"{tried} attempts"
            return self.stop(code, f"gave up after {times}; {why}", gave_up=True)
        if self._leave_to is not None:
            self.url, self._leave_to = self._leave_to, None
        pause_s = max(self._pause_s(code), retry_after_s or self._retry_after_s)
        self._failures += 1
        self._stands_s = None
        return Next(then, self.url, pause_s, int(code), why)

    def stop(self, code: int, why: str, gave_up: bool = False) -> Next:
        return Next("stop", self.url, 0.0, int(code), why, gave_up)

    def _pause_s(self, code: int) -> float:
        if self._ever and self._failures == 0 and code in AT_ONCE:
            return 0.0
        return self._patience.pause_s(self._failures, self._chance)


def _is_as_safe(url: str, as_this: str) -> bool:
    """Whether an address that a server names is a websocket, and encrypted where the first one was: a token goes there."""
    schemes = ("wss",) if urlsplit(as_this).scheme == "wss" else ("ws", "wss")
    return urlsplit(url).scheme in schemes
