"""The Triton kernels of `kernels.attention`: bound by memory, ragged, and split over programs where the batch is small.

A program reads a part of one head's columns. Every column slot of its tile keeps a softmax of its own (largest score, mass,
weighted values) in registers, and the slots are merged once, behind the loop: inside it nothing crosses threads but a column's
dot product. Where the heads of the batch are too few for the device, several programs share the columns of a head evenly, by
the position and not by the room, another one holds the new column, those beyond do nothing, and the last one to arrive merges
the parts in the order of the splits. That takes a counter for each head, which the last one sets to 0 again, and saves the launch
of a second kernel. So: launches that share a device's counters follow one another in one stream, and touch them only when the one
before has ended.

A launch of few heads is a chain of waits (position, columns, the others' parts), and each of them is made once: where there
are as many splits as the room has tiles, a program reads its one tile before it looks at its query.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import e as EULER
from math import log2
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import knobs

from kernels.attention_dots import LOWEST, queries_of, read_by_dots, tiles_of
from kernels.dependent import launches_dependently, let_next_begin, options, wait_for_previous
from kernels.grid import grid
from kernels.store import LARGEST, Store

LOG2E = log2(EULER)
"""Scores are multiplied by it, so that 2**x does for e**x."""
COUNTERS = 1 << 14
"""Heads of a launch that is split. A launch of more than that fills any device without splits."""
INTERPRETED_PROCESSORS = 132
"""What the choice of splits takes for the device in the interpreter."""

ROUNDING = tl.constexpr(12582912.0)
"""1.5 * 2**23: added and taken away again, it rounds a float32 below 2**22 to even."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was measured to be fast, or is to be measured.

    tile: columns that are read at once; warps of a program; stages: tiles in flight through shared memory, 1 straight to
    registers; programs: how many each multiprocessor should get, which decides the splits; dot: by tensor cores
    (`kernels.attention_dots`), where what is read has at most 16 bits.
    """

    tile: int = 64
    warps: int = 4
    stages: int = 1
    programs: int = 4
    dot: bool = False


@dataclass(frozen=True, slots=True)
class Tunings:
    """By how many heads a launch has, lanes and all: few leave processors idle unless they are split."""

    few: Tuning
    few_float: Tuning
    """Where float32 is read, by the null row alone too: not by tensor cores."""
    many: Tuning
    """Of stores of eight bits."""
    many_wide: Tuning
    """Of stores of more, and where float32 is read."""
    least: int
    """Heads from which on they are many."""

    def choose(self, pairs: int, *held: Tensor) -> Tuning:
        """held: what is read, the store's values first."""
        narrow = _by_tensor_cores(*held)
        if pairs < self.least:
            return self.few if narrow else self.few_float
        return self.many if narrow and held[0].dtype in LARGEST else self.many_wide


SELF = Tunings(
    few=Tuning(tile=32, warps=1, programs=40, dot=True),
    few_float=Tuning(tile=32, warps=1, programs=40),
    many=Tuning(tile=64, warps=2, dot=True),
    many_wide=Tuning(),
    least=512,
)
CROSS = Tunings(
    few=Tuning(tile=64, warps=2, programs=8, dot=True),
    few_float=Tuning(tile=32, warps=4, programs=8),
    many=Tuning(tile=128, warps=2, dot=True),
    many_wide=Tuning(),
    least=512,
)
"""As measured on an H200: `python -m benchmarks.kernels_attention --sweep`, benchmarks/NOTES.md; `few_float` was not, and is
what registers hold."""


