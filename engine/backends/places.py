"""Places of streams on a device: caches of self-attention and conditions, allocated once for as many streams as may play.

A place is its owner's until the owner is gone, or rests while another needs it: what was held there then waits on the host, bit
for bit, and comes back into any place. The last one of each pool is nobody's, for lanes that are empty. The letters are those of
`engine.backends.lockstep`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.attention import write_condition
from kernels.store import Store, quantised

SEGMENTS = 2
"""S: the leading one and the following one."""
KEPT = {"int8": torch.int8, "fp8": torch.float8_e4m3fn}


@dataclass(frozen=True, slots=True)
class Keep:
    """How caches are held: as they are computed, or in eight bits with a scale for each vector."""

    kind: torch.dtype
    device: torch.device

    def empty(self, shape: tuple[int, ...]) -> Store:
        scaled = self.kind in KEPT.values()
        values = torch.zeros(shape, dtype=self.kind, device=self.device)
        return Store(
            values, torch.zeros(shape[:-1], dtype=torch.float16, device=self.device) if scaled else None
        )


class Pool:
    """Keys and values of all layers, [L, places + 1, ...]; the last place is nobody's, for lanes that are empty."""

    def __init__(self, layers: int, places: int, shape: tuple[int, ...], keep: Keep) -> None:
        """shape: of one place, the last axis being a vector."""
        self.places, self.free = places, list(range(places))
        self.keys, self.values = (keep.empty((layers, places + 1, *shape)) for _ in range(2))
        self.layers = [(_at(self.keys, i), _at(self.values, i)) for i in range(layers)]

    def take(self) -> Taken:
        """A place, which becomes free when what says so is gone."""
        taken = Taken(min(self.free))
        self.free.remove(taken.place)
        weakref.finalize(taken, self.free.append, taken.place)
        return taken

    def lift(self, place: int, layer: int) -> list[Tensor]:
        """What is held there in one layer, on the host."""
        return [part[layer, place].to("cpu", copy=True) for part in self._parts]

    def lay(self, place: int, layer: int, lifted: Sequence[Tensor]) -> None:
        """Hold there what was lifted from any place of a pool like this one."""
        for part, held in zip(self._parts, lifted, strict=True):
            part[layer, place].copy_(held)

    @property
    def _parts(self) -> list[Tensor]:
        parts = (self.keys.values, self.values.values, self.keys.scales, self.values.scales)
        return [part for part in parts if part is not None]

    @property
    def nbytes(self) -> int:
        """Of one place."""
        return sum(part.nbytes for part in self._parts) // (self.places + 1)


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Taken:
    """A place of a pool, while this is kept."""

    place: int


P = TypeVar("P", bound=Pool)


class Seat(Generic[P]):
    """What an owner has: a place, or what it held there when it gave that to another. find: a pool with a free place."""

    def __init__(self, find: Callable[[], P]) -> None:
        self._find = find
        self.pool = find()
        self._taken: Taken | None = self.pool.take()
        self._lifted: list[list[Tensor]] = []  # layer by layer

    @property
    def place(self) -> int:
        """Raises ValueError when another has it."""
        if self._taken is None:
            raise ValueError("a stream that rests gave its place to another; it plays when it rests no more")
        return self._taken.place

    @property
    def away(self) -> bool:
        return self._taken is None

    def leave(self) -> None:
        """The place is free then."""
        while not self.away:
            self.leave_by_layers()

    def leave_by_layers(self) -> None:
        """One layer goes to the host; with the last one the place is free. The owner changes nothing meanwhile."""
        self._lifted.append(self.pool.lift(self.place, len(self._lifted)))
        if len(self._lifted) == len(self.pool.layers):
            self._taken = None

    def come_back(self) -> None:
        """Hold what was held, in this place or another. Raises NoRoom, and stays away, when there is none."""
        if self.away:
            pool = self._find()
            self.pool, self._taken = pool, pool.take()
            for layer, lifted in enumerate(self._lifted):
                pool.lay(self.place, layer, lifted)
        self._lifted.clear()


class ConditionPool(Pool):
    """Of frames. project: their tokens [F, P, D] to keys and values [L, F, H, P, d]."""

    def __init__(
        self,
        layers: int,
        places: int,
        shape: tuple[int, ...],
        keep: Keep,
        project: Callable[[Tensor], tuple[Tensor, Tensor]],
    ) -> None:
        super().__init__(layers, places, shape, keep)
        self._project = project
        self._first = torch.arange(layers, device=keep.device).unsqueeze(1) * (places + 1)

    def write(self, tokens: Tensor, at: Tensor) -> Tensor:
        """Frames [F, P, D] of any streams, each into its slot of all layers. at: int64 [F, 2], the place from 1 on (0: a frame
        that is nobody's) and the slot."""
        keys, values = self._project(tokens)
        place, slot = at.unbind(1)
        where = torch.where(place > 0, place - 1 + self._first, -1).flatten()  # [L F]
        first = (slot * tokens.shape[1]).expand(len(self._first), -1).flatten()
        write_condition(
            _flat(self.keys), _flat(self.values), where, first, keys.flatten(0, 1), values.flatten(0, 1)
        )
        return place


@dataclass(frozen=True, slots=True, eq=False)
class Seated(Generic[P]):
    """What a stream has on the device, wherever that lies now."""

    seat: Seat[P]

    @property
    def pool(self) -> P:
        return self.seat.pool

    @property
    def place(self) -> int:
        """Raises ValueError when another has it."""
        return self.seat.place


@dataclass(frozen=True, slots=True, eq=False)
class Condition(Seated[ConditionPool]):
    """A place among conditions of one size, [H, C, d]. ages [F], and the frames' tokens [F, P, D], of a model with ages."""

    frames: int
    ages: Tensor
    tokens: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Caches(Seated["CachePool"]):
    """A place among self-attention caches, [S, R, H, N, d]."""

    @property
    def rows(self) -> int:
        return self.pool.rows


class CachePool(Pool):
    """allowed: bool [places + 1, K, card], the tokens that each stream may draw."""

    def __init__(
        self, layers: int, places: int, shape: tuple[int, ...], keep: Keep, vocabulary: tuple[int, int]
    ) -> None:
        super().__init__(layers, places, shape, keep)
        self.rows, self.positions = shape[1], shape[3]
        self.allowed = torch.ones(places + 1, *vocabulary, dtype=torch.bool, device=keep.device)
        self._written: list[NDArray[Any] | None] = [None] * places

    def allow(self, place: int, allowed: NDArray[Any] | None) -> None:
        if self._written[place] is allowed:
            return
        self._written[place] = allowed
        if allowed is None:
            self.allowed[place] = True
        else:
            self.allowed[place] = torch.from_numpy(allowed).to(self.allowed.device)


def _at(store: Store, layer: int) -> Store:
    return Store(store.values[layer], None if store.scales is None else store.scales[layer])


def _flat(store: Store) -> Store:
    """Layers and places as one axis."""
    return Store(store.values.flatten(0, 1), None if store.scales is None else store.scales.flatten(0, 1))


def values_at(store: Store, at: tuple[Any, ...]) -> Tensor:
    """What is held there, in float32."""
    values = store.values[at].float()
    return values if store.scales is None else values * store.scales[at].float().unsqueeze(-1)


def put_at(store: Store, at: tuple[Any, ...], fresh: Tensor) -> None:
    """Hold it there; what was read from there before comes back as it was."""
    values, scales = quantised(fresh, store)
    store.values[at] = values
    if store.scales is not None:
        assert scales is not None
        store.scales[at] = scales
