"""A program: compiles attention and the draw for sm_90 in the shapes of the released model, and prints what came of it as JSON.

It runs in a process of its own, since a process that interprets kernels cannot compile them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import hopper
import torch
from torch import Tensor

from kernels import attention_triton, sampling_triton
from kernels.store import LARGEST, Store

HEADS, WIDTH, POSITIONS, FRAME, CARD, CODEBOOKS = 24, 64, 1503, 50, 2048, 4
BROAD = attention_triton.Tuning(tile=128, warps=4, dot=True)
PIPELINED = attention_triton.Tuning(stages=3)


def numbers(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def store(kind: torch.dtype, *shape: int) -> Store:
    return Store(
        numbers(*shape, dtype=kind), numbers(*shape[:-1], dtype=torch.float16) if kind in LARGEST else None
    )


def self_attention(lanes: int, kind: torch.dtype, tuning: attention_triton.Tuning | None = None) -> None:
    held = store(kind, lanes + 1, 2, 2, HEADS, POSITIONS, WIDTH)
    integers = partial(numbers, dtype=torch.int32)
    attention_triton.self_attention(
        numbers(lanes, 2, 2, 3, HEADS, WIDTH), held, held, integers(lanes), integers(lanes, 2), tuning, True
    )


def cross_attention(lanes: int, kind: torch.dtype, room: int, asked: torch.dtype = torch.bfloat16) -> None:
    """asked: of the queries and of the null frame."""
    held, null = store(kind, lanes + 1, HEADS, room, WIDTH), numbers(HEADS, FRAME, WIDTH, dtype=asked)
    lane = numbers(lanes, dtype=torch.int32)
    q = numbers(lanes, 2, 2, HEADS, WIDTH, dtype=asked)
    attention_triton.cross_attention(q, held, held, lane, lane, null, null, dependent=True)


def write_condition(frames: int, kind: torch.dtype) -> None:
    held, new = store(kind, 2, HEADS, 3000, WIDTH), numbers(frames, FRAME, 2, HEADS, WIDTH)
    k, v = new.permute(2, 0, 3, 1, 4)
    where = numbers(frames, dtype=torch.int32)
    attention_triton.write_condition(held, held, where, where, k, v)


def draw(lanes: int) -> None:
    each = numbers(lanes, dtype=torch.float32)
    whole = numbers(lanes, dtype=torch.int32)
    sampling_triton.draw(
        numbers(lanes, 2, 2, CODEBOOKS, CARD, dtype=torch.float32),
        whole,
        each,
        each,
        whole,
        each,
        numbers(lanes, CODEBOOKS, dtype=torch.float64),
        numbers(lanes, CODEBOOKS, CARD, dtype=torch.bool),
    )


CASES: dict[str, Callable[[], None]] = {
    "self 1 bfloat16": partial(self_attention, 1, torch.bfloat16),
    "self 1 int8": partial(self_attention, 1, torch.int8),
    "self 64 float16": partial(self_attention, 64, torch.float16),
    "self 64 float8": partial(self_attention, 64, torch.float8_e4m3fn),
    "self 1 int8 plain": partial(self_attention, 1, torch.int8, attention_triton.Tuning()),
    "self 1 bfloat16 pipelined": partial(self_attention, 1, torch.bfloat16, PIPELINED),
    "self 64 int8": partial(self_attention, 64, torch.int8),
    "self 192 int8 whole": partial(self_attention, 192, torch.int8, BROAD),
    "self 64 float16 dots": partial(self_attention, 64, torch.float16, BROAD),
    "cross 1 float8": partial(cross_attention, 1, torch.float8_e4m3fn, 3000),
    "cross 64 int8": partial(cross_attention, 64, torch.int8, 1000),
    "cross 1 bfloat16": partial(cross_attention, 1, torch.bfloat16, 3000),
    "cross 1 float32": partial(cross_attention, 1, torch.float32, 3000, torch.float32),
    "cross 1 int8 float32": partial(cross_attention, 1, torch.int8, 3000, torch.float32),
    "cross 64 int8 float32": partial(cross_attention, 64, torch.int8, 3000, torch.float32),
    "write int8": partial(write_condition, 3, torch.int8),
    "draw": partial(draw, 64),
}


def compiled() -> Iterator[dict[str, Any]]:
    for name, call in CASES.items():
        for kernel in hopper.compiled(call):
            ptx = kernel.asm["ptx"]
            yield {
                "name": name,
                **hopper.resources(kernel),
                "wide_reads": len(re.findall(r"ld\.global\S*\.v4\.b32|cp\.async\.cg", ptx)),
                "reads_at_once": max(part.count("ld.global.v4.b32") for part in ptx.split("bar.sync")),
                "atomics": re.findall(r"atom\.global\.\S+", ptx),
                "converted": len(re.findall(r"cvt\.rn\.f32\.s\d+", ptx)),
                "products": len(re.findall(r"mma\.sync", ptx)),
                "fused_f32": len(re.findall(r"fma\.rn\.f32", ptx)),
                **hopper.chained(ptx),
            }


if __name__ == "__main__":
    print(json.dumps(list(compiled())))
