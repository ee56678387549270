"""Streams whose steps are final as soon as they are written: what their chunks and their end have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from engine.spec import StreamPolicy
from engine.stream import AudioChunk


class WrittenStream(ABC):
    """The taking half of `engine.player.Stream`; who follows it writes steps and plays them."""

    policy: StreamPolicy

    def __init__(self) -> None:
        self._taken = 0
        """Steps whose audio was taken."""
        self._closed = False

    @property
    @abstractmethod
    def now(self) -> int:
        """Steps taken."""

    @property
    def frames(self) -> int:
        """Steps of 20 ms that are complete: all that were taken."""
        return self.now

    @property
    def lacks(self) -> int:
        """Steps until `take` has a chunk."""
        return max(0, self._taken + self.policy.chunk_steps - self.now)

    def take(self) -> AudioChunk | None:
        """The next chunk, as soon as its steps are written."""
        end = self._taken + self.policy.chunk_steps
        return None if self._closed or end > self.now else self._play(end)

    def close(self, frames: int | None = None) -> AudioChunk | None:
        """End the music after `frames` steps (default: all) and return what was not taken yet."""
        end = self.now if frames is None else min(frames, self.now)
        closed, self._closed = self._closed, True
        return None if closed or end <= self._taken else self._play(end)

    @abstractmethod
    def _play(self, end: int) -> AudioChunk:
        """The audio of the steps from the last one that was taken up to `end`, which is taken then."""

    @abstractmethod
    def snapshot(self, caches: bool = True) -> bytes:
        """Without caches it is small, quick, and slower to restore."""
