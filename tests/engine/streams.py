"""What the stream's laws share: a video as a function of the step, and playing a stream for a while."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.sampling import draw_all
from engine.segments import Segments
from engine.stream import AudioChunk, ScoreStream

Video = Callable[[int], NDArray[np.uint8] | None]
"""The frame that is shown before a step, if any."""


def camera(frames: Any, every: int = 10) -> Video:
    """Frame after frame, one each `every` steps; then nothing more."""
    return lambda step: frames[step // every] if step % every == 0 and step // every < len(frames) else None


@dataclass(slots=True)
class Played:
    """Columns [n, K] in the order in which they were sampled, and the chunks that were taken."""

    columns: list[Any] = field(default_factory=list)
    chunks: list[AudioChunk] = field(default_factory=list)

    @property
    def codes(self) -> Any:
        return np.stack(self.columns)

    @property
    def samples(self) -> Any:
        return np.concatenate([c.samples for c in self.chunks])


def advance(segments: Segments, condition: Any, frames: int) -> None:
    """Read the newest column, sample the next one, hand over when the leading segment is full."""
    segments.hear(draw_all(segments.backend, [segments.ask(condition, frames)])[0])


def play(
    stream: ScoreStream, steps: int, video: Video, take: bool = True, into: Played | None = None
) -> Played:
    """Show, advance, take, `steps` times from where the stream stands."""
    played = into or Played()
    for _ in range(steps):
        if (pixels := video(stream.now)) is not None:
            stream.push(pixels)
        stream.advance()
        played.columns.append(stream.segments.columns[-1])
        while take and (chunk := stream.take()):
            played.chunks.append(chunk)
    return played
