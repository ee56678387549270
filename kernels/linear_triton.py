"""A linear layer of few rows as one launch: norm, product, scale, bias, residual or GELU.

A decode step multiplies every matrix with a handful of rows, so its time is the time that its weights take to arrive.
One program owns BLOCK_N outputs and walks along K; its warps take neighbouring slices of K (a batched product, one slice
each), so that no warp repeats another's work, and the slices are added at the end in a fixed order: results repeat bit by
bit. A norm is applied behind the product (see `kernels.linear`), with moments that were taken on the way. What meets the
sums behind the loop is read before it.

This module imports Triton: `kernels.linear` imports it when it is wanted, and decides nothing here.

Letters: M rows, K inputs, N outputs, S slices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.dependent import launches_dependently, let_next_begin, options, wait_for_previous
from kernels.grid import grid
from kernels.linear import EPSILON, MOST_ROWS, Weight

MOST_AHEAD = 3
"""Tiles that a chain's launch reads ahead."""
HOPPERS = 227 << 10
"""Shared memory of a program on a Hopper GPU. Those of compute capability 8.6, 8.9 and 12.0 have 99 KiB."""


@dataclass(frozen=True, slots=True)
class Tile:
    """How a launch is cut. Powers of two; at four bits `block_k` is the weight's group."""

    block_n: int
    """Outputs of a program."""
    block_k: int
    """Inputs of one slice."""
    slices: int
    """Slices that are multiplied at once; a multiple of the warps keeps every warp busy."""
    warps: int
    stages: int
    """Tiles in flight: `slices * block_k` inputs each."""
    ahead: int = 0
    """Tiles, the first ones, that are read while the launch before still runs (see `kernels.dependent`)."""

    @classmethod
    def of_chain(
        cls, inputs: int, block_n: int, block_k: int, slices: int, warps: int, most: int = MOST_AHEAD
    ) -> Tile:
        """Of so many inputs: tiles up to `most` are read ahead, and those behind them are three in flight."""
        tiles = triton.cdiv(inputs, block_k * slices)
        ahead = min(tiles, most)
        return cls(block_n, block_k, slices, warps, 1 if ahead == tiles else 3, ahead)


TILES: dict[tuple[int, int, int, int, bool], Tile] = {
    (4, 4608, 1536, 16, True): Tile(16, 128, 4, 4, 3),
    (4, 1536, 1536, 16, False): Tile(16, 256, 2, 2, 3),
    (4, 1536, 1536, 16, True): Tile(16, 128, 4, 4, 3),
    (4, 6144, 1536, 16, True): Tile(32, 128, 4, 4, 3),
    (4, 1536, 6144, 16, False): Tile(8, 128, 4, 4, 3),
    (4, 8192, 1536, 16, True): Tile(32, 128, 4, 4, 3),
}
"""(padded rows, N, K, bits, whether x is normed) to what a sweep found best for launches one behind another."""


def choose(rows: int, weight: Weight, norm: bool, dependent: bool = False) -> Tile:
    """The measured tile of a shape, else one that gives every multiprocessor a program where N allows it."""
    half = weight.dtype.itemsize == 2
    if dependent and rows <= 4 and weight.bits == 16 and half:
        return _ahead(weight)
    shape = (max(4, padded(rows)), weight.outputs, weight.inputs, weight.bits, norm)
    if shape in TILES and half:
        return TILES[shape]
    slices = 4 if rows <= 4 else 8  # a warp each; more rows need more registers
    block_k = (512 if half else 256) // slices
    slices = min(slices, triton.next_power_of_2(triton.cdiv(weight.inputs, block_k)))
    return Tile(16 if weight.outputs <= 6144 else 32, block_k, slices, slices, 3)


def _ahead(weight: Weight) -> Tile:
    """A tile of a chain: as many inputs as possible are read ahead, and the others are in flight behind them.

    As a sweep and whole steps of small and medium found them on an H200 (benchmarks/NOTES.md).
    """
    inputs = weight.inputs
    if inputs <= 2048:
        slices = min(4, triton.next_power_of_2(triton.cdiv(inputs, 128)))
        block_n, block_k, warps = 16 if weight.outputs <= 2048 else 32, 128, slices
    else:
        block_n, block_k, slices, warps = 8, 256 if inputs <= 4096 else 128, 8, 8
    return Tile.of_chain(inputs, block_n, block_k, slices, warps)


