"""Timing on a CUDA device: calls that are captured in a graph and replayed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from cuestream.gpu.device import copy_bandwidth, driver, version

REPEATS = 30
"""Replays that are timed one by one; their median counts."""
CACHES = 3
"""A chain of calls reads this many times the L2 cache, so that no weight is found there again."""


@dataclass(frozen=True, slots=True)
class Device:
    """What the figures were measured on."""

    name: str
    multiprocessors: int
    l2_bytes: int
    copy_gb_s: float
    """Bytes read and bytes written by a copy from device memory to device memory, over its time."""
    driver: str
    torch: str
    triton: str
    cuda: str | None

    @classmethod
    def this(cls) -> Device:
        known = torch.cuda.get_device_properties(0)
        return cls(
            known.name,
            known.multi_processor_count,
            known.L2_cache_size,
            round(copy_bandwidth(torch.device("cuda")) / 1e9, 1),
            driver(),
            torch.__version__,
            version("triton"),
            torch.version.cuda,
        )


def require() -> None:
    """Ends the program where there is no CUDA device, and says so."""
    if not torch.cuda.is_available():
        print("no CUDA device: these kernels are measured on an NVIDIA GPU only", file=sys.stderr)
        raise SystemExit(1)


def timed(calls: Sequence[Callable[[], object]], repeats: int = REPEATS) -> float:
    """Microseconds that one of the calls takes in a CUDA graph of all of them: the median over replays."""
    for call in calls[:2]:  # what is compiled or loaded at a first call is no part of it
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    for _ in range(3):
        graph.replay()
    starts, ends = ([torch.cuda.Event(enable_timing=True) for _ in range(repeats)] for _ in range(2))
    for start, end in zip(starts, ends, strict=True):
        start.record()
        graph.replay()
        end.record()
    torch.cuda.synchronize()
    times = [start.elapsed_time(end) for start, end in zip(starts, ends, strict=True)]
    return median(times) * 1e3 / len(calls)


def copies(nbytes: int) -> int:
    """How many tensors of this size a chain of calls reads, one each."""
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    return min(256, max(8, -(-CACHES * l2 // nbytes)))
