"""What the live engine would have shown the decoder, step by step: `Sight` itself, over a backend that only takes notes.

Letters: F frames of a video, V views (a frame's stay in the condition), T steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import OneByOne, OnHost
from engine.frames import Frame
from engine.sight import Sight
from engine.spec import ModelSpec, StreamPolicy

I32 = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Views:
    """Row by row: a frame was in the condition from one step to another, as the frame of a slot.

    views: int32 [V, 4], (index of the frame, its slot, first step, step after the last). Slots count from 0.
    recalled: for each slot of the video, the frames that long-term memory recalled when it opened.
    """

    views: I32
    recalled: list[list[int]]


def watch(spec: ModelSpec, policy: StreamPolicy, frames: Sequence[Frame], steps: int) -> Views:
    """Show a video to the live engine's eyes. Frames are in order, the first at step 0."""
    notes = _Notes(spec)
    sight, at = Sight(notes, policy), 0  # type: ignore[arg-type]  # it takes notes where a backend computes
    stays: dict[tuple[int, int], int] = {}
    rows, recalled = list[tuple[int, int, int, int]](), list[list[int]]()
    for step in range(steps):
        while at < len(frames) and frames[at].step <= step:
            sight.push(frames[at])
            notes.newest, at = at, at + 1
        sight.look(step)
        held = zip((notes.index(seen.tokens) for seen in sight._held), sight.window.places, strict=True)
        present = set(held)
        for gone in [stay for stay in stays if stay not in present]:
            rows.append((*gone, stays.pop(gone), step))
        for new in present - stays.keys():
            stays[new] = step
        if step % spec.steps_per_slot == 0:
            recalled.append(notes.indices(sight._memory))
    rows += [(*stay, first, steps) for stay, first in stays.items()]
    return Views(np.array(sorted(rows, key=lambda row: row[2]), np.int32), recalled)


class _Notes(OneByOne, OnHost):
    """A backend whose features are the number of the frame: what is encoded is always the newest that was pushed."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec, self.newest = spec, 0

    def index(self, tokens: NDArray[np.float32]) -> int:
        return int(tokens.flat[0])

    def indices(self, memory: NDArray[np.float32]) -> list[int]:
        return [int(i) for i in memory.reshape(len(memory), -1)[:, 0]]

    def encode_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full((1, self.spec.vision.tokens, self.spec.vision.width), self.newest, np.float32)

    def look(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return features

    def remember(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack((features, features), 1)

    def fuse(self, short: NDArray[np.float32], memory: NDArray[np.float32]) -> NDArray[np.float32]:
        return short

    def new_condition(self, frames: int) -> None:
        return None

    def write_condition(self, condition: None, slot: int, tokens: NDArray[np.float32]) -> None:
        pass

    def write_ages(self, condition: None, ages: NDArray[np.int64]) -> None:
        pass
