"""What a stream's eyes ask of a backend, each verb as a request (see `engine.asking`); the letters are those of `Backend`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from engine.backends.base import I64, U8, Backend, Kept


@dataclass(frozen=True, slots=True, eq=False)
class Encode:
    """planes: [S, S, C], a frame as it is encoded. Answered by its features and its short-term branch, [P, E] each."""

    stage: ClassVar[int] = 0
    planes: U8

    def on(self, backend: Backend[Any, Any]) -> tuple[Kept, Kept]:
        features = backend.encode_frames(self.planes[None])
        return features[0], backend.look(features)[0]


@dataclass(frozen=True, slots=True, eq=False)
class Remember:
    """features: [P, E]. Answered by what a frame of long-term memory answers with, [2, P, E]."""

    stage: ClassVar[int] = 1
    features: Kept

    def on(self, backend: Backend[Any, Any]) -> Kept:
        return backend.remember(self.features[None])[0]


@dataclass(frozen=True, slots=True, eq=False)
class Fuse:
    """short: [F, P, E]; memory: [M, 2, P, E]. Answered by condition tokens [F, P, D]."""

    stage: ClassVar[int] = 2
    short: Kept
    memory: Kept

    def on(self, backend: Backend[Any, Any]) -> Kept:
        return backend.fuse(self.short, self.memory)


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """tokens: [F, P, D], for the slots of a condition from `slot` on."""

    stage: ClassVar[int] = 3
    condition: Any
    slot: int
    tokens: Kept

    def on(self, backend: Backend[Any, Any]) -> None:
        backend.write_condition(self.condition, self.slot, self.tokens)


@dataclass(frozen=True, slots=True, eq=False)
class Ages:
    """ages: int64 [F], of a condition's first slots."""

    stage: ClassVar[int] = 4
    condition: Any
    ages: I64

    def on(self, backend: Backend[Any, Any]) -> None:
        backend.write_ages(self.condition, self.ages)