def self_attention(
    qkv: Tensor,
    keys: Store,
    values: Store,
    place: Tensor,
    position: Tensor,
    tuning: Tuning | None = None,
    dependent: bool = False,
) -> Tensor:
    lanes, segments, rows, _, heads, width = qkv.shape
    count = keys.values.shape[-2]
    pairs = lanes * segments * rows * heads
    tuning = tuning or SELF.choose(pairs, keys.values)
    out = torch.empty(lanes, segments, rows, heads * width, dtype=qkv.dtype, device=qkv.device)
    splits = _splits(pairs, count, tuning, qkv.device)
    parted = splits > 1
    room = _room(pairs, splits + parted, width, qkv.device)
    group = _group(1, tuning, keys.values)
    dependent = dependent and parted and launches_dependently(qkv.device)
    _self_attention[grid(splits + parted, rows * heads, lanes * segments)](
        out,
        qkv.contiguous(),
        keys.values,
        keys.scales,
        values.values,
        values.scales,
        place.contiguous(),
        position.contiguous(),
        *room,
        *_strides(keys, values),
        count,
        SCALE=width**-0.5 * LOG2E,
        S=segments,
        HEADS=heads,
        ROWS=rows,
        SPLITS=splits,
        DEPENDENT=dependent,
        **_shape(keys, width, tuning, group, splits),
        num_warps=tuning.warps,
        **options(dependent),
    )
    return out


def cross_attention(
    q: Tensor,
    keys: Store,
    values: Store,
    place: Tensor,
    tokens: Tensor,
    null_keys: Tensor,
    null_values: Tensor,
    tuning: Tuning | None = None,
    dependent: bool = False,
) -> Tensor:
    lanes, segments, rows, heads, width = q.shape
    if segments > 2:
        raise ValueError(f"the kernel reads for at most 2 segments, not for {segments}")
    count = keys.values.shape[-2]
    tuning = tuning or CROSS.choose(lanes * heads, keys.values, null_keys)
    out = torch.empty(lanes, segments, rows, heads * width, dtype=q.dtype, device=q.device)
    splits = _splits(lanes * heads, count, tuning, q.device)
    room = _room(lanes * heads * segments, splits, width, q.device)
    group = _group(segments, tuning, keys.values, null_keys, null_values)
    dependent = dependent and splits > 1 and launches_dependently(q.device)
    _cross_attention[grid(splits + rows - 1, heads, lanes)](
        out,
        q.contiguous(),
        keys.values,
        keys.scales,
        values.values,
        values.scales,
        place.contiguous(),
        tokens.contiguous(),
        null_keys.contiguous(),
        null_values.contiguous(),
        *room,
        *_strides(keys, values),
        count,
        null_keys.shape[1],
        SCALE=LOG2E,
        S=segments,
        HEADS=heads,
        ROWS=rows,
        SPLITS=splits,
        NULL_ONE=null_keys.shape[1] <= tuning.tile,
        DEPENDENT=dependent,
        **_shape(keys, width, tuning, group, splits),
        num_warps=tuning.warps,
        **options(dependent),
    )
    return out


def write_condition(
    keys: Store, values: Store, place: Tensor, first_token: Tensor, k: Tensor, v: Tensor, tile: int = 64
) -> None:
    frames, heads, tokens, width = k.shape
    k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (k, v))
    _write_condition[grid(frames * heads * triton.cdiv(tokens, tile))](
        keys.values,
        keys.scales,
        values.values,
        values.scales,
        place.contiguous(),
        first_token.contiguous(),
        k,
        v,
        *_strides(keys, values),
        *k.stride()[:3],
        *v.stride()[:3],
        keys.values.shape[-2],
        tokens,
        HEADS=heads,
        D=width,
        WIDTH=triton.next_power_of_2(width),
        TILE=tile,
        LARGEST=LARGEST.get(keys.values.dtype),
        num_warps=4,
    )


def _splits(pairs: int, count: int, tuning: Tuning, device: torch.device) -> int:
    """Over how many programs the columns of a head are split: by the shapes alone, so that a graph's grid is fixed."""
    wanted = tuning.programs * _processors(device) // pairs
    return max(1, min(wanted, triton.cdiv(count, tuning.tile))) if pairs <= COUNTERS else 1


@cache
def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return INTERPRETED_PROCESSORS
    return torch.cuda.get_device_properties(device).multi_processor_count


