"""Where the device's time goes: the kernels of what was run, by name."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile

MOST_NAMES = 40
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class KernelRow:
    """calls, us: of one piece of work. share: of all kernels' time."""

    name: str
    calls: float
    us: float
    us_each: float
    share: float


def kernel_rows(work: Callable[[], object], pieces: int) -> tuple[list[KernelRow], float]:
    """work: does `pieces` of it. Returns the kernels that take longest, and the microseconds of one piece by the clock; what the
    kernels do not sum up to, the device waited."""
    work()
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    whole_us = (time.perf_counter() - began) * 1e6 / pieces
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        work()
        torch.cuda.synchronize()
    spent = defaultdict[str, list[float]](list)
    for event in found.events() or ():
        if event.device_type.name == "CUDA":
            spent[event.name].append(event.device_time)
    total = sum(map(sum, spent.values())) or 1.0
    rows = [
        KernelRow(name[:LONGEST_NAME], len(us) / pieces, sum(us) / pieces, sum(us) / len(us), sum(us) / total)
        for name, us in spent.items()
    ]
    return sorted(rows, key=lambda row: -row.us)[:MOST_NAMES], whole_us
