"""Programmatic dependent launch: a kernel begins while the one before it in the stream still runs.

A step of one stream is a chain of launches of a few microseconds each, and the next would begin only when all of one has ended.
So a kernel lets the next one begin (`let_next_begin`), reads what no kernel of the chain writes (weights, columns of earlier
steps), and waits for all that the one before has written (`wait_for_previous`) before it reads or writes anything else. Since
every kernel of a chain waits, what one has waited for is everything before it. A product lets the next one begin when its
weights have been asked for, so that they come first; attention, which reads less, at once.

What is read early has to lie there before the launch before: one behind another is enough, but not the first of a chain behind
the one that wrote it. A kernel that is launched otherwise, as PyTorch's are, waits for whatever was before it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from triton import knobs
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

CAPABILITY = (9, 0)
"""From which on devices know it."""


@cache
def launches_dependently(device: torch.device) -> bool:
    """Whether kernels for this device are launched so. Those of tensors without data are compiled for a Hopper GPU."""
    if knobs.runtime.interpret or device.type not in ("cuda", "meta"):
        return False
    return device.type == "meta" or torch.cuda.get_device_capability(device) >= CAPABILITY


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
