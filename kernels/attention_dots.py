"""Columns of a head read by tensor cores: what a program of `kernels.attention_triton` does with `Tuning.dot`.

A tile's products with the query, and those of its weights with the values, are products of matrices eight columns wide. One
query needs one of the eight, so that the others hold what it loses when it is rounded to 16 bits: a query, and a
weight, is the sum of PARTS numbers of 16 bits, two of float16 or three of bfloat16, whose products are summed in float32. So
nothing is lost against float32 but its last bits. Keys and values of eight bits are exact in float16.

A query is divided by its largest number before it is split. Weights carry the scale of their value, and are at most 1: the
largest of weight and scale together, so far, stands for 1, whatever it is that values are scaled by.

What it is for: memory hands a multiprocessor of an H200 19 bytes a clock, which can issue 128 instructions of a thread then, and
convert 16 whole numbers to floats. Compiled for sm_90, for int8 keys and values 64 wide, the plain way takes 4.9 instructions a
number, one of them such a conversion (cross attention of two segments: 6.6). This one takes 3.2, or 2.5 where a warp has 64
columns to itself, of which 1.3 make float16 of int8 and none is a conversion; 2.4 and 1.8 for float8.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.dependent import wait_for_previous

LOWEST = tl.constexpr(-1.0e30)
"""Below every score, and finite, so that a difference of two of them is a number."""
SMALLEST = tl.constexpr(2.0**-126)
"""A scale of 0 has a logarithm, too; its numbers are all 0."""
COLUMNS = tl.constexpr(8)
"""Of the narrow matrices: the narrowest that tensor cores take."""
HALVES_OF_INT8 = tl.constexpr(
    """{
    .reg .b32 whole, low, high, bias;
    xor.b32 whole, $2, 0x80808080;
    mov.b32 bias, 0x64806480;
    prmt.b32 low, whole, 0x64646464, 0x4140;
    prmt.b32 high, whole, 0x64646464, 0x4342;
    sub.rn.f16x2 $0, low, bias;
    sub.rn.f16x2 $1, high, bias;
    }"""
)
"""Four numbers to float16: 0x6400 + n is the float16 1024 + n, and n is 128 more than the number."""

HALVES_OF_FLOAT8 = tl.constexpr(
    """{
    .reg .b16 low, high;
    mov.b32 {low, high}, $2;
    cvt.rn.f16x2.e4m3x2 $0, low;
    cvt.rn.f16x2.e4m3x2 $1, high;
    }"""
)


@triton.jit
def read_by_dots(
    asked,
    wide,
    SCALE: tl.constexpr,
    DEPENDENT: tl.constexpr,
    keys,
    key_scales,
    values,
    value_scales,
    start,
    stop,
    QUERIES: tl.constexpr,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    STAGES: tl.constexpr,
    LARGEST: tl.constexpr,
    GROUP: tl.constexpr,
    ONE: tl.constexpr,
    ASM: tl.constexpr,
):
    """Queries, one or two, [QUERIES, WIDTH], over columns start.. below stop, which are within one tile if ONE.

    Returns (top, mass, total [WIDTH]) of each.
    """
    HALF: tl.constexpr = tl.float16 if LARGEST is not None else keys.dtype.element_ty
    if ONE:  # nothing that is computed stands before the read
        k, k_scale, v, v_scale = tiles_of(
            keys, key_scales, values, value_scales, start, stop, D, WIDTH, TILE, LARGEST, True
        )
    wait_for_previous(DEPENDENT)
    asked, loud = _asked(queries_of(asked, wide, SCALE), QUERIES, WIDTH, GROUP, HALF)
    top = tl.full([TILE, QUERIES], LOWEST, tl.float32)
    mass = tl.zeros([TILE, QUERIES], tl.float32)
    peak = tl.full([QUERIES], LOWEST, tl.float32)
    total = tl.zeros([WIDTH, COLUMNS], tl.float32)
    if ONE:
        top, mass, peak, total = _heard(
            asked, loud, k, k_scale, v, v_scale, stop - start, top, mass, peak, total, LARGEST, HALF, ASM
        )
    else:
        whole = start + tl.maximum(stop - start, 0) // TILE * TILE
        for first in tl.range(start, whole, TILE, num_stages=STAGES):
            k, k_scale, v, v_scale = tiles_of(
                keys, key_scales, values, value_scales, first, stop, D, WIDTH, TILE, LARGEST, False
            )
            top, mass, peak, total = _heard(
                asked, loud, k, k_scale, v, v_scale, TILE, top, mass, peak, total, LARGEST, HALF, ASM
            )
        if whole < stop:
            k, k_scale, v, v_scale = tiles_of(
                keys, key_scales, values, value_scales, whole, stop, D, WIDTH, TILE, LARGEST, True
            )
            top, mass, peak, total = _heard(
                asked, loud, k, k_scale, v, v_scale, stop - whole, top, mass, peak, total, LARGEST, HALF, ASM
            )
    above = tl.max(top, 0)
    mass = tl.sum(mass * tl.exp2(top - above[None, :]), 0)
    total = tl.sum(tl.reshape(total, [WIDTH, QUERIES, COLUMNS // QUERIES]), 2)
    total *= tl.exp2(peak - above)[None, :]
    top0, mass0, total0 = _of(above, 0, 0), _of(mass, 0, 0), _of(total, 0, 1)
    if QUERIES == 1:
        return top0, mass0, total0, top0, mass0, total0
    else:
        return top0, mass0, total0, _of(above, 1, 0), _of(mass, 1, 0), _of(total, 1, 1)


@triton.jit
def queries_of(asked, wide, SCALE: tl.constexpr):
    """What lies there, in float32 [QUERIES, WIDTH]."""
    return tl.load(asked, mask=wide[None, :], other=0.0).to(tl.float32) * SCALE


@triton.jit
def _heard(
    asked,
    loud,
    k,
    k_scale,
    v,
    v_scale,
    live,
    top,
    mass,
    peak,
    total,
    LARGEST: tl.constexpr,
    HALF: tl.constexpr,
    ASM: tl.constexpr,
):
    """A tile, whose first `live` columns count. top, mass: [TILE, QUERIES], a softmax for each slot; peak: [QUERIES]."""
    TILE: tl.constexpr = k.shape[0]
    QUERIES: tl.constexpr = top.shape[1]
    GROUP: tl.constexpr = asked.shape[0] // k.shape[1]
    rows = tl.reshape(k, [TILE // GROUP, asked.shape[0]])
    products = _product(_halves(rows, HALF, ASM, True), asked, None, ASM)
    score = tl.sum(tl.reshape(products, [TILE, QUERIES, COLUMNS // (GROUP * QUERIES)]), 2) * loud[None, :]
    if LARGEST is not None:
        score = score * k_scale[:, None]
    score = tl.where((tl.arange(0, TILE) < live)[:, None], score, -float("inf"))
    above = tl.maximum(top, score)
    mass = mass * tl.exp2(top - above) + tl.exp2(score - above)
    if LARGEST is not None:
        score += tl.log2(tl.maximum(v_scale, SMALLEST))[:, None]
    highest = tl.maximum(peak, tl.max(score, 0))
    weights = _parts(tl.exp2(score - highest[None, :]), COLUMNS // QUERIES, HALF)
    before = total * _spread(tl.exp2(peak - highest), QUERIES)
    turned = tl.trans(_halves(v, HALF, ASM, False))
    return above, mass, highest, _product(turned, tl.reshape(weights, [TILE, COLUMNS]), before, ASM)


@triton.jit
def _product(x, y, more, ASM: tl.constexpr):
    """In float32. The interpreter's `dot` takes bfloat16 for whole numbers."""
    if ASM:
        return tl.dot(x, y, acc=more)
    else:
        return tl.dot(x.to(tl.float32), y.to(tl.float32), acc=more, input_precision="ieee")


