"""Work on frames and codes of several streams as CUDA graphs: one for each number of streams, all over the same arrays.

Whatever the number of streams, the host launches one graph; were it to launch operator by operator, the device would wait for it.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

Work = Callable[..., Any]


class Graph(Protocol):
    """Work that was captured; what it reads and where it answers stays the same."""

    def replay(self) -> None: ...


Capture: TypeAlias = Callable[[Callable[[], Any]], tuple[Graph, Any]]
"""Makes a graph of some work, and says where its answer will be."""

BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512)
"""Numbers of streams that a graph is made for; fewer leave lanes empty."""


def lanes_up_to(most: int) -> list[int]:
    """Of `BATCHES`, those that so many streams need."""
    return [min(lanes, most) for at, lanes in enumerate(BATCHES) if not at or BATCHES[at - 1] < most]


@dataclass(frozen=True, slots=True)
class Parts:
    """One input of some work: what each stream gives, all on the host or all on the device, and the room that each has, [...]."""

    each: Sequence[Any]
    room: tuple[int, ...]
    shorter: bool = False
    """Whether some leave room empty."""

    @classmethod
    def alike(cls, each: Sequence[Any]) -> Parts:
        return cls(each, tuple(each[0].shape))

    @classmethod
    def of_lengths(cls, each: Sequence[Any], room: int = 1) -> Parts:
        """Of any lengths, which lie at the beginning of room for `room` or a power of two, so that few shapes come."""
        lengths = [part.shape[0] for part in each]
        length = max(room, 1 << (max(lengths) - 1).bit_length())
        return cls(each, (length, *each[0].shape[1:]), min(lengths) < length)

    @property
    def on_host(self) -> bool:
        return not isinstance(self.each[0], Tensor)

    @property
    def dtype(self) -> torch.dtype:
        first = self.each[0]
        return first.dtype if isinstance(first, Tensor) else torch.from_numpy(np.empty(0, first.dtype)).dtype

    def put(self, there: Tensor) -> None:
        """Into the first lanes of [lanes, ...], on the same side."""
        if self.shorter:
            rows = [row[: part.shape[0]] for row, part in zip(there.unbind(), self.each, strict=False)]
            if self.on_host:
                for row, part in zip(rows, self.each, strict=True):
                    row.numpy()[:] = part
            else:
                torch._foreach_copy_(rows, list(self.each))
        elif self.on_host:
            np.stack(self.each, out=there.numpy()[: len(self.each)])
        else:
            torch.stack(list(self.each), out=there[: len(self.each)])

    def joined(self, device: torch.device) -> Tensor:
        """As an array of its own on the device."""
        side = torch.device("cpu") if self.on_host else device
        there = torch.zeros(len(self.each), *self.room, dtype=self.dtype, device=side)
        self.put(there)
        return there.to(device)


class Captured:
    """Some work of up to so many streams. What it answers lies where the next call will write."""

    def __init__(
        self, work: Work, most: int, inputs: Sequence[Parts], device: torch.device, make: Capture
    ) -> None:
        self._work, self._make = work, make
        self._lanes = lanes_up_to(most)
        self._held = [torch.zeros(most, *x.room, dtype=x.dtype, device=device) for x in inputs]
        pinned = device.type == "cuda"
        self._told = [
            torch.zeros(most, *x.room, dtype=x.dtype, pin_memory=pinned) if x.on_host else None
            for x in inputs
        ]
        self._sent = torch.cuda.Event() if pinned else None
        self._graphs: dict[int, tuple[Graph, Any]] = {}

    def capture(self, lanes: int) -> None:
        """Make the graph for so many."""
        held = [part[:lanes] for part in self._held]
        self._graphs[lanes] = self._make(lambda: self._work(*held))

    def capture_all(self) -> None:
        """The largest first: what it works in has room for all the others."""
        for lanes in reversed(self._lanes):
            self.capture(lanes)

    def has(self, count: int) -> bool:
        """Whether the graph that so many need is made."""
        return self._lanes_of(count) in self._graphs

    def _lanes_of(self, count: int) -> int:
        return self._lanes[bisect_left(self._lanes, count)]

    def __call__(self, inputs: Sequence[Parts]) -> Any:
        """The answer's rows of the streams that gave these inputs; take what is to be kept before the next call of any work."""
        count = len(inputs[0].each)
        lanes = self._lanes_of(count)
        self._send(inputs, count, lanes)
        if lanes not in self._graphs:
            self.capture(lanes)
        graph, answer = self._graphs[lanes]
        graph.replay()
        return answer[:count] if isinstance(answer, Tensor) else tuple(part[:count] for part in answer)

    def _send(self, inputs: Sequence[Parts], count: int, lanes: int) -> None:
        if self._sent is not None:
            self._sent.synchronize()  # what was told last has arrived
        for held, told, given in zip(self._held, self._told, inputs, strict=True):
            if told is None:
                given.put(held)
                continue
            given.put(told)
            if told.dtype == torch.int64:
                told[count:lanes] = 0  # numbers of lanes that are empty name nobody
            held[:lanes].copy_(told[:lanes], non_blocking=True)
        if self._sent is not None:
            self._sent.record()