def _room(heads: int, parts: int, width: int, device: torch.device) -> tuple[Tensor | None, ...]:
    """Where the programs of a head leave their parts: values [heads, parts, WIDTH], (top, mass), counters. None for one."""
    if parts == 1:
        return None, None, None
    wide = torch.empty(heads, parts, _wide(width), dtype=torch.float32, device=device)
    return wide, torch.empty(heads, parts, 2, dtype=torch.float32, device=device), counters(device)


@cache
def counters(device: torch.device) -> Tensor:
    """A device's arrival counters, all 0 between two launches."""
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise RuntimeError("a graph that splits attention is captured before any such launch: warm up first")
    return torch.zeros(COUNTERS, dtype=torch.int32, device=device)


def _group(queries: int, tuning: Tuning, *held: Tensor) -> int:
    """Columns side by side in a product with tensor cores; 0: without them."""
    if not tuning.dot or not _by_tensor_cores(*held):
        return 0
    parts = 4 if held[0].dtype == torch.bfloat16 else 2
    return max(1, min(8 // (queries * parts), tuning.tile // (16 * tuning.warps)))


def _by_tensor_cores(*held: Tensor) -> bool:
    """Whether they take it."""
    return all(x.dtype.itemsize <= 2 for x in held)


def _strides(keys: Store, values: Store) -> tuple[int, ...]:
    """Numbers from one place to the next: keys, their scales, values, their scales."""
    held = (keys.values, keys.scales, values.values, values.scales)
    return tuple(0 if x is None else x.stride(0) for x in held)


def _shape(keys: Store, width: int, tuning: Tuning, group: int, splits: int) -> dict[str, Any]:
    return {
        "D": width,
        "WIDTH": _wide(width),
        "TILE": tuning.tile,
        "STAGES": tuning.stages,
        "LARGEST": LARGEST.get(keys.values.dtype),
        "GROUP": group,
        "ONE": splits * tuning.tile >= keys.values.shape[-2],
        "ASM": not knobs.runtime.interpret,
    }


def _wide(width: int) -> int:
    """What a vector takes in a program: a power of two that tensor cores take."""
    return max(16, triton.next_power_of_2(width))


@triton.jit
def _self_attention(
    out,
    qkv,
    keys,
    key_scales,
    values,
    value_scales,
    place,
    position,
    parts,
    stats,
    counters,
    key_stride,
    key_scale_stride,
    value_stride,
    value_scale_stride,
    count,
    SCALE: tl.constexpr,
    S: tl.constexpr,
    HEADS: tl.constexpr,
    ROWS: tl.constexpr,
    SPLITS: tl.constexpr,
    DEPENDENT: tl.constexpr,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    STAGES: tl.constexpr,
    LARGEST: tl.constexpr,
    GROUP: tl.constexpr,
    ONE: tl.constexpr,
    ASM: tl.constexpr,
):
    """One program: (split, the one behind the last split holds the new column; row and head; lane and segment)."""
    let_next_begin(DEPENDENT)
    split, head, track = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    dims = tl.arange(0, WIDTH)
    wide = dims < D
    answer = out + (track * ROWS * HEADS + head) * D + dims
    column = qkv + ((track * ROWS + head // HEADS) * 3 * HEADS + head % HEADS) * D + dims
    now = tl.load(position + track).to(tl.int32)
    held = tl.load(place + track // S).to(tl.int64)
    own = (track % S) * ROWS * HEADS + head
    keys += held * key_stride + own * count * D
    values += held * value_stride + own * count * D
    if LARGEST is not None:
        key_scales += held * key_scale_stride + own * count
        value_scales += held * value_scale_stride + own * count
    tiles = tl.cdiv(tl.maximum(now, 0), TILE)
    active = tl.minimum(tiles, SPLITS)

    if now < 0:
        if split == 0:
            wait_for_previous(DEPENDENT)
            tl.store(answer, tl.zeros([WIDTH], out.dtype.element_ty), mask=wide)
    elif SPLITS == 1:
        top, mass, total, _, _, _ = _read(
            column[None, :],
            wide,
            SCALE,
            DEPENDENT,
            keys,
            key_scales,
            values,
            value_scales,
            0,
            now,
            1,
            D,
            WIDTH,
            TILE,
            STAGES,
            LARGEST,
            GROUP,
            ONE,
            ASM,
        )
        score, v = _own(
            column, SCALE, HEADS, keys, key_scales, values, value_scales, now, dims, wide, D, LARGEST
        )
        above = tl.maximum(top, score)
        before, new = tl.exp2(top - above), tl.exp2(score - above)
        whole = (total * before + new * v) / (mass * before + new)
        tl.store(answer, whole.to(out.dtype.element_ty), mask=wide)
    elif (split < active) | (split == SPLITS):
        pair = track * ROWS * HEADS + head
        slot = pair * (SPLITS + 1) + split
        if split == SPLITS:
            wait_for_previous(DEPENDENT)
            score, v = _own(
                column, SCALE, HEADS, keys, key_scales, values, value_scales, now, dims, wide, D, LARGEST
            )
            _leave(parts, stats, slot, score, 1.0, v, WIDTH)
        else:
            start = split * tiles // active * TILE
            stop = tl.minimum((split + 1) * tiles // active * TILE, now)
            top, mass, total, _, _, _ = _read(
                column[None, :],
                wide,
                SCALE,
                DEPENDENT,
                keys,
                key_scales,
                values,
                value_scales,
                start,
                stop,
                1,
                D,
                WIDTH,
                TILE,
                STAGES,
                LARGEST,
                GROUP,
                ONE,
                ASM,
            )
            _leave(parts, stats, slot, top, mass, total, WIDTH)
        if _is_last(counters + pair, active + 1):
            whole = _gathered(parts, stats, pair, active, 1, SPLITS + 1, SPLITS, WIDTH)
            tl.store(answer[None, :], whole.to(out.dtype.element_ty), mask=wide[None, :])


@triton.jit
def _cross_attention(
    out,
    q,
    keys,
    key_scales,
    values,
    value_scales,
    place,
    tokens,
    null_keys,
    null_values,
    parts,
    stats,
    counters,
    key_stride,
    key_scale_stride,
    value_stride,
    value_scale_stride,
    count,
    null_count,
    SCALE: tl.constexpr,
    S: tl.constexpr,
    HEADS: tl.constexpr,
    ROWS: tl.constexpr,
    SPLITS: tl.constexpr,
    NULL_ONE: tl.constexpr,
    DEPENDENT: tl.constexpr,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    STAGES: tl.constexpr,
    LARGEST: tl.constexpr,
    GROUP: tl.constexpr,
    ONE: tl.constexpr,
    ASM: tl.constexpr,
):
    """One program: (split, the one behind the last split reads the null frame; head; lane). It reads once for both segments."""
    let_next_begin(DEPENDENT)
    split, head, lane = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    dims = tl.arange(0, WIDTH)
    wide = dims < D
    row = (split == SPLITS).to(tl.int32)
    first = ((lane * S * ROWS + row) * HEADS + head) * D + dims
    last = first + (S - 1) * ROWS * HEADS * D
    length = tl.minimum(tl.load(tokens + lane).to(tl.int32), count)
    held = tl.load(place + lane).to(tl.int64)
    segment = tl.arange(0, S)[:, None] * ROWS * HEADS * D
    asked = q + first[None, :] + segment
    if split == SPLITS:
        # bfloat16 takes more of a row than what may be held beside it
        NULL_GROUP: tl.constexpr = min(GROUP, 1) if null_keys.dtype.element_ty == tl.bfloat16 else GROUP
        null_keys += head * null_count * D
        null_values += head * null_count * D
        t0, m0, a0, t1, m1, a1 = _read(
            asked,
            wide,
            SCALE,
            DEPENDENT,
            null_keys,
            None,
            null_values,
            None,
            0,
            null_count,
            S,
            D,
            WIDTH,
            TILE,
            1,
            None,
            NULL_GROUP,
            NULL_ONE,
            ASM,
        )
        _answer(out + first, m0, a0, wide)
        if S == 2:
            _answer(out + last, m1, a1, wide)
    else:
        tiles = tl.cdiv(tl.maximum(length, 0), TILE)
        active = tl.minimum(tl.maximum(tiles, 1), SPLITS)
        if split < active:
            keys += held * key_stride + head * count * D
            values += held * value_stride + head * count * D
            if LARGEST is not None:
                key_scales += held * key_scale_stride + head * count
                value_scales += held * value_scale_stride + head * count
            start = split * tiles // active * TILE
            stop = tl.minimum((split + 1) * tiles // active * TILE, length)
            t0, m0, a0, t1, m1, a1 = _read(
                asked,
                wide,
                SCALE,
                DEPENDENT,
                keys,
                key_scales,
                values,
                value_scales,
                start,
                stop,
                S,
                D,
                WIDTH,
                TILE,
                STAGES,
                LARGEST,
                GROUP,
                ONE,
                ASM,
            )
            if SPLITS == 1:
                _answer(out + first, m0, a0, wide)
                if S == 2:
                    _answer(out + last, m1, a1, wide)
            else:
                pair = lane * HEADS + head
                _leave(parts, stats, S * pair * SPLITS + split, t0, m0, a0, WIDTH)
                if S == 2:
                    _leave(parts, stats, (S * pair + 1) * SPLITS + split, t1, m1, a1, WIDTH)
                if _is_last(counters + pair, active):
                    whole = _gathered(parts, stats, S * pair, active, S, SPLITS, SPLITS, WIDTH)
                    tl.store(
                        out + first[None, :] + segment, whole.to(out.dtype.element_ty), mask=wide[None, :]
                    )


@triton.jit
def _write_condition(
    keys,
    key_scales,
    values,
    value_scales,
    place,
    first_token,
    k,
    v,
    key_stride,
    key_scale_stride,
    value_stride,
    value_scale_stride,
    k_frame,
    k_head,
    k_token,
    v_frame,
    v_head,
    v_token,
    count,
    tokens,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
    LARGEST: tl.constexpr,
):
    """One program: a tile of tokens of a head of a frame. Heads follow one another, as they lie beside each other in k and v."""
    tiles = tl.cdiv(tokens, TILE)
    tile, pair = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    head, frame = pair % HEADS, (pair // HEADS).to(tl.int64)
    held = tl.load(place + frame).to(tl.int64)
    if held < 0:
        return
    token = tile * TILE + tl.arange(0, TILE)
    to = tl.load(first_token + frame).to(tl.int32) + token
    live = (token < tokens) & (to < count)
    dims = tl.arange(0, WIDTH)
    wide = live[:, None] & (dims < D)[None, :]
    at = (head * count + to)[:, None] * D + dims[None, :]
    new_k = tl.load(
        k + frame * k_frame + head * k_head + token[:, None] * k_token + dims[None, :], mask=wide, other=0.0
    )
    new_v = tl.load(
        v + frame * v_frame + head * v_head + token[:, None] * v_token + dims[None, :], mask=wide, other=0.0
    )
    keys += held * key_stride
    values += held * value_stride
    if LARGEST is None:
        tl.store(keys + at, new_k.to(keys.dtype.element_ty), mask=wide)
        tl.store(values + at, new_v.to(values.dtype.element_ty), mask=wide)
    else:
        new_k, k_step = _quantised(new_k.to(tl.float32), 1, key_scales, keys, LARGEST)
        new_v, v_step = _quantised(new_v.to(tl.float32), 1, value_scales, values, LARGEST)
        tl.store(keys + at, new_k, mask=wide)
        tl.store(values + at, new_v, mask=wide)
        tl.store(key_scales + held * key_scale_stride + head * count + to, k_step, mask=live)
        tl.store(value_scales + held * value_scale_stride + head * count + to, v_step, mask=live)


@triton.jit
def _own(
    column,
    SCALE: tl.constexpr,
    HEADS: tl.constexpr,
    keys,
    key_scales,
    values,
    value_scales,
    now,
    dims,
    wide,
    D: tl.constexpr,
    LARGEST: tl.constexpr,
):
    """Writes the new column. Returns its score and its value, of what is held then."""
    q = tl.load(column, mask=wide, other=0.0).to(tl.float32) * SCALE
    new_k = tl.load(column + HEADS * D, mask=wide, other=0.0).to(tl.float32)
    new_v = tl.load(column + 2 * HEADS * D, mask=wide, other=0.0).to(tl.float32)
    k = _written(new_k, keys, key_scales, now, dims, wide, D, LARGEST)
    v = _written(new_v, values, value_scales, now, dims, wide, D, LARGEST)
    return tl.sum(q * k, 0), v


@triton.jit
def _written(x, held, scales, now, dims, wide, D: tl.constexpr, LARGEST: tl.constexpr):
    """Puts a new column, float32 [WIDTH], at position `now`. Returns it as it is held, in float32."""
    if LARGEST is None:
        kept = x.to(held.dtype.element_ty)
        tl.store(held + now * D + dims, kept, mask=wide)
        return kept.to(tl.float32)
    else:
        kept, scale = _quantised(x, 0, scales, held, LARGEST)
        tl.store(held + now * D + dims, kept, mask=wide)
        tl.store(scales + now, scale)
        return kept.to(tl.float32) * scale.to(tl.float32)


@triton.jit
def _read(
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
    """One query or two over the same columns. asked: where they lie, [QUERIES, WIDTH]; they may be the launch's before.

    Returns (top, mass, total) of each.
    """
    if GROUP > 0:
        return read_by_dots(
            asked,
            wide,
            SCALE,
            DEPENDENT,
            keys,
            key_scales,
            values,
            value_scales,
            start,
            stop,
            QUERIES,
            D,
            WIDTH,
            TILE,
            STAGES,
            LARGEST,
            GROUP,
            ONE,
            ASM,
        )
    else:
        wait_for_previous(DEPENDENT)
        q = queries_of(asked, wide, SCALE)
        q0, q1 = query_of(q, 0), query_of(q, 1)
        t0, m0, a0 = _nothing(TILE, WIDTH)
        t1, m1, a1 = _nothing(TILE, WIDTH)
        for first in tl.range(start, stop, TILE, num_stages=STAGES):
            k, k_scale, v, v_scale = tiles_of(
                keys, key_scales, values, value_scales, first, stop, D, WIDTH, TILE, LARGEST, True
            )
            live = first + tl.arange(0, TILE) < stop
            t0, m0, a0 = _heard(q0, k, k_scale, v, v_scale, live, t0, m0, a0)
            if QUERIES == 2:
                t1, m1, a1 = _heard(q1, k, k_scale, v, v_scale, live, t1, m1, a1)
        t0, m0, a0 = _merged(t0, m0, a0)
        t1, m1, a1 = _merged(t1, m1, a1)
        return t0, m0, a0, t1, m1, a1


@triton.jit
def query_of(q, query: tl.constexpr):
    """One of [QUERIES, WIDTH]; 0 where there are fewer."""
    return tl.sum(tl.where(tl.arange(0, q.shape[0])[:, None] == query, q, 0.0), 0)


@triton.jit
def _nothing(TILE: tl.constexpr, WIDTH: tl.constexpr):
    """The softmax of each slot before its first column."""
    top = tl.full([TILE], LOWEST, tl.float32)
    return top, tl.zeros([TILE], tl.float32), tl.zeros([TILE, WIDTH], tl.float32)


@triton.jit
def _heard(q, k, k_scale, v, v_scale, live, top, mass, total):
    """One more column for each slot."""
    score = tl.where(live, tl.sum(q[None, :] * k.to(tl.float32), 1) * k_scale, -float("inf"))
    above = tl.maximum(top, score)
    before, weight = tl.exp2(top - above), tl.exp2(score - above)
    mass = mass * before + weight
    total = total * before[:, None] + (weight * v_scale)[:, None] * v.to(tl.float32)
    return above, mass, total


@triton.jit
def _merged(top, mass, total):
    """The slots along the first axis as one softmax."""
    above = tl.max(top, 0)
    share = tl.exp2(top - above)
    return above, tl.sum(mass * share, 0), tl.sum(total * share[:, None], 0)


@triton.jit
def _answer(to, mass, total, wide):
    """0 where nothing was read."""
    whole = total / tl.where(mass > 0, mass, 1.0)
    tl.store(to, whole.to(to.dtype.element_ty), mask=wide)


@triton.jit
def _leave(parts, stats, at, top, mass, total, WIDTH: tl.constexpr):
    tl.store(parts + at * WIDTH + tl.arange(0, WIDTH), total)
    tl.store(stats + at * 2, top)
    tl.store(stats + at * 2 + 1, mass)


@triton.jit
def _is_last(counter, parts):
    """Whether all the others have left their parts, which can then be read. The counter is 0 again then."""
    tl.debug_barrier()  # every thread's part is stored before one thread says so
    last = tl.atomic_add(counter, 1, sem="acq_rel", scope="gpu") == parts - 1
    if last:
        tl.store(counter, 0)
    return last


@triton.jit
def _gathered(
    parts,
    stats,
    query,
    active,
    QUERIES: tl.constexpr,
    SLOTS: tl.constexpr,
    SPLITS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """The answers to QUERIES from `query` on, merged in one fixed order: of the first `active` slots and of those behind SPLITS.

    Read past L1, where other processors' parts cannot be. Returns float32 [QUERIES, WIDTH].
    """
    slot = tl.arange(0, triton.next_power_of_2(SLOTS))[None, :]
    live = (slot < active) | ((slot >= SPLITS) & (slot < SLOTS))
    at = (query + tl.arange(0, QUERIES))[:, None] * SLOTS + slot  # [QUERIES, slots]
    top = tl.load(stats + at * 2, mask=live, other=LOWEST, cache_modifier=".cg")
    mass = tl.load(stats + at * 2 + 1, mask=live, other=0.0, cache_modifier=".cg")
    total = tl.load(
        parts + at[:, :, None] * WIDTH + tl.arange(0, WIDTH)[None, None, :],
        mask=live[:, :, None],
        other=0.0,
        cache_modifier=".cg",
    )
    share = tl.exp2(top - tl.max(top, 1)[:, None])
    mass = tl.sum(mass * share, 1)
    return tl.sum(total * share[:, :, None], 1) / tl.where(mass > 0, mass, 1.0)[:, None]


@triton.jit
def _quantised(x, axis: tl.constexpr, scales, held, LARGEST: tl.constexpr):
    """`kernels.store.quantised`, bit for bit: x, float32 [.., WIDTH], as `held` holds it; its scale as `scales` do."""
    scale = tl.div_rn(tl.max(tl.abs(x), axis), LARGEST).to(scales.dtype.element_ty)
    divisor = scale.to(tl.float32)
    if axis == 1:
        divisor = divisor[:, None]
    ratio = tl.where(divisor > 0, tl.div_rn(x, tl.where(divisor > 0, divisor, 1.0)), 0.0)
    ratio = tl.minimum(tl.maximum(ratio, -LARGEST), LARGEST)
    if held.dtype.element_ty == tl.int8:
        ratio = (ratio + ROUNDING) - ROUNDING
    return ratio.to(held.dtype.element_ty), scale