@triton.jit
def _of(x, query: tl.constexpr, axis: tl.constexpr):
    """One query's number, or numbers: [QUERIES] or [WIDTH, QUERIES] without its last axis."""
    return tl.sum(tl.where(tl.arange(0, x.shape[axis]) == query, x, 0.0), axis)


@triton.jit
def _spread(x, QUERIES: tl.constexpr):
    """[QUERIES] to [1, COLUMNS]."""
    EACH: tl.constexpr = COLUMNS // QUERIES
    return tl.reshape(tl.broadcast_to(x[None, :, None], [1, QUERIES, EACH]), [1, COLUMNS])


@triton.jit
def _asked(q, QUERIES: tl.constexpr, WIDTH: tl.constexpr, GROUP: tl.constexpr, HALF: tl.constexpr):
    """What GROUP columns in one row are multiplied with, [GROUP * WIDTH, COLUMNS]: 0 but where one meets its query's parts."""
    EACH: tl.constexpr = COLUMNS // (GROUP * QUERIES)
    loud = tl.max(tl.abs(q), 1)
    loud = tl.where(loud > 0, loud, 1.0)
    parts = _parts(tl.trans(q / loud[:, None]), EACH, HALF)
    parts = tl.reshape(parts, [1, WIDTH, 1, QUERIES * EACH])
    group = tl.arange(0, GROUP)
    same = group[:, None, None, None] == group[None, None, :, None]
    return tl.reshape(tl.where(same, parts, 0.0), [GROUP * WIDTH, COLUMNS]), loud


