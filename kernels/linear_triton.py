"""A linear layer of few rows as one launch: norm, product, scale, residual or GELU.

A decode step multiplies every matrix with a handful of rows, so its time is the time that its weights take to arrive.
One program owns BLOCK_N outputs and walks along K; its warps take neighbouring slices of K (a batched product, one slice
each), so that no warp repeats another's work, and the slices are added at the end in a fixed order: results repeat bit by
bit. Before a program waits for its inputs it may ask for all its weights to be brought to L2 (`Tile.prefetch`), which with
programmatic dependent launch happens while the kernel before it still runs.

This module imports Triton: `kernels.linear` imports it when it is wanted, and decides nothing here.

Letters: M rows, K inputs, N outputs, S slices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from kernels.linear import EPSILON, Weight

MOST_ROWS = 64
"""Rows that one launch can hold: beyond it the library wins by far."""
MOST_NORMED_ROWS = 16
"""More rows are normed and rounded before the launch: their moments do not fit the registers beside the product."""
STATISTICS = 64
"""Numbers of x that a thread holds at once while it takes the moments of a row."""


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
    prefetch: bool = False
    """Whether a program asks for all its weights before it waits for x."""
    near: bool = False
    """Whether the loop reads x through L1, where the moments left it. Otherwise it is copied ahead to shared memory like the
    weights, past L1; x, gamma and beta are then more bytes from L2 than the weights of 16 outputs that they meet."""


TILES: dict[tuple[int, int, int, int, bool], Tile] = {
    (4, 4608, 1536, 16, True): Tile(16, 128, 4, 4, 3, True, False),
    (4, 1536, 1536, 16, False): Tile(16, 256, 2, 2, 3, True, False),
    (4, 1536, 1536, 16, True): Tile(32, 128, 4, 4, 3, True, False),
    (4, 6144, 1536, 16, True): Tile(32, 128, 4, 4, 3, True, False),
    (4, 1536, 6144, 16, False): Tile(8, 128, 4, 4, 3, True, False),
    (4, 8192, 1536, 16, True): Tile(32, 128, 4, 4, 3, True, False),
}
"""(padded rows, N, K, bits, whether x is normed) to what `python -m benchmarks.kernels --sweep` found best."""


def choose(rows: int, weight: Weight, norm: bool) -> Tile:
    """The measured tile of a shape, else one that gives every multiprocessor a program where N allows it."""
    shape = (max(4, padded(rows)), weight.outputs, weight.inputs, weight.bits, norm)
    if shape in TILES:
        return TILES[shape]
    slices = 4 if rows <= 4 else 8  # a warp each; more rows need more registers
    block_k = (512 if weight.dtype.itemsize == 2 else 256) // slices
    slices = min(slices, triton.next_power_of_2(triton.cdiv(weight.inputs, block_k)))
    stages = 3 if rows <= MOST_NORMED_ROWS else 2
    near = norm or rows > MOST_NORMED_ROWS  # the copies of so many rows do not fit
    return Tile(16 if weight.outputs <= 6144 else 32, block_k, slices, slices, stages, True, near)


def padded(rows: int) -> int:
    return triton.next_power_of_2(rows)


def linear(
    x: Tensor,
    weight: Weight,
    norm: tuple[Tensor, Tensor] | None,
    residual: Tensor | None,
    gelu: bool,
    out: Tensor,
    tile: Tile | None = None,
    pdl: bool = False,
) -> Tensor:
    """Write to `out` [M, N]; see `kernels.linear.linear`, which has checked the arguments."""
    if not x.is_cuda and not interpreted():
        raise ValueError("the kernel reads CUDA tensors; those of a CPU only where Triton interprets it")
    rows, outputs = x.shape[0], weight.outputs
    if rows > MOST_ROWS:
        raise ValueError(f"the kernel holds {MOST_ROWS} rows, not {rows}")
    if rows > MOST_NORMED_ROWS:
        x = x if norm is None else F.layer_norm(x.float(), x.shape[1:], *norm, eps=EPSILON)
        x, norm = x.to(weight.dtype), None
    tile = tile or choose(rows, weight, norm is not None)
    if not x.is_cuda:  # the interpreter knows no instruction of a device
        tile, pdl = replace(tile, prefetch=False), False
    gamma, beta = norm or (x, x)
    kept = out if residual is None else residual
    linear_kernel[(triton.cdiv(outputs, tile.block_n),)](
        x,
        weight.values,
        x if weight.scales is None else weight.scales,
        gamma,
        beta,
        kept,
        out,
        rows,
        x.stride(0),
        out.stride(0),
        kept.stride(0),
        **constants(rows, weight, tile, norm is not None, residual is not None, gelu, pdl),
        num_warps=tile.warps,
        num_stages=tile.stages,
        launch_pdl=pdl,
    )
    return out


def interpreted() -> bool:
    """Whether this process runs kernels in Triton's interpreter, as it was told before it imported this module."""
    return not isinstance(linear_kernel, triton.JITFunction)


