"""What one websocket is still to be sent: a bounded outbox, and how it ends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from server.access.limiting import Tally
from server.protocol.control import encode, refusal
from server.protocol.errors import CLOSES, FAULTS, ErrorCode, ProtocolError
from server.protocol.limits import DEFAULTS, Limits
from server.protocol.messages import ErrorMessage, ServerMessage

Data = str | bytes
MOST_WAITING = 512
"""Messages; credit keeps music under a tenth of it. A client that reads nothing for so long is let go."""


class Line:
    """`closing`: the code that the connection ends with once everything was sent.

    `since_s`: when the music that `next` gave last could have been sent at the soonest. write: takes a message and its `since_s`,
    and says whether it is on its way; where it is not, it waits for `next`, and so does all that comes after it.
    """

    def __init__(
        self, limits: Limits = DEFAULTS, write: Callable[[Data, float | None], bool] = lambda *_: False
    ) -> None:
        self.closing: int | None = None
        self._errors, self._bad_pictures = Tally(limits.errors_per_min), Tally(limits.bad_pictures_per_min)
        self.since_s: float | None = None
        self._write = write
        self._outbox: deque[tuple[Data, float | None]] = deque()  # bound: MOST_WAITING, then the line fails
        self._under_way = False  # what `next` gave is not sent yet
        self._change = asyncio.Event()

    def say(self, message: ServerMessage) -> None:
        self.put(encode(message))

    def put(self, data: Data, since_s: float | None = None) -> None:
        """Nothing is said any more once the line is closing."""
        if self.closing is not None:
            return
        if not self._outbox and not self._under_way and self._write(data, since_s):
            return
        if len(self._outbox) == MOST_WAITING:
            self._outbox.clear()
            self.fail(ErrorCode.SLOW_CONSUMER, f"{MOST_WAITING} messages wait to be read")
            return
        self._outbox.append((data, since_s))
        self._change.set()

    def refuse(self, error: ProtocolError, now_s: float) -> None:
        """Say what was wrong with something that came; close when that ends the connection, or when it was once too often."""
        self.say(refusal(error))
        close = FAULTS[error.code].close
        if close is not None:
            self.hang_up(close)
            return
        of_pictures = error.code in (ErrorCode.DECODE_FAILED, ErrorCode.FRAME_TOO_LARGE)
        tally = self._bad_pictures if of_pictures else self._errors
        if tally.is_full(now_s, error.weight):
            what = "bad pictures" if of_pictures else "refused messages"
            self.fail(ErrorCode.TOO_MANY_ERRORS, f"more than {tally.most} {what} in a minute")

    def fail(self, code: ErrorCode, text: str) -> None:
        """Say why, then close with the code that belongs to it."""
        close = FAULTS[code].close
        assert close is not None
        self.say(ErrorMessage(str(code), text, True))
        self.hang_up(close)

    def hang_up(self, code: int) -> None:
        """After what waits."""
        if self.closing is None:
            self.closing = code
        self._change.set()

    async def next(self) -> Data | None:
        """What is to be sent, None when the line is to be closed. To be asked again when that is sent."""
        self._under_way = False
        while not self._outbox:
            if self.closing is not None:
                return None
            self._change.clear()
            await self._change.wait()
        data, self.since_s = self._outbox.popleft()
        self._under_way = True
        return data


def reason_of(code: int) -> str:
    return CLOSES[code].name if code in CLOSES else ""