@triton.jit
def _parts(x, EACH: tl.constexpr, HALF: tl.constexpr):
    """float32 [n, m] as sums of PARTS numbers, [n, m, EACH], 0 in what is left of EACH."""
    part = tl.arange(0, EACH)[None, None, :]
    x = x[:, :, None]
    high = x.to(HALF)
    rest = x - high.to(tl.float32)
    low = rest.to(HALF)
    if tl.bfloat16 == HALF:
        lowest = (rest - low.to(tl.float32)).to(HALF)
        return tl.where(part == 0, high, tl.where(part == 1, low, tl.where(part == 2, lowest, 0.0)))
    else:
        return tl.where(part == 0, high, tl.where(part == 1, low, 0.0))


@triton.jit
def tiles_of(
    keys,
    key_scales,
    values,
    value_scales,
    first,
    stop,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    LARGEST: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Columns first.. below stop: keys, their scales, values, their scales.

    Keys are read last: the compiler puts the first thing that is done to them right behind their read, and a read behind that
    would wait for it. What is done to values is not pure, so that it stays where it is (see `_halves`).
    """
    k_scale = scales_of(key_scales, first, stop, TILE, LARGEST, MASKED)
    v_scale = scales_of(value_scales, first, stop, TILE, LARGEST, MASKED)
    v = tile_of(values, first, stop, D, WIDTH, TILE, MASKED)
    k = tile_of(keys, first, stop, D, WIDTH, TILE, MASKED)
    return k, k_scale, v, v_scale


@triton.jit
def tile_of(
    held, first, stop, D: tl.constexpr, WIDTH: tl.constexpr, TILE: tl.constexpr, MASKED: tl.constexpr
):
    """Columns as they are held, [TILE, WIDTH]; MASKED: 0 behind stop."""
    slot = tl.arange(0, TILE)
    dims = tl.arange(0, WIDTH)
    at = held + first * D + slot[:, None] * D + dims[None, :]
    if MASKED or D != WIDTH:
        live = slot < stop - first
        return tl.load(at, mask=live[:, None] & (dims < D)[None, :], other=0.0)
    else:
        return tl.load(at)


@triton.jit
def scales_of(scales, first, stop, TILE: tl.constexpr, LARGEST: tl.constexpr, MASKED: tl.constexpr):
    """[TILE], or 1."""
    slot = tl.arange(0, TILE)
    if LARGEST is None:
        return 1.0
    elif MASKED:
        return tl.load(scales + first + slot, mask=slot < stop - first, other=0.0).to(tl.float32)
    else:
        return tl.load(scales + first + slot).to(tl.float32)


@triton.jit
def _halves(x, HALF: tl.constexpr, ASM: tl.constexpr, PURE: tl.constexpr):
    """What is held in eight bits, or in 16 already, as HALF."""
    if ASM and x.dtype.primitive_bitwidth == 8:
        HALVES: tl.constexpr = HALVES_OF_INT8 if x.dtype == tl.int8 else HALVES_OF_FLOAT8
        return tl.inline_asm_elementwise(HALVES, "=r,=r,r", [x], dtype=tl.float16, is_pure=PURE, pack=4)
    elif ASM and x.dtype == HALF and not PURE:  # it stays where it was read to until here
        return tl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [x], dtype=x.dtype, is_pure=False, pack=2)
    else:
        return x.to(HALF)
