"""The Triton kernels of `kernels.columns`: each does in one launch what would be eight of a few microseconds."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.grid import grid

BLOCK = 512


def rows_of(tokens: Tensor, position: Tensor, table: Tensor, positions: Tensor, rows: int) -> Tensor:
    lanes, segments, codebooks = tokens.shape
    width = table.shape[1]
    out = torch.empty(lanes * segments * rows, width, dtype=torch.float32, device=tokens.device)
    _rows_of[grid(lanes * segments, triton.cdiv(width, BLOCK))](
        out,
        tokens.contiguous(),
        position.contiguous(),
        table.contiguous(),
        positions.contiguous(),
        width,
        len(table) // codebooks,
        K=codebooks,
        ROWS=rows,
        BLOCK=BLOCK,
    )
    return out


def advance(
    column: Tensor, tokens: Tensor, position: Tensor, kept: Tensor, step: Tensor, special: int
) -> None:
    lanes, segments, codebooks = tokens.shape
    if not all(x.is_contiguous() for x in (tokens, position, kept, step)):
        raise ValueError("what is written in place lies in rows")
    _advance[grid(lanes)](
        column.contiguous(),
        tokens,
        position,
        kept,
        step,
        lanes,
        special,
        S=segments,
        K=codebooks,
        ROOM=triton.next_power_of_2(codebooks),
        num_warps=1,
    )


@triton.jit
def _rows_of(
    out,
    tokens,
    position,
    table,
    positions,
    width,
    entries,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program: (lane and segment; a part of the width)."""
    track = tl.program_id(0)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = at < width
    now = tl.maximum(tl.load(position + track), 0)
    total = tl.load(table + tl.load(tokens + track * K) * width + at, mask=there, other=0.0).to(tl.float32)
    for k in tl.static_range(1, K):
        entry = k * entries + tl.load(tokens + track * K + k)
        total += tl.load(table + entry * width + at, mask=there, other=0.0).to(tl.float32)
    total += tl.load(positions + now * width + at, mask=there, other=0.0).to(tl.float32)
    for row in tl.static_range(ROWS):
        tl.store(out + (track * ROWS + row) * width + at, total, mask=there)


@triton.jit
def _advance(
    column, tokens, position, kept, step, lanes, special, S: tl.constexpr, K: tl.constexpr, ROOM: tl.constexpr
):
    """One program: a lane."""
    lane = tl.program_id(0)
    codebook = tl.arange(0, ROOM)
    there = codebook < K
    drawn = tl.load(column + lane * K + codebook, mask=there, other=0)
    now = tl.load(step + lane)
    tl.store(kept + (now * lanes + lane) * K + codebook, drawn, mask=there)
    tl.store(step + lane, now + 1)
    for segment in tl.static_range(S):
        track = lane * S + segment
        held = tl.load(position + track)
        held += (held >= 0).to(tl.int64)
        tl.store(position + track, held)
        tl.store(tokens + track * K + codebook, tl.where(codebook < held, drawn, special), mask=there)