def fitting(tile: Tile, x: Tensor, weight: Weight, norm: bool) -> Tile:
    """The tile, of which fewer are in flight where the device's programs have too little shared memory for them."""
    stages = range(tile.stages, 1, -1)
    fits = (
        s for s in stages if shared_of(replace(tile, stages=s), x, weight, norm) <= shared_bytes(x.device)
    )
    return replace(tile, stages=next(fits, 1))


def shared_of(tile: Tile, x: Tensor, weight: Weight, norm: bool) -> int:
    """Bytes of shared memory that a program of two stages and more takes, as Triton 3.6 compiles it for 8.0 and later;
    3.7.1 agrees in what the test compiles.

    All stages but one lie there; so does once more what a tile is multiplied with, as it is multiplied, where a norm comes before
    a product of four bits, a half at a time, or of float32. Of a matrix that is one tile wide only the latter does.
    Never less than it takes; of four bits and up to 4 rows up to 2 KiB more.
    """
    rows, inputs = padded(len(x)), tile.slices * (weight.group if weight.bits == 4 else tile.block_k)
    read = inputs * tile.block_n * weight.values.nbytes // (weight.outputs * weight.inputs)
    given = inputs * rows * x.element_size()
    if inputs >= weight.inputs:
        return inputs * rows * weight.dtype.itemsize
    again = 0
    if norm and weight.bits == 4:
        again = inputs // 2 * rows * weight.dtype.itemsize
    elif norm and weight.dtype == torch.float32:
        again = inputs * rows * 4
    return (tile.stages - 1) * (read + given) + again


@cache
def shared_bytes(device: torch.device) -> int:
    """Of a program. Those for tensors without data are compiled for a Hopper GPU."""
    if device.type != "cuda":
        return HOPPERS
    about: Any = torch.cuda.get_device_properties(device)
    return int(about.shared_memory_per_block_optin)


def padded(rows: int) -> int:
    return triton.next_power_of_2(rows)


def linear(
    x: Tensor,
    weight: Weight,
    norm: bool,
    residual: Tensor | None,
    gelu: bool,
    out: Tensor,
    tile: Tile | None = None,
    dependent: bool = False,
) -> Tensor:
    """Write to `out` [M, N]; see `kernels.linear.linear`, which has checked the arguments."""
    if x.device.type == "cpu" and not interpreted():
        raise ValueError("the kernel reads CUDA tensors; those of a CPU only where Triton interprets it")
    rows, outputs = x.shape[0], weight.outputs
    if rows > MOST_ROWS:
        raise ValueError(f"the kernel holds {MOST_ROWS} rows, not {rows}")
    dependent = dependent and launches_dependently(x.device)
    tile = tile or fitting(choose(rows, weight, norm, dependent), x, weight, norm)
    # one that has nothing to do until then only takes room from the others
    dependent = dependent and tile.ahead > 0
    kept = out if residual is None else residual
    linear_kernel[grid(triton.cdiv(outputs, tile.block_n))](
        x,
        weight.values,
        weight.sums if weight.scales is None else weight.scales,
        weight.sums,
        weight.sums if weight.bias is None else weight.bias,
        kept,
        out,
        rows,
        x.stride(0),
        out.stride(0),
        kept.stride(0),
        **constants(rows, weight, tile, norm, residual is not None, gelu),
        DEPENDENT=dependent,
        num_warps=tile.warps,
        num_stages=tile.stages,
        **options(dependent),
    )
    return out


def interpreted() -> bool:
    """Whether this process runs kernels in Triton's interpreter, as it was told before it imported this module."""
    return not isinstance(linear_kernel, triton.JITFunction)


def constants(
    rows: int, weight: Weight, tile: Tile, norm: bool, residual: bool, gelu: bool
) -> dict[str, object]:
    """What one compiled kernel is made for."""
    return {
        "N": weight.outputs,
        "K": weight.inputs,
        "ROWS": padded(rows),
        "BITS": weight.bits,
        "GROUP": weight.group,
        "DTYPE": _DTYPES[weight.dtype],
        "BLOCK_N": tile.block_n,
        "BLOCK_K": weight.group if weight.bits == 4 else tile.block_k,
        "SLICES": tile.slices,
        "AHEAD": tile.ahead,
        "EPS": EPSILON,
        "NORM": norm,
        "BIAS": weight.bias is not None,
        "RESIDUAL": residual,
        "GELU": gelu,
    }


