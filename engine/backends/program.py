"""Steps of streams in lock step, as the device takes them: what they are given, and one CUDA graph for each number of lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from engine.backends.base import I64, DrawCall, StepCall
from engine.backends.captured import Graph
from engine.backends.places import SEGMENTS, CachePool, Caches, Condition, Pool
from engine.sampling import uniforms_of
from kernels.columns import advance
from kernels.sampling import draw

if TYPE_CHECKING:
    from engine.backends.lockstep import LockstepBackend

MOST_STEPS = 10
"""Steps of one call: 200 ms of music, which no frame from after its beginning can change."""


class Inputs:
    """What a step of B lanes is given: views of an array of whole numbers and one of others, so that two copies bring it.

    Every view begins at a multiple of 16 bytes: kernels are compiled for whether what they are given does.
    """

    def __init__(self, lanes: int, codebooks: int, device: torch.device, pinned: bool = False) -> None:
        room = -(-lanes // 4) * 4
        sizes = [room] * 5 + [lanes * SEGMENTS, lanes * SEGMENTS * codebooks]
        self.whole = torch.zeros(sum(sizes), dtype=torch.int64, device=device, pin_memory=pinned)
        self.parts = torch.zeros(3, room, device=device, pin_memory=pinned)
        *each, position, tokens = self.whole.split(sizes)
        self.cache_place, self.condition_place, self.seen, self.leading, self.top_k = (
            x[:lanes] for x in each
        )
        self.position = position.view(lanes, SEGMENTS)
        """[B, S], below 0 where a segment does not play."""
        self.tokens = tokens.view(lanes, SEGMENTS, codebooks)
        self.guidance, self.temperature, self.top_p = self.parts[:, :lanes]


class Program:
    """Steps of up to B lanes over two pools, captured once as a CUDA graph."""

    def __init__(self, backend: LockstepBackend, caches: CachePool, condition: Pool, lanes: int) -> None:
        spec, device = backend.spec.decoder, backend.device
        self._backend, self._caches, self._condition, self._lanes = backend, caches, condition, lanes
        self._pinned = device.type == "cuda"
        self._inputs = Inputs(lanes, spec.codebooks, device)
        self._told = Inputs(lanes, spec.codebooks, torch.device("cpu"), self._pinned)
        shape = (MOST_STEPS, lanes, spec.codebooks)
        self._uniforms = torch.zeros(shape, device=device)
        self._columns = torch.zeros(shape, dtype=torch.int64, device=device)
        self._host_uniforms, self._host_columns = (
            torch.zeros(shape, dtype=x.dtype, pin_memory=self._pinned)
            for x in (self._uniforms, self._columns)
        )
        self._step = torch.zeros(lanes, dtype=torch.int64, device=device)
        self._first = torch.zeros(lanes, dtype=torch.int64, device=device)
        self._graph: Graph | None = None

    def fill(self, calls: Sequence[StepCall[Caches, Condition]], steps: int = 1) -> None:
        """Say what each lane reads, and in so many steps behind it; lanes beyond them read nothing."""
        for call in calls:
            _check(call, steps)
        told, patch_tokens = self._told, self._backend.spec.vision.tokens
        told.cache_place.numpy()[:] = _lanes(
            [call.caches.place for call in calls], self._lanes, self._caches.places
        )
        told.condition_place.numpy()[:] = _lanes(
            [call.condition.place for call in calls], self._lanes, self._condition.places
        )
        told.seen.numpy()[:] = _lanes(
            [call.frames * patch_tokens for call in calls], self._lanes, patch_tokens
        )
        position, tokens = told.position.numpy(), told.tokens.numpy()
        position[:] = -1
        for lane, call in enumerate(calls):
            playing = slice(call.segment, call.segment + len(call.tokens))
            position[lane, playing] = call.position
            tokens[lane, playing] = call.tokens[:, 0]

    def _send(self) -> None:
        """Bring what was filled in to the device."""
        self._inputs.whole.copy_(self._told.whole, non_blocking=True)
        self._inputs.parts.copy_(self._told.parts, non_blocking=True)

    def logits(self) -> Tensor:
        """[B, S, R, K, card], of what was filled in."""
        self._send()
        return self._backend.lanes.forward(self._inputs, self._caches, self._condition, None)

    def draw(self, calls: Sequence[DrawCall[Caches, Condition]], steps: int) -> I64:
        """So many steps one after another; the columns that they drew, [steps, B, K]."""
        for call in calls:
            self._caches.allow(call.step.caches.place, call.allowed)
        count, told = len(calls), self._told
        first = np.array([call.column for call in calls])
        seeds = np.tile(np.array([call.policy.seed for call in calls]), steps)
        keyed = (first + np.arange(steps)[:, None]).ravel()
        drawn = uniforms_of(seeds, keyed, self._columns.shape[2])
        self._host_uniforms.numpy()[:steps, :count] = drawn.reshape(steps, count, -1)
        self._uniforms.copy_(self._host_uniforms, non_blocking=True)
        self.fill([call.step for call in calls], steps)
        leading = [SEGMENTS * lane + call.step.segment + call.leading for lane, call in enumerate(calls)]
        told.leading.numpy()[:] = _lanes(leading, self._lanes, 0)
        told.top_k.numpy()[:count] = [call.policy.top_k for call in calls]
        told.parts.numpy()[:, :count] = np.array(
            [(call.policy.guidance, call.policy.heat, call.policy.top_p) for call in calls]
        ).T
        self._send()
        self._step.zero_()
        for _ in range(steps):
            if self._graph is None:
                self._advance()
            else:
                self._graph.replay()
        self._host_columns.copy_(self._columns, non_blocking=True)
        if self._pinned:
            torch.cuda.current_stream().synchronize()
        return np.asarray(self._host_columns.numpy()[:steps].copy())

    def _advance(self) -> None:
        """One step, on the device alone: logits, a column for each lane, and what the next step reads."""
        inputs, backend = self._inputs, self._backend
        logits = backend.lanes.forward(inputs, self._caches, self._condition, inputs.leading)
        column = draw(
            logits,
            self._first,
            inputs.guidance,
            inputs.temperature,
            inputs.top_k,
            inputs.top_p,
            self._uniforms.index_select(0, self._step[:1])[0],
            self._caches.allowed[inputs.cache_place],
        )
        advance(
            column, inputs.tokens, inputs.position, self._columns, self._step, backend.spec.decoder.special
        )

    @property
    def captured(self) -> bool:
        return self._graph is not None

    def capture(self) -> None:
        """Make the graph, once; the lanes read nothing while it is made."""
        if self._graph is not None:
            return
        self.fill([])
        self._send()
        self._step.zero_()
        self._graph, _ = self._backend.capture(self._advance)


def _lanes(values: Sequence[int], lanes: int, empty: int) -> list[int]:
    """What lanes read, and what those read that nobody has."""
    return [*values, *[empty] * (lanes - len(values))]


def _check(call: StepCall[Caches, Condition], steps: int) -> None:
    """Raises ValueError for what no step can read."""
    segments, columns, _ = call.tokens.shape
    if segments > SEGMENTS - call.segment:
        raise ValueError(f"a stream has {SEGMENTS} segments; {segments} were asked from {call.segment} on")
    if columns > 1:
        raise ValueError("several columns are read by `step` alone")
    check_room(call, steps)


def check_room(call: StepCall[Caches, Condition], columns: int) -> None:
    """Raises ValueError where segments cannot hold so many more, or the condition has fewer frames than are to be seen."""
    room, held = call.caches.pool.positions, max(call.position.tolist())
    if held + columns > room:
        raise ValueError(f"a segment of {room} positions that holds {held} cannot hold {columns} more")
    if call.frames > call.condition.frames:
        raise ValueError(f"a condition of {call.condition.frames} slots does not have {call.frames}")
