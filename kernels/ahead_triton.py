"""Asking for what a later launch reads: the memory is at work while a launch of few rows waits for its own numbers.

A step of one stream is a chain of short launches, each of which would find its matrix in device memory, and wait for it. What is
asked for is brought to the L2 cache and changes no result, so that too much, too little or too late costs time alone.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

HOPPER = 9
"""Compute capability from which one instruction asks for any number of bytes; before, it is a line of 128."""


def constants(ahead: Tensor | None, device: torch.device) -> dict[str, Any]:
    """AHEAD: bytes that all programs of a launch ask for together. None in the interpreter, which knows no such instruction."""
    if ahead is None or device.type == "cpu":
        return {"AHEAD": 0, "BULK": False}
    return {"AHEAD": ahead.nbytes // 16 * 16, "BULK": _bulk(device)}


@cache
def _bulk(device: torch.device) -> bool:
    return device.type == "meta" or torch.cuda.get_device_capability(device)[0] >= HOPPER


@triton.jit
def ask(ahead, program, programs, AHEAD: tl.constexpr, BULK: tl.constexpr, LANES: tl.constexpr):
    """This program's share of AHEAD bytes. LANES: threads of a program."""
    if AHEAD > 0:
        begin = ahead.to(tl.int64)
        end = begin + AHEAD
        lane = tl.arange(0, LANES)
        if BULK:
            share = (AHEAD // 16 + programs - 1) // programs * 16
            at = begin + program.to(tl.int64) * share
            size = tl.minimum(share.to(tl.int64), end - at).to(tl.int32)
            first = tl.where(lane == 0, at, end)
            ask_bulk(first, end, size + 0 * lane)
        else:
            for line in range(program * LANES, AHEAD // 128, programs * LANES):
                ask_line(begin + (line + lane).to(tl.int64) * 128, end)


@triton.jit
def ask_bulk(at, end, size):
    """One instruction for each address below `end`."""
    tl.inline_asm_elementwise(
        """{
        .reg .pred here;
        setp.lt.u64 here, $1, $2;
        @here cp.async.bulk.prefetch.L2.global [$1], $3;
        mov.u32 $0, 0;
        }""",
        "=r,l,l,r",
        [at, end, size],
        tl.int32,
        is_pure=False,
        pack=1,
    )


@triton.jit
def ask_line(at, end):
    """The line of 128 bytes at each address below `end`."""
    tl.inline_asm_elementwise(
        """{
        .reg .pred here;
        setp.lt.u64 here, $1, $2;
        @here prefetch.global.L2 [$1];
        mov.u32 $0, 0;
        }""",
        "=r,l,l",
        [at, end],
        tl.int32,
        is_pure=False,
        pack=1,
    )
