"""When and where a client connects again: the pauses, the server's wishes, the place that it names when it goes away.

It knows no messages but those three that say something about coming back, and neither handles nor sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from msgspec import UNSET

from cuestream_client.closes import BROKEN, ENDS, Patience, Then
from cuestream_client.messages import ErrorMessage, GoAway
from cuestream_client.rest import parted
from cuestream_client.secrets import without_secrets

LEAVE_AFTER_S = 1.5
"""From `go_away` to our leaving: a newer resume handle comes within a second."""
TRIES_THERE = 3
"""So many attempts in a row at a place that a server named as it went away; then it is the turn of the one before, one by one."""
AT_ONCE = (BROKEN, 1001)
"""After these the first attempt does not wait: the music in the buffer is short."""


@dataclass(frozen=True, slots=True)
class Next:
    """What to do after a connection is gone: wait `pause_s` and connect to `url`, or stop. why: one line. code: of the close, or
    the HTTP status. asked_s: how long the client was asked to stay away; 0 when it was not."""

    then: Then
    url: str
    pause_s: float
    code: int
    why: str
    gave_up: bool = False
    asked_s: float = 0.0


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
        self._instead: str | None = None  # where it was before, until it stands where it was sent
        self._tries_there = 0

    def opened(self) -> None:
        """A connection stands, the session not yet."""
        self._error = self._leave_at_s = self._stands_s = None
        self._retry_after_s = 0.0

    def stands(self) -> None:
        """The session stands on it."""
        self._ever, self._instead, self._stands_s = True, None, self._clock()

    def error(self, error: ErrorMessage) -> None:
        """What the server said before it closes, and how long it wants to be left alone. One that refused the greeting need not
        close; there is nothing to wait for."""
        if not error.fatal and self._stands_s is not None:
            return  # of one thing, in a session that goes on
        self._error = error
        if self.is_refused:
            self._leave_at_s = self._clock()
        self._retry_after_s = 0.0 if error.retry_after_ms is UNSET else error.retry_after_ms / 1000

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

    def code_of(self, code: int) -> int:
        """The code of a close, or what the last error said where the line broke before it."""
        return ENDS.get(self._error.code, code) if code == BROKEN and self._error else code

    def why(self, code: int, reason: str) -> str:
        error = self._error
        return f"{error.code}: {error.text}" if error else reason or f"closed with {int(code)}"

    def after(self, then: Then, code: int, why: str, retry_after_s: float | None = None) -> Next:
        """The connection is gone, or did not come about: when to try again, or that it was tried often enough."""
        if self._stands_s is not None and self._clock() - self._stands_s >= self._patience.stable_s:
            self._failures = 0
        asked_s = self._retry_after_s if retry_after_s is None else retry_after_s
        if then == "stop":
            return self._next("stop", code, why, asked_s)
        if not self._ever and asked_s > self._patience.asked_s:
            return self._next("stop", code, f"{why}; it asks to come again in {asked_s:g} s", asked_s)
        nobody = code == BROKEN and not self._ever
        tried = self._failures + (not self._ever)  # a line that broke was no attempt
        if tried >= (self._patience.first_attempts if nobody else self._patience.attempts):
            times = "1 attempt" if tried == 1 else f"{tried} attempts"
            return self._next("stop", code, f"gave up after {times}; {why}", asked_s, gave_up=True)
        self._turn()
        pause_s = max(self._pause_s(code), min(asked_s, self._patience.asked_s))
        self._failures += 1
        self._stands_s = None
        return self._next(then, code, why, asked_s, pause_s)

    def _turn(self) -> None:
        """Where to connect next."""
        if self._leave_to is not None:
            self.url, self._instead = self._leave_to, self.url
            self._leave_to, self._tries_there = None, 0
        elif self._instead is not None:
            self._tries_there += 1
            if self._tries_there >= TRIES_THERE:
                self.url, self._instead = self._instead, self.url

    def _next(
        self, then: Then, code: int, why: str, asked_s: float, pause_s: float = 0.0, gave_up: bool = False
    ) -> Next:
        return Next(
            then, without_secrets(self.url), pause_s, int(code), without_secrets(why), gave_up, asked_s
        )

    def _pause_s(self, code: int) -> float:
        if self._ever and self._failures == 0 and code in AT_ONCE:
            return 0.0
        return self._patience.pause_s(self._failures, self._chance)


def _is_as_safe(url: str, as_this: str) -> bool:
    """Whether an address that a server names is a websocket's, and encrypted where the first one was: a token goes there."""
    schemes = ("wss",) if urlsplit(as_this).scheme == "wss" else ("ws", "wss")
    try:
        return parted(url).scheme in schemes
    except ValueError:
        return False
