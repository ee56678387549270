"""Programmatic dependent launch: a kernel begins while the one before it in the stream still runs.

A step of one stream is a chain of launches of a few microseconds each, and the next would begin only when all of one has ended.
So a kernel lets the next one begin (`let_next_begin`), reads what no kernel of the chain writes (weights, columns of earlier
steps), and waits for all that the one before has written (`wait_for_previous`) before it reads or writes anything else. Since
every kernel of a chain waits, what one has waited for is everything before it. A product lets the next one begin when its
weights are there, so that they come first; attention, which reads less, at once.

What is read early has to be written before a launch that stands before the chain and begins behind all that was before it, as
PyTorch's and those of our other kernels do: of a chain, more than two launches may run at once.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from triton import knobs
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

MAJORS = (9, 10)
"""Compute capabilities whose devices know it and have the shared memory that tiles read ahead take: 227 KiB of a program, where
12.0 has 99."""


@cache
def launches_dependently(device: torch.device) -> bool:
    """Whether kernels for this device are launched so. Those of tensors without data are compiled for a Hopper GPU."""
    if knobs.runtime.interpret or device.type not in ("cuda", "meta"):
        return False
    if device.type == "meta":
        return True
    return torch.version.hip is None and torch.cuda.get_device_capability(device)[0] in MAJORS


def options(dependent: bool) -> dict[str, Any]:
    """What a launch is told."""
    return {"launch_pdl": True} if dependent else {}


@triton.jit
def let_next_begin(DEPENDENT: tl.constexpr):
    """The next kernel is launched when all programs of this one have come here, or ended."""
    if DEPENDENT:
        gdc_launch_dependents()


@triton.jit
def wait_for_previous(DEPENDENT: tl.constexpr):
    """Until the launch before has ended, and what it wrote can be read."""
    if DEPENDENT:
        gdc_wait()