def capture(work: Callable[[], Any], memory: Any) -> tuple[torch.cuda.CUDAGraph, Any]:
    """A graph of this work, which can be done again and again, and where its answer will be. Raises OutOfMemoryError. In memory
    where a capture failed no other one is to be made."""
    aside, graph, began = _aside(), torch.cuda.CUDAGraph(), False
    aside.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(aside):  # which a capture does not leave by itself when no graph comes of it
            for _ in range(2):  # kernels are compiled and libraries opened before anything is captured
                work()
            with _workspaces_in_graph(), torch.cuda.graph(graph, pool=memory, stream=aside):
                began = True
                answer = work()
            graph.replay()  # the first launch brings it to the device, which takes time and memory, too
    except RuntimeError as error:
        if began and torch.__version__ < "2.14":
            _release(graph, memory)
        # kernels and the graph itself take memory that is not the allocator's, who would say so
        if "out of memory" in str(error) or _freed_meanwhile(error):
            raise torch.OutOfMemoryError(str(error)) from error
        raise
    finally:
        aside.synchronize()
    return graph, answer


@contextmanager
def _workspaces_in_graph() -> Iterator[None]:
    """What cuBLAS works in lies in the memory of the graph that is captured. Else PyTorch keeps it for each stream, and from 2.12
    on gives it back with the first graph of that stream that goes, though others go on working there
    (https://github.com/pytorch/pytorch/issues/193402)."""
    torch._C._cuda_clearCublasWorkspaces()
    try:
        yield
    finally:
        torch._C._cuda_clearCublasWorkspaces()


def _release(graph: torch.cuda.CUDAGraph, memory: Any) -> None:
    """A capture that broke off is no user of its memory any more. Before 2.14 PyTorch's allocator hears that only of a graph that
    came of one; before 2.13 it also takes the capture as going on, and refuses to give any memory back, as every capture asks."""
    with suppress(RuntimeError):
        graph.pool()
        return  # a graph came of it, and failed later
    device = torch.cuda.current_device()
    with suppress(RuntimeError):  # it has heard
        torch._C._cuda_endAllocateToPool(device, memory)
    torch._C._cuda_releasePool(device, memory)


def _freed_meanwhile(error: RuntimeError) -> bool:
    """Whether a capture broke off because there was no memory: told to split no large blocks, PyTorch's allocator frees some
    before it says so, which no capture allows (https://github.com/pytorch/pytorch/issues/159594)."""
    told = (os.environ.get(name, "") for name in ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"))
    return "captur" in str(error) and any("max_split_size_mb" in each for each in told)


@cache
def _aside() -> torch.cuda.Stream:
    """The stream of all captures: libraries keep memory to work in, up to 32 MiB, for each stream that they ever worked on."""
    return torch.cuda.Stream()
