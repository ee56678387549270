"""Control messages on their way: numbered, kept until the server has seen them, sent again after a resume.

The server counts the control messages that a session has seen, `session.start` being the first, and tells the count once a
second and when a connection resumes. What it has not seen is sent again in the same order. Reports and pings count too, but an
old one is worth nothing: after a resume they are left out.
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
    """Full: the oldest one that was sent is forgotten, and lost if the connection breaks just then; when none was sent, a
    passing message is left out and another one raises TooMuch."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()  # bound: KEPT_MESSAGES, see the class
        self._sent = 0  # of these, from the left
        self._before = 1  # messages before the first of these: session.start
        self.lost = 0

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message: Message) -> None:
        """Raises TooMuch when nothing can be forgotten."""
        if len(self._messages) >= KEPT_MESSAGES:
            if not self._sent:
                if isinstance(message, PASSING):
                    return
                raise TooMuch(f"{KEPT_MESSAGES} control messages wait for the connection")
            self._drop()
        self._messages.append(message)

    def take(self) -> Message | None:
        """The next one to send."""
        if self._sent == len(self._messages):
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
        self._messages = deque(m for m in self._messages if not isinstance(m, PASSING))
        self._sent, self._before = 0, count

    def restart(self) -> list[Message]:
        """A new session: nothing counts. Returns what had not been seen."""
        left = [m for m in self._messages if not isinstance(m, PASSING)]
        self._messages.clear()
        self._sent, self._before = 0, 1
        return left

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages)

    def _drop(self) -> None:
        self._messages.popleft()
        self._sent -= 1
        self._before += 1
