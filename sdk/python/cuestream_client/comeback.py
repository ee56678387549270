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
"""So many attempts that nobody answers, at a place that a server named as it went away; then the others have their turn, too."""
TRIES_AT_ITS_PLACE = 9
"""Where the session stood: they take half a minute, for which a server that starts again may still have it."""
NOBODY = (BROKEN, 502, 504)
"""No answer, of the server or as a proxy before it says."""
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
        self.url, self._home = url, url
        self._patience, self._clock, self._chance = patience, clock, chance
        self._failures = 0
        self._ever = False
        self._stands_s: float | None = None
        self._error: ErrorMessage | None = None
        self._retry_after_s = 0.0
        self._leave_at_s: float | None = None
        self._leave_to: str | None = None
        self._others: list[str] = []  # where to try, too; bound: 2
        self._tries = 0  # left here, before it is their turn

    def begin_at(self, url: str) -> None:
        """Where a session that begins is, as who invites to it says."""
        self.url = self._home = url
        self._others = []

    def opened(self) -> None:
        """A connection stands, the session not yet."""
        self._error = self._leave_at_s = self._stands_s = None
        self._retry_after_s = 0.0

    def stands(self) -> None:
        """The session stands on it."""
        self._ever, self._stands_s = True, self._clock()
        self._others, self._tries = [self._home][self.url == self._home :], TRIES_AT_ITS_PLACE

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
        self._turn(code)
        pause_s = max(self._pause_s(code), min(asked_s, self._patience.asked_s))
        self._failures += 1
        self._stands_s = None
        return self._next(then, code, why, asked_s, pause_s)

    def _turn(self, code: int) -> None:
        """Where to connect next: where a server sent us; where nobody answers there, the place before and that of the beginning,
        too. Who answers has the session, or says that it is gone."""
        if self._leave_to is not None:
            before = dict.fromkeys((self.url, self._home))
            self.url, self._leave_to, self._tries = self._leave_to, None, TRIES_THERE
            self._others = [place for place in before if place != self.url]
        elif self._stands_s is None and code in NOBODY:  # a line that broke was no attempt
            self._tries -= 1
            if self._tries <= 0 and self._others:
                self._others.append(self.url)
                self.url = self._others.pop(0)

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
