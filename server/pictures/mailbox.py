"""What waits to be decoded: one still picture, the newest.

Of a video whose pictures need each other: a few, and after a loss none until a keyframe. Numbers that do not follow each other
are a loss, too.
"""

from __future__ import annotations

from collections import Counter, deque

from server.pictures.imaging import CHAINED
from server.protocol.media import Flag, Media

MOST_CHAINED = 30
"""Half a second of 60 a second: as long as a busy machine may take to come back to a decoder."""


class Mailbox:
    """`needs_key`: nothing but a keyframe, or a still picture, will be seen now. counts: `dropped`, pictures that nobody sees."""

    def __init__(self, counts: Counter[str]) -> None:
        self._waiting: deque[tuple[float, Media]] = deque()  # bound: 1 still picture or MOST_CHAINED
        self._next_seq = 0
        self._counts = counts
        self.needs_key = True

    def put(self, now_s: float, media: Media) -> None:
        """now_s: when it came."""
        if media.kind not in CHAINED:
            self.broken()  # a decoder of still pictures takes the place of the video's
        elif Flag.KEYFRAME in media.flags:
            self._drop_all()
            self.needs_key = False
        elif self.needs_key or media.seq != self._next_seq or len(self._waiting) == MOST_CHAINED:
            self.broken()
            self._counts["dropped"] += 1
            return
        self._next_seq = (media.seq + 1) % 2**32
        self._waiting.append((now_s, media))

    def take(self) -> tuple[float, Media] | None:
        return self._waiting.popleft() if self._waiting else None

    def broken(self) -> None:
        """What comes next cannot be decoded by what came before: it needs a keyframe."""
        self._drop_all()
        self.needs_key = True

    def _drop_all(self) -> None:
        self._counts["dropped"] += len(self._waiting)
        self._waiting.clear()
