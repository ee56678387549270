"""The Triton kernel of `kernels.sampling`: one program draws one lane's token of one codebook, all in registers.

Nothing is sorted. Differences to the largest logit are 0 or below, so that their bits without the sign, as whole numbers, rise as
they fall: `depth`. Top-k and top-p are each a depth, found by bisection over all 31 bits, which is exact: the largest depth such
that what lies above it (fewer levels deep) is at most k - 1 tokens, or at most the mass. Only tokens of exactly that depth,
equals, are then told apart by their order.
Compiled without fused multiply-add: guidance rounds twice, as it does in NumPy.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.grid import grid

DEEPEST = tl.constexpr(0x7F800000)
"""The depth of minus infinity: no token."""
WARPS = 8


def draw(
    logits: Tensor,
    leading: Tensor,
    guidance: Tensor,
    temperature: Tensor,
    top_k: Tensor,
    top_p: Tensor,
    uniforms: Tensor,
    allowed: Tensor,
    warps: int = WARPS,
) -> Tensor:
    lanes, segments, rows, codebooks, card = logits.shape
    tokens = torch.empty(lanes, codebooks, dtype=torch.int64, device=logits.device)
    _draw[grid(codebooks, lanes)](
        tokens,
        logits.contiguous(),
        leading.contiguous(),
        guidance.contiguous(),
        temperature.contiguous(),
        top_k.contiguous(),
        top_p.contiguous(),
        uniforms.contiguous(),
        allowed.contiguous().view(torch.uint8),
        CARD=card,
        WIDTH=triton.next_power_of_2(card),
        S=segments,
        ROWS=rows,
        K=codebooks,
        num_warps=warps,
        enable_fp_fusion=False,
    )
    return tokens


@triton.jit
def _draw(
    tokens,
    logits,
    leading,
    guidance,
    temperature,
    top_k,
    top_p,
    uniforms,
    allowed,
    CARD: tl.constexpr,
    WIDTH: tl.constexpr,
    S: tl.constexpr,
    ROWS: tl.constexpr,
    K: tl.constexpr,
):
    """One program: (codebook, lane)."""
    codebook, lane = tl.program_id(0), tl.program_id(1)
    card = tl.arange(0, WIDTH)
    there = card < CARD
    own = lane * K + codebook
    segment = tl.load(leading + lane).to(tl.int32)
    row = logits + (((lane * S + segment) * ROWS) * K + codebook).to(tl.int64) * CARD + card
    mixed = tl.load(row, mask=there, other=0.0).to(tl.float32)
    if ROWS == 2:
        null = tl.load(row + K * CARD, mask=there, other=0.0).to(tl.float32)
        mixed = null + tl.load(guidance + lane).to(tl.float32) * (mixed - null)
    may = tl.load(allowed + own.to(tl.int64) * CARD + card, mask=there, other=0) != 0
    mixed = tl.where(may, mixed, -float("inf"))
    heat = tl.load(temperature + lane).to(tl.float32)
    if heat == 0:
        tl.store(tokens + own, tl.argmax(mixed, 0).to(tl.int64))
    else:
        scaled = tl.div_rn(mixed, tl.full([WIDTH], 1.0, tl.float32) * heat)
        shifted = scaled - tl.max(scaled, 0)
        depth = tl.where(may, shifted.to(tl.int32, bitcast=True) & 0x7FFFFFFF, DEEPEST)
        masses = tl.where(may, tl.exp(shifted.to(tl.float64)), 0.0)
        kept = may
        nucleus = tl.load(top_p + lane).to(tl.float64)
        most = tl.load(top_k + lane).to(tl.int32)
        if nucleus > 0:
            chances = masses / tl.sum(masses, 0)
            level = _level(depth, chances, nucleus)
            equal = depth == level
            above = tl.sum(tl.where(depth < level, chances, 0.0), 0)
            before = tl.cumsum(equal.to(tl.int32), 0) - 1
            kept = (depth < level) | (equal & (above + before.to(tl.float64) * chances <= nucleus))
        elif (most > 0) & (most < CARD):
            kept = depth <= _level(depth, tl.full([WIDTH], 1, tl.int32), most - 1)
        kept = kept & may
        cumulative = tl.cumsum(tl.where(kept, masses, 0.0), 0)
        passed = kept & (cumulative / tl.max(cumulative, 0) > tl.load(uniforms + own).to(tl.float64))
        drawn = tl.min(tl.where(passed, card, CARD), 0)
        tl.store(tokens + own, tl.where(drawn < CARD, drawn, tl.max(tl.where(kept, card, 0), 0)).to(tl.int64))


@triton.jit
def _level(depth, weights, limit):
    """The largest depth such that the weights of what is less deep come to at most `limit`, which nothing does."""
    low, high = 0, DEEPEST + 1
    while high - low > 1:
        middle = low + (high - low) // 2
        fits = tl.sum(tl.where(depth < middle, weights, 0), 0) <= limit
        low = tl.where(fits, middle, low)
        high = tl.where(fits, high, middle)
    return low
