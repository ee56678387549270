"""The model on one GPU for many streams in lock step: PyTorch, Triton kernels, and one CUDA graph for each number of streams.

Caches and conditions are allocated once, a place for each stream; a lane of a batch is the stream that it names, so that any
streams form a batch and nothing is moved. A step reads every weight once for all lanes. Columns are drawn on the device and read
back by the next step, so that several steps need the host only once. Without CUDA the same steps run without graphs.

Letters, beside those of `engine.backends.base`: B lanes, S segments of a lane (2), N positions, C condition tokens.
"""

from __future__ import annotations

import gc
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.asking import in_groups
from engine.backends.base import F32, I64, DrawCall, Kept, StepCall
from engine.backends.captured import Captured, Graph, Parts, capture, lanes_up_to
from engine.backends.eyes import Ages, Fuse, Write
from engine.backends.gpus import check_gpu
from engine.backends.lanes import LaneDecoder
from engine.backends.places import (
    KEPT,
    SEGMENTS,
    CachePool,
    Caches,
    Condition,
    ConditionPool,
    Keep,
    Pool,
    Seat,
    put_at,
    values_at,
)
from engine.backends.program import MOST_STEPS, Program, check_room
from engine.backends.torch import TorchModel, Work
from engine.errors import NoRoom
from engine.model.codec import CodecDecoder
from engine.model.codec_products import Upsampling
from engine.model.decoder import empty_caches
from engine.model.vidmuse import VidMuse
from engine.spec import StreamPolicy
from engine.warming import warm

Array = NDArray[Any]
Caching = Literal["half", "int8", "fp8"]

PLACES = 8
"""Streams that a device has room for, unless told otherwise; and those for which room is made when that is taken."""
RETRY_S = 5.0
FEWEST_CAPTURED = 4
"""Frames whose work is captured even where there is room for fewer streams."""
MOST_WORKS = 48
"""Kinds and shapes of work on frames and codes that are captured; others are launched operator by operator."""