_DTYPES = {torch.float16: tl.float16, torch.bfloat16: tl.bfloat16, torch.float32: tl.float32}


@triton.jit
def linear_kernel(
    x,  # [M, K]
    w,  # [N, K], or int8 [N, K], or uint8 [N, K/2]
    scales,  # float32 [N] or [N, K/GROUP]
    sums,  # float32 [N]
    bias,  # [N]
    residual,  # float32 [M, N]
    out,  # [M, N]
    m,
    x_row,
    out_row,
    residual_row,
    N: tl.constexpr,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    DTYPE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SLICES: tl.constexpr,
    AHEAD: tl.constexpr,
    EPS: tl.constexpr,
    NORM: tl.constexpr,
    BIAS: tl.constexpr,
    RESIDUAL: tl.constexpr,
    GELU: tl.constexpr,
    DEPENDENT: tl.constexpr,
):
    first = tl.program_id(0) * BLOCK_N
    row = tl.arange(0, ROWS)
    n = first + tl.arange(0, BLOCK_N)
    here = n < N
    written = here[:, None] & (row < m)[None, :]
    pivot = row.to(tl.float32)
    if NORM:
        weighed = tl.load(sums + n, mask=here, other=0.0)
    if BITS == 8:
        level = tl.load(scales + n, mask=here, other=0.0)
    if BIAS:
        more = tl.load(bias + n, mask=here, other=0.0).to(tl.float32)
    STEP: tl.constexpr = SLICES * BLOCK_K
    held = ()
    for i in tl.static_range(AHEAD):
        held = held + (tile_of(w, n, here, i * STEP, K, BITS, GROUP, BLOCK_K, SLICES),)  # type: ignore[assignment]  # noqa: RUF005
    let_next_begin(DEPENDENT)
    wait_for_previous(DEPENDENT)
    if NORM:
        pivot = pivot_of(x, row, m, x_row)
    if RESIDUAL:
        kept = tl.load(residual + row[None, :] * residual_row + n[:, None], mask=written, other=0.0)

    WIDE: tl.constexpr = GROUP // 2 if BITS == 4 else BLOCK_K
    y = tl.zeros([SLICES, BLOCK_N, ROWS], tl.float32)
    total = tl.zeros([SLICES, WIDE, ROWS], tl.float32)
    squares = tl.zeros([SLICES, WIDE, ROWS], tl.float32)
    given = ()
    for i in tl.static_range(AHEAD):
        given = given + (inputs_of(x, pivot, i * STEP, row, m, x_row, K, BITS, GROUP, BLOCK_K, SLICES, NORM),)  # type: ignore[assignment]  # noqa: RUF005
    for i in tl.static_range(AHEAD):
        y, total, squares = multiplied(
            held[i],
            given[i],
            y,
            total,
            squares,
            scales,
            n,
            here,
            i * STEP,
            K,
            BITS,
            GROUP,
            DTYPE,
            SLICES,
            NORM,
        )
    for start in range(AHEAD * STEP, K, STEP):
        tile = tile_of(w, n, here, start, K, BITS, GROUP, BLOCK_K, SLICES)
        value = inputs_of(x, pivot, start, row, m, x_row, K, BITS, GROUP, BLOCK_K, SLICES, NORM)
        y, total, squares = multiplied(
            tile, value, y, total, squares, scales, n, here, start, K, BITS, GROUP, DTYPE, SLICES, NORM
        )
    y = tl.sum(y, 0)  # [BLOCK_N, ROWS]
    if BITS == 8:
        y *= level[:, None]
    if NORM:
        both = tl.reshape(tl.join(total, squares), [SLICES * WIDE, ROWS, 2])
        mean, square = tl.split(tl.sum(both, 0) / K)  # less the pivot, [ROWS]
        variance = square - mean * mean
        y = (y - weighed[:, None] * mean[None, :]) * tl.rsqrt(tl.maximum(variance, 0.0) + EPS)[None, :]
    if BIAS:
        y += more[:, None]
    if RESIDUAL:
        y += kept
    if GELU:
        y = 0.5 * y * (1.0 + tl.erf(y * 0.7071067811865476))
    tl.store(out + row[None, :] * out_row + n[:, None], y.to(out.dtype.element_ty), mask=written)


