"""From logits to tokens: guidance, temperature, top-k or top-p, and a draw keyed by seed and step.

A draw depends on the seed, the step and the codebook, on nothing else: not on how streams are batched, how audio is cut into
chunks, or how often a generator was called before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import F32, I64
from engine.spec import StreamPolicy

F64 = NDArray[np.float64]


def sample(logits: F32, policy: StreamPolicy, step: int, allowed: NDArray[np.bool_] | None = None) -> I64:
    """logits: [R, K, card], rows (conditional, null) or conditional alone. allowed: [K, card], tokens that may be drawn.

    Returns a token for each codebook, [K].
    """
    mixed = guide(logits, policy.guidance)
    if allowed is not None:
        mixed = np.where(allowed, mixed, -np.inf)
    if policy.temperature == 0:
        return mixed.argmax(-1).astype(np.int64)
    chances = filtered(softmax(mixed / policy.temperature), policy.top_k, policy.top_p)
    return pick(chances, uniforms(policy.seed, step, len(chances)))


def guide(logits: F32, scale: float) -> F32:
    """Move the conditional logits away from the null ones. [2, K, card] or [1, K, card] to [K, card].

    Source: Ho & Salimans 2022, eq. 6; with one row there is nothing to move away from.
    """
    if len(logits) == 1:
        return logits[0]
    mixed: F32 = logits[1] + np.float32(scale) * (logits[0] - logits[1])
    return mixed


def softmax(logits: F32) -> F64:
    shifted = np.exp((logits - logits.max(-1, keepdims=True)).astype(np.float64))
    chances: F64 = shifted / shifted.sum(-1, keepdims=True)
    return chances


def filtered(chances: F64, top_k: int, top_p: float) -> F64:
    """Keep the nucleus of mass `top_p` where that is above 0, else the `top_k` likeliest (ties kept); renormalise."""
    if top_p > 0:
        chances = _nucleus(chances, top_p)
    elif 0 < top_k < chances.shape[-1]:
        threshold = np.partition(chances, -top_k, axis=-1)[..., -top_k, None]
        chances = np.where(chances >= threshold, chances, 0)
    kept: F64 = chances / chances.sum(-1, keepdims=True)
    return kept


def _nucleus(chances: F64, mass: float) -> F64:
    """Drop a token when those before it in descending order already have more than `mass`."""
    order = np.argsort(-chances, axis=-1, kind="stable")
    ranked = np.take_along_axis(chances, order, -1)
    before = np.cumsum(ranked, -1) - ranked
    kept = np.zeros_like(chances)
    np.put_along_axis(kept, order, np.where(before > mass, 0, ranked), -1)
    return kept


def uniforms(seed: int, step: int, count: int) -> F64:
    """`count` numbers in [0, 1) that belong to this seed and step: a counter-based generator has no past."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, step])).random(count)


def pick(chances: F64, draws: F64) -> I64:
    """The token at which the cumulative mass passes the draw, for each codebook. [K, card] and [K] to [K]."""
    cumulative = np.cumsum(chances, -1)
    cumulative /= cumulative[:, -1:]
    return (cumulative <= draws[:, None]).sum(-1).astype(np.int64)
