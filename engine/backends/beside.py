"""Two backends of one model side by side: the first one plays, the second is shown everything that the first one saw.

What the second answers is kept beside what the first did and used for nothing, so that both are compared on the same music.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import F32, I64, U8, Backend, OneByOne, OnHost, StepCall
from engine.spec import ModelSpec

Pair = tuple[Any, Any]


@dataclass(slots=True)
class Difference:
    """Sums over everything that was answered: of squared differences, of squares of the first one's."""

    changed: float = 0.0
    power: float = 0.0

    def note(self, first: F32, second: F32) -> None:
        self.changed += float(np.sum((second - first) ** 2))
        self.power += float(np.sum(first**2))

    @property
    def relative(self) -> float:
        """Root mean square of the difference over that of the first."""
        return float((self.changed / self.power) ** 0.5) if self.power else 0.0


@dataclass(slots=True)
class Answered:
    """Logits of a step [K, card] of the conditional row, of each backend, and the column [K] that was played then."""

    first: F32
    second: F32
    played: I64


@dataclass(slots=True)
class Seen:
    """What was compared. steps: bound by how long whoever compares lets it play."""

    logits: Difference = field(default_factory=Difference)
    features: Difference = field(default_factory=Difference)
    audio: Difference = field(default_factory=Difference)
    steps: list[Answered] = field(default_factory=list)


class Beside(OneByOne, OnHost):
    """A `Backend` of two. Raises ValueError when they are not of one model."""

    def __init__(self, first: Backend[Any, Any], second: Backend[Any, Any]) -> None:
        one, other = (replace(each.spec, name="").digest for each in (first, second))
        if one != other:
            raise ValueError(f"these are two models: {one} and {other}")
        self.first, self.second = first, second
        self.seen = Seen()
        self._last: dict[tuple[int, int], tuple[F32, F32]] = {}  # bound: two segments
        self._recurred: tuple[F32, F32]
        self._other_y: F32  # bound: what is upsampled at once, and a piece

    @property
    def spec(self) -> ModelSpec:
        return self.first.spec

    # --- eyes

    def encode_frames(self, frames: U8) -> F32:
        features = self.first.encode_frames(frames)
        self.seen.features.note(features, self.second.encode_frames(frames))
        return features

    def look(self, features: F32) -> F32:
        return self.first.look(features)

    def remember(self, features: F32) -> F32:
        return self.first.remember(features)

    def fuse(self, short: F32, memory: F32) -> F32:
        return self.first.fuse(short, memory)

    # --- decoder

    def new_condition(self, frames: int) -> Pair:
        return self.first.new_condition(frames), self.second.new_condition(frames)

    def write_condition(self, condition: Pair, slot: int, tokens: F32) -> None:
        self.first.write_condition(condition[0], slot, tokens)
        self.second.write_condition(condition[1], slot, tokens)

    def write_ages(self, condition: Pair, ages: I64) -> None:
        self.first.write_ages(condition[0], ages)
        self.second.write_ages(condition[1], ages)

    def new_caches(self, segments: int, guided: bool, positions: int) -> Pair:
        about = (segments, guided, positions)
        return self.first.new_caches(*about), self.second.new_caches(*about)

    def step(
        self, caches: Pair, segment: int, condition: Pair, frames: int, tokens: I64, position: I64
    ) -> F32:
        """See `Backend`. What was answered to the column before is known to have been played now."""
        mine = self.first.step(caches[0], segment, condition[0], frames, tokens, position)
        other = self.second.step(caches[1], segment, condition[1], frames, tokens, position)
        self.seen.logits.note(centred(mine), centred(other))
        for row in range(len(tokens)):
            place = segment + row
            if before := self._last.pop((place, int(position[row])), None):
                self.seen.steps.append(Answered(*before, tokens[row, 0].copy()))
            behind = int(position[row]) + tokens.shape[1]
            self._last[place, behind] = (mine[row, 0].copy(), other[row, 0].copy())
        return mine

    def step_all(self, calls: Sequence[StepCall[Any, Any]]) -> list[F32]:
        return [call.on(self) for call in calls]

    def read_caches(self, caches: Pair, segment: int, positions: int) -> NDArray[Any]:
        raise NotImplementedError("two backends beside each other keep no snapshot")

    def write_caches(self, caches: Pair, segment: int, held: NDArray[Any]) -> None:
        raise NotImplementedError("two backends beside each other keep no snapshot")

    def read_condition(self, condition: Pair, frames: int) -> NDArray[Any]:
        raise NotImplementedError("two backends beside each other keep no snapshot")

    def write_held_condition(self, condition: Pair, held: NDArray[Any]) -> None:
        raise NotImplementedError("two backends beside each other keep no snapshot")

    # --- codec

    def recur(self, codes: I64, hidden: F32, cell: F32) -> tuple[F32, F32, F32]:
        """The second one goes on from its own state."""
        if begins := not hidden.any():
            self._recurred = hidden, cell
        other, *after = self.second.recur(codes, *self._recurred)
        self._recurred = after[0], after[1]
        self._other_y = other if begins else np.concatenate((self._other_y, other), axis=1)
        return self.first.recur(codes, hidden, cell)

    def upsample(self, y: F32) -> F32:
        """y ends with what was recurred last."""
        self._other_y = self._other_y[:, -y.shape[1] :]
        audio = self.first.upsample(y)
        self.seen.audio.note(audio, self.second.upsample(self._other_y))
        return audio

    def synthesise(self, codes: I64, first: int) -> F32:
        audio = self.first.synthesise(codes, first)
        self.seen.audio.note(audio, self.second.synthesise(codes, first))
        return audio


def centred(logits: F32) -> F32:
    """[..., card] without what all tokens have in common, which changes no probability."""
    return logits - logits.mean(-1, keepdims=True)