class LockstepBackend(TorchModel):
    """A loaded model (see `export.checkpoint.load_model`), which it takes over: of what it reads in another form nothing is left.

    dtype: of weights and activations between them; the residual stream is float32. bits: of the decoder's weights, 16, 8 or 4.
    kept: how caches and conditions are held. places: streams that there is room for, allocated when the first one begins; it may
    change while there is none, after `forget`.
    """

    most_steps, prefers_batches = MOST_STEPS, True

    def __init__(
        self,
        model: VidMuse,
        device: str = "cuda",
        dtype: torch.dtype = torch.float16,
        bits: int = 16,
        kept: Caching = "half",
        places: int = PLACES,
        graphs: bool = True,
    ) -> None:
        """Raises PackageError when there is no such device, or it cannot do what is asked, and MissingRuntime without Triton."""
        if device.startswith("cuda"):
            check_gpu(device, kept)
        model.decoder.fold_norms(device, dtype)
        model.to(device)
        model.narrow(dtype)
        super().__init__(model)
        self.places, self._narrow = places, dtype
        self._graphs = graphs and self.device.type == "cuda"
        self._keep = Keep(KEPT.get(kept, dtype), self.device)
        decoder = model.decoder
        self.lanes = LaneDecoder(decoder, dtype, bits)
        # keys carry the attention's scale, so that no step applies it
        scale = self.spec.decoder.head_dim**-0.5
        pairs = [layer.cross_kv.weight.data.chunk(2) for layer in decoder.stack()]
        self._cross_kv = torch.stack([torch.cat((k * scale, v)).t() for k, v in pairs])  # [L, D, 2 D]
        for layer in decoder.stack():
            del layer.cross_kv
        self._upsampling: Upsampling | None = None
        if isinstance(model.codec, CodecDecoder):
            self._upsampling = Upsampling(model.codec, dtype)
            del model.codec.stages, model.codec.last
        self._pools: dict[tuple[int, ...], list[Any]] = {}
        self._resting: WeakKeyDictionary[Seat[Any], None] = WeakKeyDictionary()  # the longest first
        self._programs: dict[tuple[int, int, int], Program] = {}
        self._works: dict[tuple[Any, ...], Captured] = {}  # bound: MOST_WORKS
        self._came: set[tuple[Any, ...]] = set()  # kinds and shapes; bound: the lengths that last pieces have
        self.graph_memory = self._new_graph_memory()
        # what comes back to the host, as large as the largest was
        self._landing = torch.empty(0, dtype=torch.uint8)
        self._preparing = False
        self._makes_graphs = True
        self._together |= {Write: self.write_all, Ages: self.write_all_ages}

    def prepare(self, policy: StreamPolicy) -> None:
        """Play before anybody listens: graphs are made for all numbers of streams that there is room for. Later, those that are
        missing are made one at a time, so that nobody who listens waits for more than one. Raises NoRoom when the device has no
        memory for them; what was made has none of it then."""
        before = [pool for pools in self._pools.values() for pool in pools]
        self._preparing = True
        try:
            warm(self, policy)
        except torch.OutOfMemoryError as error:
            self._keep_pools(before)
            raise NoRoom(
                f"graphs of {self.places} streams do not fit the memory of {self.device}", RETRY_S
            ) from error
        finally:
            self._preparing = False

    def ask_device(self) -> None:
        self.model.decoder.positions[:1].cpu()  # no memory there is asked for

    # --- arrays that stay on the device

    def gather(self, arrays: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(arrays))

    def read(self, array: Tensor) -> F32:
        return np.asarray(array.float().cpu().numpy())

    def keep(self, array: F32) -> Tensor:
        return self._tensor(array).to(self._narrow)

    def fuse(self, short: Kept, memory: Kept) -> Kept:
        return self.fuse_all([Fuse(short, memory)])[0]

    def _tensor(self, array: Any) -> Tensor:
        return array if isinstance(array, Tensor) else super()._tensor(array)

    def _stacked(self, arrays: Iterable[Any]) -> Parts:
        return Parts.alike(list(arrays))

    def _side_by_side(self, arrays: Sequence[Any], room: int = 1) -> Parts:
        return Parts.of_lengths(arrays, room)

    def _kept(self, tensor: Tensor) -> Tensor:
        """In the type that it was computed in, whatever the model says of it in between."""
        return tensor.to(self._narrow, copy=True)

    def _rows(self, tensor: Tensor) -> Sequence[Tensor]:
        return _copies(tensor.to(self._narrow))

    def _carried(self, arrays: Iterable[Any]) -> Parts:
        return Parts.alike([self._tensor(array) for array in arrays])

    def _carried_on(self, tensor: Tensor) -> Sequence[Tensor]:
        return _copies(tensor)

    def _sent_back(self, tensor: Tensor) -> list[Array]:
        if not self._graphs:
            return super()._sent_back(tensor)
        pinned = self.device.type == "cuda"
        if len(self._landing) < tensor.nbytes:
            self._landing = torch.empty(tensor.nbytes, dtype=torch.uint8, pin_memory=pinned)
        landed = self._landing[: tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        landed.copy_(tensor, non_blocking=True)
        if pinned:
            torch.cuda.current_stream().synchronize()
        return [row.copy() for row in landed.numpy()]

    def _run(self, work: Work, *inputs: Parts) -> Any:
        with self._as_memory_allows():
            if captured := self._captured_work(work, inputs):
                return captured(inputs)
        return work(*(given.joined(self.device) for given in inputs))

    def _captured_work(self, work: Work, inputs: Sequence[Parts]) -> Captured | None:
        """None for what is launched operator by operator: too many at once, and what comes for the first time while music plays,
        for the last piece of a stream may have a length of its own."""
        most = self._most_captured
        if not self._graphs or len(inputs[0].each) > most:
            return None
        key = (work, *((given.dtype, given.room) for given in inputs))
        again = self._makes_graphs and (self._preparing or key in self._came)
        if again and key not in self._works and len(self._works) < MOST_WORKS:
            self._works[key] = Captured(work, most, inputs, self.device, self.capture)
            if self._preparing:
                self._works[key].capture_all()
        self._came.add(key)
        found = self._works.get(key)
        return found if found and (self._makes_graphs or found.has(len(inputs[0].each))) else None

    @property
    def _most_captured(self) -> int:
        """Streams, or frames, that one graph does the work of."""
        return max(self.places, FEWEST_CAPTURED)

    @contextmanager
    def _as_memory_allows(self) -> Iterator[None]:
        """Make graphs. When there is no memory for one while somebody listens, it and all that are missing are given up: what
        they would do is launched operator by operator."""
        try:
            yield
        except torch.OutOfMemoryError:
            if self._preparing:
                raise
            self._makes_graphs = False

    def capture(self, work: Callable[[], Any]) -> tuple[Graph, Any]:
        """A graph of this work, and where its answer will be."""
        try:
            return capture(work, self.graph_memory)
        except RuntimeError:
            self.graph_memory = self._new_graph_memory()
            raise

    # --- memory

    def new_condition(self, frames: int) -> Condition:
        spec = self.spec.decoder
        dated = frames if spec.ages else 0
        return Condition(
            Seat(partial(self._condition_pool, frames)),
            frames,
            torch.zeros(dated, dtype=torch.int64, device=self.device),
            torch.zeros(dated, self.spec.vision.tokens, spec.width, device=self.device),
        )

    def new_caches(self, segments: int, guided: bool, positions: int) -> Caches:
        return Caches(Seat(partial(self._cache_pool, 2 if guided else 1, positions)))

    def _condition_pool(self, frames: int) -> ConditionPool:
        spec = self.spec.decoder
        shape = (spec.heads, frames * self.spec.vision.tokens, spec.head_dim)
        return self._pool(
            (frames,), lambda places: ConditionPool(spec.layers, places, shape, self._keep, self.project)
        )

    def _cache_pool(self, rows: int, positions: int) -> CachePool:
        spec = self.spec.decoder
        shape = (SEGMENTS, rows, spec.heads, positions, spec.head_dim)
        vocabulary = (spec.codebooks, spec.card)
        return self._pool(
            (rows, positions), lambda places: CachePool(spec.layers, places, shape, self._keep, vocabulary)
        )

    def _pool(self, key: tuple[int, ...], make: Callable[[int], Any]) -> Any:
        """One with a free place, that of a stream that rests if need be. Raises NoRoom when the device has no memory for more."""
        pools = self._pools.setdefault(key, [])
        pool = _with_room(pools) or self._vacated(pools)
        if pool is None and pools:
            gc.collect()  # a stream that broke holds its place until then, by what it raised
            pool = _with_room(pools)
        if pool is None:
            places = min(self.places, PLACES) if pools else self.places
            try:
                pool = make(places)
            except torch.OutOfMemoryError as error:
                raise NoRoom(
                    f"{places} streams more do not fit the memory of {self.device}", RETRY_S
                ) from error
            pools.append(pool)
        return pool

    def _vacated(self, pools: Sequence[Any]) -> Any:
        """One of the pools, where whoever rests longest left; None when nobody rests."""
        seat = self._rests_longest(pools)
        if seat is None:
            return None
        seat.leave()
        return seat.pool

    def _rests_longest(self, pools: Sequence[Any]) -> Seat[Any] | None:
        """Of those that have a place there."""
        return next((seat for seat in self._resting if seat.pool in pools and not seat.away), None)

    def _make_room(self) -> None:
        """Before anybody needs it, where no place is left: one layer of who rests longest goes to the host between two calls, so
        that the steps of the others do not wait for all of them."""
        for pools in self._pools.values() if self._resting else ():
            if not any(pool.free for pool in pools) and (seat := self._rests_longest(pools)):
                seat.leave_by_layers()

    def rest(self, owners: Sequence[Condition | Caches], resting: bool) -> None:
        seats = [owner.seat for owner in owners]
        if resting:
            self._resting.update(dict.fromkeys(seats))
            return
        for seat in seats:
            seat.come_back()
        for seat in seats:  # of which none is left behind by now
            self._resting.pop(seat, None)

    def forget(self) -> None:
        """Give back the memory of streams that are gone, and the graphs over it."""
        pools = [pool for pools in self._pools.values() for pool in pools]
        self._keep_pools([pool for pool in pools if len(pool.free) < pool.places])
        self._works.clear()
        self._came.clear()
        self._makes_graphs = True
        if not any(program.captured for program in self._programs.values()):
            self.graph_memory = self._new_graph_memory()  # what no graph uses any more cannot be used again

    def _keep_pools(self, kept: Sequence[Pool]) -> None:
        """And no others, nor the steps over them."""
        for pools in self._pools.values():
            pools[:] = [pool for pool in pools if pool in kept]
        alive = {id(pool) for pool in kept}
        self._programs = {k: p for k, p in self._programs.items() if k[0] in alive and k[1] in alive}

    def _new_graph_memory(self) -> Any:
        """Shared by all graphs: none of them runs beside another."""
        return torch.cuda.graph_pool_handle() if self._graphs else None

    # --- the condition

    def write_condition(self, condition: Condition, slot: int, tokens: Kept) -> None:
        self.write_all([Write(condition, slot, tokens)])

    def write_ages(self, condition: Condition, ages: I64) -> None:
        self.write_all_ages([Ages(condition, ages)])

    @torch.inference_mode()
    def write_all(self, asked: Sequence[Write]) -> list[None]:
        for request in asked:
            end = request.slot + request.tokens.shape[0]
            if end > request.condition.frames:
                raise ValueError(
                    f"a condition of {request.condition.frames} slots cannot hold slot {end - 1}"
                )
            if self.spec.decoder.ages:
                request.condition.tokens[request.slot : end] = self._tensor(request.tokens)
        return in_groups(asked, lambda request: id(request.condition.pool), self._write_alike)

    def _write_alike(self, asked: Sequence[Write]) -> list[None]:
        """Conditions of one pool. As many frames at once as a graph has room for: keys and values of all layers lie beside
        the pool before they are written, and a window that ages, or is refreshed as a whole, brings many."""
        fresh = [self._tensor(request.tokens) for request in asked]
        if self.spec.decoder.ages:
            fresh = [
                self._aged(tokens, request.condition.ages[request.slot : request.slot + len(tokens)])
                for tokens, request in zip(fresh, asked, strict=True)
            ]
        at = np.array(
            [
                (request.condition.place + 1, request.slot + i)
                for request, tokens in zip(asked, fresh, strict=True)
                for i in range(tokens.shape[0])
            ]
        )
        frames = [frame for tokens in fresh for frame in tokens.unbind()]
        for first in range(0, len(frames), self._most_captured):
            part = slice(first, first + self._most_captured)
            self._run(asked[0].condition.pool.write, self._stacked(frames[part]), self._stacked(at[part]))
        return [None] * len(asked)

    @torch.inference_mode()
    def write_all_ages(self, asked: Sequence[Ages]) -> list[None]:
        """An age is part of what a frame's keys and values are made of."""
        for request in asked:
            request.condition.ages[: len(request.ages)] = self._tensor(request.ages)
        return self.write_all([Write(r.condition, 0, r.condition.tokens[: len(r.ages)]) for r in asked])

    def _aged(self, tokens: Tensor, ages: Tensor) -> Tensor:
        assert self.model.decoder.age_embedding is not None
        return tokens + self.model.decoder.age_embedding[ages].unsqueeze(1)

    def project(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Frames [F, P, D] to keys and values of all layers, [L, F, H, P, d] each."""
        spec, (frames, count, _) = self.spec.decoder, tokens.shape
        asked = tokens.to(self.dtype).flatten(0, 1).expand(spec.layers, -1, -1)
        both = torch.bmm(asked, self._cross_kv).view(spec.layers, frames, count, 2, spec.heads, -1)
        keys, values = both.permute(3, 0, 1, 4, 2, 5)
        return keys, values

    def read_condition(self, condition: Condition, frames: int) -> Array:
        condition.seat.come_back()
        pool, count = condition.pool, frames * self.spec.vision.tokens
        at = (slice(None), condition.place, slice(None), slice(count))
        both = torch.stack([values_at(part, at) for part in (pool.keys, pool.values)], 1)
        # [L, 2, H, F P, d] to frames that lie by themselves
        each = both.unflatten(3, (frames, -1)).transpose(2, 3)
        return np.asarray(each.flatten(3).cpu().numpy())

    @torch.inference_mode()
    def write_held_condition(self, condition: Condition, held: Array) -> None:
        spec, pool = self.spec.decoder, condition.pool
        layers, _, frames, _ = held.shape
        each = self._tensor(held).view(layers, 2, frames, spec.heads, -1, spec.head_dim)
        whole = each.transpose(2, 3).flatten(3, 4)  # [L, 2, H, F P, d]
        for part, fresh in zip((pool.keys, pool.values), whole.unbind(1), strict=True):
            put_at(part, (slice(None), condition.place, slice(None), slice(fresh.shape[2])), fresh)

    # --- caches

    def read_caches(self, caches: Caches, segment: int, positions: int) -> Array:
        caches.seat.come_back()
        at = (slice(None), caches.place, segment, slice(None), slice(None), slice(positions))
        parts = [values_at(part, at) for part in (caches.pool.keys, caches.pool.values)]
        return np.asarray(torch.stack(parts, 1).cpu().numpy())

    @torch.inference_mode()
    def write_caches(self, caches: Caches, segment: int, held: Array) -> None:
        for part, fresh in zip(
            (caches.pool.keys, caches.pool.values), self._tensor(held).unbind(1), strict=True
        ):
            at = (slice(None), caches.place, segment, slice(None), slice(None), slice(fresh.shape[-2]))
            put_at(part, at, fresh)

    # --- codec

    def _upsampled(self, y: Tensor) -> Tensor:
        assert self._upsampling is not None
        return self._upsampling(y)

    # --- steps

    @torch.inference_mode()
    def step(
        self, caches: Caches, segment: int, condition: Condition, frames: int, tokens: I64, position: I64
    ) -> F32:
        call = StepCall(caches, segment, condition, frames, tokens, position)
        return self._prefill(call) if tokens.shape[1] > 1 else self.step_all([call])[0]

    @torch.inference_mode()
    def step_all(self, calls: Sequence[StepCall[Caches, Condition]]) -> list[F32]:
        answers = dict[int, F32]()
        for run in _runs(calls):
            program = self._program([calls[at] for at in run], graph=False)
            program.fill([calls[at] for at in run])
            logits = program.logits().cpu().numpy()
            for lane, at in enumerate(run):
                first = calls[at].segment
                answers[at] = logits[lane, first : first + len(calls[at].tokens)]
        return [answers[at] for at in range(len(calls))]

    @torch.inference_mode()
    def draw_all(self, calls: Sequence[DrawCall[Caches, Condition]]) -> list[I64]:
        answers = dict[int, I64]()
        for run in _runs([call.step for call in calls]):
            mine = [calls[at] for at in run]
            steps = min(MOST_STEPS, *(call.steps for call in mine))
            program = self._program([call.step for call in mine], self._graphs)
            columns = program.draw(mine, steps)
            answers.update((at, columns[:, lane]) for lane, at in enumerate(run))
        self._make_room()
        return [answers[at] for at in range(len(calls))]

    def _program(self, calls: Sequence[StepCall[Caches, Condition]], graph: bool) -> Program:
        """For so many lanes of these pools; while everything is prepared, with the graphs for all numbers of lanes."""
        pools = calls[0].caches.pool, calls[0].condition.pool
        numbers = lanes_up_to(self.places)
        lanes = numbers[bisect_left(numbers, len(calls))]
        if graph and self._makes_graphs:
            with self._as_memory_allows():
                for each in numbers[::-1] if self._preparing else [lanes]:  # see `Captured.capture_all`
                    self._program_of(*pools, each).capture()
        return self._program_of(*pools, lanes)

    def _program_of(self, caches: CachePool, condition: Pool, lanes: int) -> Program:
        key = (id(caches), id(condition), lanes)
        if key not in self._programs:
            self._programs[key] = Program(self, caches, condition, lanes)
        return self._programs[key]

    def _prefill(self, call: StepCall[Caches, Condition]) -> F32:
        """Many columns of one segment that holds nothing, by the plain decoder."""
        caches, spec = call.caches, self.spec.decoder
        count = call.tokens.shape[1]
        if len(call.tokens) > 1 or call.position[0] != 0:
            raise ValueError("only one segment that holds nothing can read several columns at once")
        check_room(call, count)
        with self.device:
            keys, values = empty_caches(spec, caches.rows, count, self.dtype)
        tokens = slice(call.frames * self.spec.vision.tokens)
        at = (slice(None), call.condition.place, slice(None), tokens)
        seen = [
            values_at(part, at).to(self.dtype)
            for part in (call.condition.pool.keys, call.condition.pool.values)
        ]
        by_frame = [x.unflatten(2, (call.frames, -1)).transpose(1, 2) for x in seen]  # [L, F, H, P, d]
        logits, keys, values = self.model.decoder(
            self._tensor(call.tokens),
            self._tensor(call.position),
            keys,
            values,
            list(by_frame[0].transpose(3, 4)),
            list(by_frame[1]),
            guided=caches.rows == 2,
            last_only=True,
        )
        for part, fresh in ((caches.pool.keys, keys), (caches.pool.values, values)):
            put_at(
                part,
                (slice(None), caches.place, call.segment, slice(None), slice(None), slice(count)),
                torch.stack(fresh),
            )
        return np.asarray(logits[:, :, 0].float().cpu().numpy())

    @property
    def weight_bytes(self) -> int:
        """Read in each step."""
        return self.lanes.nbytes


def _with_room(pools: Sequence[Any]) -> Any:
    """The first one with a free place, None without."""
    return next((pool for pool in pools if pool.free), None)


def _copies(tensor: Tensor) -> Sequence[Tensor]:
    """Of its rows, each in memory of its own; for many it takes half of the time that a copy for each takes."""
    rows: Sequence[Tensor] = torch.unbind_copy(tensor)  # type: ignore[func-returns-value, assignment]
    return rows


def _runs(calls: Sequence[StepCall[Caches, Condition]]) -> list[list[int]]:
    """Streams of the same pools. Whose leading segment holds most comes first: begun last, it would keep the device waiting."""
    runs = dict[tuple[int, int], list[int]]()
    held = [max(call.position.tolist()) for call in calls]  # it has the first slot or the second one
    for at in sorted(range(len(calls)), key=held.__getitem__, reverse=True):
        runs.setdefault((id(calls[at].caches.pool), id(calls[at].condition.pool)), []).append(at)
    return list(runs.values())
