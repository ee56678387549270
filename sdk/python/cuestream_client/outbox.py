"""Control messages on their way: numbered, kept until the server has seen them, sent again after a resume.

The server counts the control messages that a session has seen, `session.start` being the first, and tells the count once a
second and when a connection resumes. What it has not seen is sent again in the same order. Reports and pings pass: they count
too, but an old one is worth nothing. The newest of each kind takes turns with what waits, and after a resume they are left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from cuestream_client.errors import TooMuch
from cuestream_client.messages import Message, Ping, PlayoutReport

KEPT_MESSAGES = 512
"""More than a client sends within ten seconds at the server's default rate; a server tells its count every second."""
PASSING = (PlayoutReport, Ping)


class Outbox:
    """Full: the oldest one that was sent is forgotten, and lost if the connection breaks just then; when none was sent, one that
    passes waits and another one raises TooMuch."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()  # bound: KEPT_MESSAGES, see the class
        self._passing: dict[type[Message], Message] = {}  # bound: 1 of each kind, a newer one replaces it
        self._sent = 0  # of these, from the left
        self._before = 1  # messages before the first of these: session.start
        self.lost = 0

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message: Message) -> None:
        """Raises TooMuch when nothing can be forgotten."""
        if isinstance(message, PASSING):
            self._passing[type(message)] = message
        elif self._has_room():
            self._messages.append(message)
        else:
            raise TooMuch(f"{KEPT_MESSAGES} control messages wait for the connection")

    @property
    def waits(self) -> bool:
        """Whether there is anything to send."""
        return bool(self._passing) or self._sent < len(self._messages)

    def take(self) -> Message | None:
        """The next one to send."""
        if self._passing and self._may_pass() and self._has_room():
            self._messages.insert(self._sent, self._passing.pop(next(iter(self._passing))))
        elif self._sent == len(self._messages):
            return None
        self._sent += 1
        return self._messages[self._sent - 1]

    def consumed(self, count: int) -> None:
        """The server has seen `count` messages of this session."""
        while self._sent and self._before < count:
            self._drop()

    def rewind(self, count: int) -> None:
        """A connection resumed, and the server had seen `count`: those after it are sent again."""
        self.consumed(count)
        self.lost += max(0, self._before - count)
        self._messages, self._passing = deque(self._kept()), {}
        self._sent, self._before = 0, count

    def restart(self) -> list[Message]:
        """A new session: nothing counts. Returns what had not been seen."""
        left = self._kept()
        self._messages.clear()
        self._passing.clear()
        self._sent, self._before = 0, 1
        return left

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages)

    def _may_pass(self) -> bool:
        """Not two in a row while others wait."""
        waits = self._sent < len(self._messages)
        return not (waits and self._sent and isinstance(self._messages[self._sent - 1], PASSING))

    def _has_room(self) -> bool:
        """Room for one more; the oldest one that was sent makes it."""
        if len(self._messages) >= KEPT_MESSAGES and self._sent:
            self._drop()
        return len(self._messages) < KEPT_MESSAGES

    def _kept(self) -> list[Message]:
        return [m for m in self._messages if not isinstance(m, PASSING)]

    def _drop(self) -> None:
        self._messages.popleft()
        self._sent -= 1
        self._before += 1