@triton.jit
def tile_of(
    w,
    n,
    here,
    start,
    K: tl.constexpr,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SLICES: tl.constexpr,
):
    """Inputs from `start` on as they are held, [SLICES, BLOCK_N, BLOCK_K]; of four bits half as many bytes."""
    part = tl.arange(0, SLICES)
    if BITS == 4:
        group = start // GROUP + part  # [S]
        there = (group < K // GROUP)[:, None, None] & here[None, :, None]
        packed = group[:, None] * (GROUP // 2) + tl.arange(0, GROUP // 2)[None, :]
        return tl.load(w + n[None, :, None] * (K // 2) + packed[:, None, :], mask=there, other=0)
    else:
        k = start + part[:, None] * BLOCK_K + tl.arange(0, BLOCK_K)[None, :]  # [S, BLOCK_K]
        there = (k < K)[:, None, :] & here[None, :, None]
        return tl.load(w + n[None, :, None] * K + k[:, None, :], mask=there, other=0)


@triton.jit
def inputs_of(
    x,
    pivot,
    start,
    row,
    m,
    x_row,
    K: tl.constexpr,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SLICES: tl.constexpr,
    NORM: tl.constexpr,
):
    """What a tile is multiplied with, [SLICES, BLOCK_K, ROWS]; of four bits that of the low halves and that of the high ones."""
    STEP: tl.constexpr = SLICES * BLOCK_K
    part = tl.arange(0, SLICES)[:, None]
    if BITS == 4:
        k = start + part * GROUP + tl.arange(0, GROUP // 2)[None, :]  # [S, GROUP/2]
        below = rows_of(x, pivot, k, row, m, x_row, K, STEP, NORM)
        return below, rows_of(x, pivot, k + GROUP // 2, row, m, x_row, K, STEP, NORM)
    else:
        k = start + part * BLOCK_K + tl.arange(0, BLOCK_K)[None, :]  # [S, BLOCK_K]
        value = rows_of(x, pivot, k, row, m, x_row, K, STEP, NORM)
        return value, value


@triton.jit
def multiplied(
    tile,
    given,
    y,
    total,
    squares,
    scales,
    n,
    here,
    start,
    K: tl.constexpr,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    DTYPE: tl.constexpr,
    SLICES: tl.constexpr,
    NORM: tl.constexpr,
):
    """A tile's products and, for a norm, the moments of what it was multiplied with, added to what came before."""
    below, above = given
    if NORM:
        total += below
        squares += below * below
    if BITS == 4:
        if NORM:
            total += above
            squares += above * above
        low = ((tile & 15).to(tl.int8) - 8).to(DTYPE)
        high = ((tile >> 4).to(tl.int8) - 8).to(DTYPE)
        product = tl.dot(low, below.to(DTYPE), input_precision="ieee")
        product = tl.dot(high, above.to(DTYPE), product, input_precision="ieee")
        group = start // GROUP + tl.arange(0, SLICES)  # [S]
        at = n[None, :] * (K // GROUP) + group[:, None]
        known = (group[:, None] < K // GROUP) & here[None, :]
        y += product * tl.load(scales + at, mask=known, other=0.0)[:, :, None]
    else:
        y = tl.dot(tile.to(DTYPE), below.to(DTYPE), y, input_precision="ieee")
    return y, total, squares


@triton.jit
def pivot_of(x, row, m, x_row):
    """A number near the mean of each row, float32 [ROWS]: the median of its first three, of which one may be an outlier.

    It decides nothing but how much is lost to rounding: squares are taken about it, and what is rounded to the weight's
    precision is how far a number is from it.
    """
    a, b, c = number(x, 0, row, m, x_row), number(x, 1, row, m, x_row), number(x, 2, row, m, x_row)
    return tl.maximum(tl.minimum(a, b), tl.minimum(tl.maximum(a, b), c))


@triton.jit
def number(x, k, row, m, x_row):
    return tl.load(x + row * x_row + k, mask=row < m, other=0.0).to(tl.float32)


@triton.jit
def rows_of(x, pivot, k, row, m, x_row, K: tl.constexpr, STRIDE: tl.constexpr, NORM: tl.constexpr):
    """Inputs k [S, J] of every row, [S, J, ROWS]; for a norm in float32, less the pivot."""
    there = (k < K)[:, :, None] & (row < m)[None, None, :]
    value = tl.load(x + row[None, None, :] * x_row + k[:, :, None], mask=there, other=0.0)
    if NORM:
        value = value.to(tl.float32) - pivot[None, None, :]
        if K % STRIDE != 0:  # what is not there counts in no moment
            value = tl.where(there, value, 0.0)
    return value
