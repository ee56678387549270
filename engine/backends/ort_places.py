"""Places of streams in arrays that exported graphs read and write: caches, conditions, and the steps that are bound to them.

Streams whose places lie beside each other, in caches and conditions alike, share a step.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from engine.backends.base import F32, I64, StepCall

Array = NDArray[Any]


class Pool:
    """Keys and values of each layer for some streams, [places x rows, ...], so that streams beside each other are one array."""

    def __init__(
        self, layers: int, places: int, shape: tuple[int, ...], zeros: Callable[[tuple[int, ...]], Array]
    ) -> None:
        """shape: of one stream's."""
        self.each = shape[0]
        whole = (places * shape[0], *shape[1:])
        self.keys, self.values = ([zeros(whole) for _ in range(layers)] for _ in range(2))
        self.free = list(range(places))
        self.places = places
        self.bound: dict[tuple[int, ...], Bound] = {}  # bound: MOST_BOUND, the oldest goes

    def take(self, owner: Any, place: int) -> None:
        """Until the owner is gone."""
        self.free.remove(place)
        weakref.finalize(owner, self.free.append, place)

    def rows(self, first: int, end: int) -> tuple[list[Array], list[Array]]:
        """Keys and values of each layer."""
        return [a[first:end] for a in self.keys], [a[first:end] for a in self.values]


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class OrtCondition:
    """Cross-attention keys and values of each layer, [1, H, F P, d]; frames in use are a prefix. ages [F], and the frames' tokens
    [F, P, D], of a model with ages."""

    pool: Pool
    place: int
    keys: list[Array]
    values: list[Array]
    ages: I64
    tokens: F32


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class OrtCaches:
    """Self-attention keys and values of each layer, [segments x R, H, positions, d]."""

    pool: Pool
    place: int
    keys: list[Array]
    values: list[Array]
    rows: int

    @property
    def segments(self) -> int:
        return len(self.keys[0]) // self.rows


@dataclass(frozen=True, slots=True)
class Bound:
    """A step whose memory is bound: fill the inputs, run, read the logits."""

    session: Any
    condition: Pool
    """Its memory lives as long as this does; that of the caches is in the pool that has this."""
    binding: Any
    tokens: I64
    position: I64
    frames: I64
    logits: F32
    near: tuple[Any, Any, Any, Any]
    """These four where the graph reads and writes them: on a CPU, themselves."""
    options: Any
    """What each run of it is given."""


Call = StepCall[OrtCaches, OrtCondition]


def check_call(call: Call) -> None:
    """Raises ValueError for what no step can read."""
    segments, columns, _ = call.tokens.shape
    room = call.caches.keys[0].shape[2]
    if segments > 2:
        raise ValueError(f"a step reads one segment of a stream, or two, not {segments}")
    if columns > 1 and (segments > 1 or call.position[0] != 0):
        raise ValueError("only one segment that holds nothing can read several columns at once")
    if int(call.position.max()) + columns > room:
        raise ValueError(f"a segment of {room} positions cannot hold another column")
    if call.frames > len(call.condition.ages):
        raise ValueError(f"a condition of {len(call.condition.ages)} slots does not have {call.frames}")


def runs(calls: Sequence[Call]) -> Iterator[list[int]]:
    """Streams that lie beside each other, in caches and conditions alike, with room for two segments; others go alone."""
    run: list[int] = []
    for at in sorted(range(len(calls)), key=lambda at: (id(calls[at].caches.pool), calls[at].caches.place)):
        if run and not _beside(calls[run[-1]], calls[at]):
            yield run
            run = []
        run.append(at)
    if run:
        yield run


def _beside(one: Call, other: Call) -> bool:
    return (
        one.caches.pool is other.caches.pool
        and one.caches.rows == other.caches.rows
        and one.condition.pool is other.condition.pool
        and one.caches.segments == 2
        and other.caches.place == one.caches.place + 1
        and other.condition.place == one.condition.place + 1
    )
