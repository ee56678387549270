"""The seam: every call of the model goes through `Backend`. Arrays in, arrays out; state is explicit.

The five verbs are encode frames (with its two branches), fuse, write condition, step, and decode audio (with its two halves,
see `engine.codec`). Caches and conditions are opaque to the engine: a backend makes them, fills them, and copies them to and
from the host for a snapshot. So is what it is given of a frame, which never needs to leave the device. Streams that ask
together do so by `step_all` for steps and by `answer_all` for everything else.

Letters: F frames, M recalled frames, P tokens of a frame, E vision width, D decoder width, G segments, R guidance rows,
T columns, K codebooks, S picture side, C its planes, L layers, H heads, d head dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engine.asking import Request
from engine.codec import CodecGraphs
from engine.spec import ModelSpec, StreamPolicy

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
Kept: TypeAlias = Any
"""An array of floats where the backend keeps it, NumPy's or one on a device: it is given back, indexed by its first axis,
gathered and read, and nothing else is done with it."""

Caches = TypeVar("Caches")
Condition = TypeVar("Condition")


@dataclass(frozen=True, slots=True)
class StepCall(Generic[Caches, Condition]):
    """What `Backend.step` is given."""

    caches: Caches
    segment: int
    condition: Condition
    frames: int
    tokens: I64
    position: I64

    def on(self, backend: Backend[Caches, Condition]) -> F32:
        """The answer of a backend to this alone."""
        return backend.step(
            self.caches, self.segment, self.condition, self.frames, self.tokens, self.position
        )


@dataclass(frozen=True, slots=True)
class DrawCall(Generic[Caches, Condition]):
    """A step, and how the column that follows is drawn from it: one after another, `steps` times, each reading the last one."""

    step: StepCall[Caches, Condition]
    leading: int
    """Which of the segments that read is sampled."""
    policy: StreamPolicy
    column: int
    """The stream's column that is drawn first: it keys the draws."""
    allowed: NDArray[np.bool_] | None
    """[K, card]: tokens that may be drawn; None: all."""
    steps: int = 1


@runtime_checkable
class DrawsItself(Protocol):
    """A backend that draws where its logits are, and so can take several steps before anybody else has to know."""

    most_steps: int
    """Of one call."""

    def draw_all(self, calls: Sequence[DrawCall[Any, Any]]) -> list[I64]:
        """Columns [n, K] for each of several streams, n being the fewest steps that one of them asks for."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """A backend that makes or compiles something when it is first asked, for which a listener would wait."""

    def prepare(self, policy: StreamPolicy) -> None:
        """Do that now, for streams of such a policy. Raises NoRoom when the device has no memory for them."""
        ...


@runtime_checkable
class HasPlaces(Protocol):
    """A backend whose device has room for so many streams, with a place for each."""

    def rest(self, owners: Sequence[Any], resting: bool) -> None:
        """Caches and conditions of a stream that takes no steps while it rests: whoever needs their places has them, and what
        they hold waits on the host. Raises NoRoom when they rest no more and there is no place; they rest on then."""
        ...


@runtime_checkable
class OnDevice(Protocol):
    """A backend whose work is done by a device that may be lost."""

    def ask_device(self) -> None:
        """Wait until it has done something small. Raises what it answers when it does nothing any more."""
        ...


class Backend(CodecGraphs, Protocol[Caches, Condition]):
    """A model on a device."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def answers_together(self) -> bool:
        """Whether it gains anything by requests of several streams that come in one go."""
        ...

    @property
    def prefers_batches(self) -> bool:
        """Whether a batch of one is quicker than what a request does `on` it."""
        ...

    def answer_all(self, asked: Sequence[Request]) -> list[Any]:
        """See `engine.asking.Answering`: of the kinds in `engine.backends.eyes` and of its codec's."""
        ...

    def encode_frames(self, frames: U8) -> Kept:
        """[F, S, S, C], RGB and the motion of a model that sees it, to features [F, P, E]."""
        ...

    def look(self, features: Kept) -> Kept:
        """The short-term branch: [F, P, E] to [F, P, E]."""
        ...

    def remember(self, features: Kept) -> Kept:
        """The long-term branch: [F, P, E] to the keys and values that a held frame answers with, [F, 2, P, E]."""
        ...

    def fuse(self, short: Kept, memory: Kept) -> Kept:
        """[F, P, E] and [M, 2, P, E] to condition tokens [F, P, D]. A frame's tokens depend on it and the memory alone."""
        ...

    def gather(self, arrays: Sequence[Kept]) -> Kept:
        """Arrays of one shape as one, beside each other in a new first axis."""
        ...

    def read(self, array: Kept) -> F32:
        """A copy on the host, for a snapshot."""
        ...

    def keep(self, array: F32) -> Kept:
        """Put back what `read` gave."""
        ...

    def new_condition(self, frames: int) -> Condition:
        """Room for the cross-attention keys and values of `frames` frames."""
        ...

    def write_condition(self, condition: Condition, slot: int, tokens: Kept) -> None:
        """Project [F, P, D] and keep the result in the slots from `slot` on."""
        ...

    def write_ages(self, condition: Condition, ages: I64) -> None:
        """How old the first len(ages) slots are, in age classes; for a model with ages, once their tokens were written."""
        ...

    def new_caches(self, segments: int, guided: bool, positions: int) -> Caches:
        """Self-attention caches for `segments` segments of at most `positions` columns."""
        ...

    def step(
        self, caches: Caches, segment: int, condition: Condition, frames: int, tokens: I64, position: I64
    ) -> F32:
        """Read columns into the segments from `segment` on, each behind the `position` [G] columns it holds.

        tokens: [G, T, K]; T above 1 (a prompt) is for one segment at position 0. The segments see the first `frames` slots of
        the condition. Returns the logits that follow the last column, [G, R, K, card].
        """
        ...

    def step_all(self, calls: Sequence[StepCall[Caches, Condition]]) -> list[F32]:
        """A step of one column for each of several streams, which read the weights together where the backend can do that. What
        one is answered depends on no other one, but for the order of sums."""
        ...

    def read_caches(self, caches: Caches, segment: int, positions: int) -> F32:
        """What a segment holds: [L, 2, R, H, positions, d], for a snapshot."""
        ...

    def write_caches(self, caches: Caches, segment: int, held: F32) -> None:
        """Put back what `read_caches` gave."""
        ...

    def read_condition(self, condition: Condition, frames: int) -> F32:
        """The first slots of a condition, [L, 2, frames, H d P] flat in its last axis."""
        ...

    def write_held_condition(self, condition: Condition, held: F32) -> None:
        """Put back what `read_condition` gave."""
        ...


class OnHost:
    """Of a backend that keeps its arrays where NumPy has them."""

    def gather(self, arrays: Sequence[F32]) -> F32:
        return np.stack(arrays)

    def read(self, array: F32) -> F32:
        return array

    def keep(self, array: F32) -> F32:
        return array


class OneByOne:
    """Of a backend that gains nothing by requests that come in one go."""

    answers_together = prefers_batches = False

    def answer_all(self, asked: Sequence[Request]) -> list[Any]:
        return [request.on(self) for request in asked]