def constants(
    rows: int, weight: Weight, tile: Tile, norm: bool, residual: bool, gelu: bool, pdl: bool
) -> dict[str, object]:
    """What one compiled kernel is made for."""
    chunk = max(32, STATISTICS * 32 * tile.warps // padded(rows))
    return {
        "N": weight.outputs,
        "K": weight.inputs,
        "ROWS": padded(rows),
        "BITS": weight.bits,
        "GROUP": weight.group,
        "DTYPE": _DTYPES[weight.dtype],
        "BYTES": weight.values.shape[1] * weight.values.element_size(),
        "BLOCK_N": tile.block_n,
        "BLOCK_K": weight.group if weight.bits == 4 else tile.block_k,
        "SLICES": tile.slices,
        "CHUNK": min(chunk, triton.next_power_of_2(weight.inputs)),
        "LANES": 32 * tile.warps,
        "EPS": EPSILON,
        "NORM": norm,
        "RESIDUAL": residual,
        "GELU": gelu,
        "PREFETCH": tile.prefetch,
        "PDL": pdl,
        "NEAR": tile.near,
    }


_DTYPES = {torch.float16: tl.float16, torch.bfloat16: tl.bfloat16, torch.float32: tl.float32}


@triton.jit
def linear_kernel(
    x,  # [M, K]
    w,  # [N, K], or int8 [N, K], or uint8 [N, K/2]
    scales,  # float32 [N] or [N, K/GROUP]
    gamma,  # float32 [K]
    beta,
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
    BYTES: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SLICES: tl.constexpr,
    CHUNK: tl.constexpr,
    LANES: tl.constexpr,
    EPS: tl.constexpr,
    NORM: tl.constexpr,
    RESIDUAL: tl.constexpr,
    GELU: tl.constexpr,
    PREFETCH: tl.constexpr,
    PDL: tl.constexpr,
    NEAR: tl.constexpr,
):
    first = tl.program_id(0) * BLOCK_N
    if PREFETCH:
        prefetch(w, first, N, BYTES, BLOCK_N, LANES)
    if PDL:
        tl.extra.cuda.gdc_launch_dependents()
        tl.extra.cuda.gdc_wait()
    row = tl.arange(0, ROWS)
    if NORM:
        mean, scale = moments(x, m, x_row, K, ROWS, CHUNK, EPS)
    else:
        mean, scale = row.to(tl.float32), row.to(tl.float32)  # not used
    n = first + tl.arange(0, BLOCK_N)
    here = n < N
    part = tl.arange(0, SLICES)
    sums = tl.zeros([SLICES, BLOCK_N, ROWS], tl.float32)
    for start in range(0, K, SLICES * BLOCK_K):
        if BITS == 4:
            group = start // GROUP + part  # [S]
            half = tl.arange(0, GROUP // 2)
            k = group[:, None] * GROUP + half[None, :]  # the inputs of the low halves, [S, GROUP/2]
            there = (k < K)[:, None, :] & here[None, :, None]
            packed = group[:, None] * (GROUP // 2) + half[None, :]
            pair = tl.load(w + n[None, :, None] * BYTES + packed[:, None, :], mask=there, other=0)
            low = ((pair & 15).to(tl.int8) - 8).to(DTYPE)
            high = ((pair >> 4).to(tl.int8) - 8).to(DTYPE)
            below = rows_of(x, gamma, beta, mean, scale, k, row, m, x_row, K, DTYPE, NORM, NEAR)
            above = rows_of(x, gamma, beta, mean, scale, k + GROUP // 2, row, m, x_row, K, DTYPE, NORM, NEAR)
            product = tl.dot(low, below, input_precision="ieee")
            product = tl.dot(high, above, product, input_precision="ieee")
            at = n[None, :] * (K // GROUP) + group[:, None]
            known = (group[:, None] < K // GROUP) & here[None, :]
            sums += product * tl.load(scales + at, mask=known, other=0.0)[:, :, None]
        else:
            k = start + part[:, None] * BLOCK_K + tl.arange(0, BLOCK_K)[None, :]  # [S, BLOCK_K]
            there = (k < K)[:, None, :] & here[None, :, None]
            tile = tl.load(w + n[None, :, None] * K + k[:, None, :], mask=there, other=0)
            activation = rows_of(x, gamma, beta, mean, scale, k, row, m, x_row, K, DTYPE, NORM, NEAR)
            sums = tl.dot(tile.to(DTYPE), activation, sums, input_precision="ieee")
    y = tl.sum(sums, 0)  # [BLOCK_N, ROWS]
    if BITS == 8:
        y *= tl.load(scales + n, mask=here, other=0.0)[:, None]
    written = here[:, None] & (row < m)[None, :]
    if RESIDUAL:
        y += tl.load(residual + row[None, :] * residual_row + n[:, None], mask=written, other=0.0)
    if GELU:
        y = 0.5 * y * (1.0 + tl.erf(y * 0.7071067811865476))
    tl.store(out + row[None, :] * out_row + n[:, None], y.to(out.dtype.element_ty), mask=written)


@triton.jit
def rows_of(
    x,
    gamma,
    beta,
    mean,
    scale,
    k,
    row,
    m,
    x_row,
    K: tl.constexpr,
    DTYPE: tl.constexpr,
    NORM: tl.constexpr,
    NEAR: tl.constexpr,
):
    """Inputs k [S, J] of every row, normed, [S, J, ROWS] in the precision of the products."""
    if not NEAR or m > 0:  # always: what is read inside a condition of the device is not copied ahead
        value = normed(x, gamma, beta, mean, scale, k, row, m, x_row, K, DTYPE, NORM)
    else:
        value = tl.zeros([k.shape[0], k.shape[1], row.shape[0]], DTYPE)
    return value


@triton.jit
def normed(
    x, gamma, beta, mean, scale, k, row, m, x_row, K: tl.constexpr, DTYPE: tl.constexpr, NORM: tl.constexpr
):
    there = (k < K)[:, :, None] & (row < m)[None, None, :]
    value = tl.load(x + row[None, None, :] * x_row + k[:, :, None], mask=there, other=0.0)
    if NORM:
        value = (value.to(tl.float32) - mean[None, None, :]) * scale[None, None, :]
        value = value * tl.load(gamma + k, mask=k < K, other=0.0)[:, :, None]
        value = value + tl.load(beta + k, mask=k < K, other=0.0)[:, :, None]
    return value.to(DTYPE)


@triton.jit
def moments(x, m, x_row, K: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr, EPS: tl.constexpr):
    """Mean and 1 / sqrt(variance + EPS) of every row, float32 [ROWS]; x is read once.

    The squares of a chunk are taken about its own mean. Source: Chan, Golub & LeVeque 1983, eq. 2.1.
    """
    row = tl.arange(0, ROWS)
    mean = tl.zeros([ROWS], tl.float32)
    squares = tl.zeros([ROWS], tl.float32)
    for start in tl.static_range(0, K, CHUNK):
        k = start + tl.arange(0, CHUNK)
        there = (row < m)[:, None] & (k < K)[None, :]
        value = tl.load(x + row[:, None] * x_row + k[None, :], mask=there, other=0.0).to(tl.float32)
        count = min(CHUNK, K - start)
        center = tl.sum(value, 1) / count
        apart = tl.where(there, value - center[:, None], 0.0)
        shift = center - mean
        squares += tl.sum(apart * apart, 1) + shift * shift * (start * count / (start + count))
        mean += shift * (count / (start + count))
    return mean, tl.rsqrt(squares / K + EPS)


@triton.jit
def prefetch(w, first, N: tl.constexpr, BYTES: tl.constexpr, BLOCK_N: tl.constexpr, LANES: tl.constexpr):
    """Ask for all rows of a program to be brought to L2, a line of 128 bytes a lane."""
    size: tl.constexpr = w.dtype.element_ty.primitive_bitwidth // 8
    begin = w.to(tl.int64) + first.to(tl.int64) * BYTES
    last = w.to(tl.int64) + N * BYTES - size
    for line in tl.static_range(0, BLOCK_N * BYTES, LANES * 128):
        address = tl.minimum(begin + line + tl.arange(0, LANES) * 128, last)
        tl.inline_asm_elementwise(
            "prefetch.global.L2 [$1]; mov.u32 $0, 0;", "=r,l", [address], tl.int32, is_pure=False, pack=1
        )
