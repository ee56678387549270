"""What waits to be decoded: one still picture, the newest.

Of a video whose pictures need each other: a few, and after a loss none until a keyframe.
"""

from __future__ import annotations

from collections import deque

from server.pictures.imaging import CHAINED
from server.protocol.media import Flag, Media

MOST_CHAINED = 8


class Mailbox:
    """`dropped`: pictures that nobody will see."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Media]] = deque()  # bound: 1 still picture or MOST_CHAINED
        self._needs_key = True
        self.dropped = 0

    def put(self, now_s: float, media: Media) -> None:
        """now_s: when it came."""
        if media.kind not in CHAINED:
            self._drop_all()
        elif Flag.KEYFRAME in media.flags:
            self._drop_all()
            self._needs_key = False
        elif self._needs_key or len(self._waiting) == MOST_CHAINED:
            self._drop_all()
            self.dropped += 1
            self._needs_key = True
            return
        self._waiting.append((now_s, media))

    def take(self) -> tuple[float, Media] | None:
        return self._waiting.popleft() if self._waiting else None

    def broken(self) -> None:
        """One could not be decoded: what follows needs a keyframe."""
        self._drop_all()
        self._needs_key = True

    def _drop_all(self) -> None:
        self.dropped += len(self._waiting)
        self._waiting.clear()
