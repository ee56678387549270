"""From logits to tokens: guidance, temperature, top-k or top-p, and a draw keyed by seed and step.

A draw depends on the seed, the step and the codebook, on nothing else: not on how streams are batched, how audio is cut into
chunks, or how often a generator was called before. Streams that are drawn alike share the arithmetic, with the same answer to the
last bit.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.asking import in_groups
from engine.backends.base import F32, I64, Backend, DrawCall, DrawsItself
from engine.spec import StreamPolicy

F64 = NDArray[np.float64]
FEW_DRAWS = 16
"""Up to so many, a generator for each is quicker than arithmetic on arrays."""


def draw_all(backend: Backend[Any, Any], calls: Sequence[DrawCall[Any, Any]]) -> list[I64]:
    """The columns [n, K] that follow, for each of several streams: one, or more where the backend draws them itself."""
    if isinstance(backend, DrawsItself):
        return backend.draw_all(calls)
    answers = (
        backend.step_all([call.step for call in calls]) if len(calls) > 1 else [calls[0].step.on(backend)]
    )
    draws = [
        Draw(logits[call.leading], call.policy, call.column, call.allowed)
        for call, logits in zip(calls, answers, strict=True)
    ]
    return [tokens[None] for tokens in sample_all(draws)]


@dataclass(frozen=True, slots=True)
class Draw:
    """logits: [R, K, card], rows (conditional, null) or conditional alone. allowed: [K, card], tokens that may be drawn."""

    logits: F32
    policy: StreamPolicy
    step: int
    allowed: NDArray[np.bool_] | None

    @property
    def kind(self) -> Hashable:
        """Draws of one kind are arithmetic on arrays."""
        policy = self.policy
        return self.logits.shape, policy.heat == 0, policy.top_k, policy.top_p, self.allowed is None


def sample(logits: F32, policy: StreamPolicy, step: int, allowed: NDArray[np.bool_] | None = None) -> I64:
    """A token for each codebook, [K]; see `Draw`."""
    return _sample_alike([Draw(logits, policy, step, allowed)])[0]


def sample_all(draws: Sequence[Draw]) -> list[I64]:
    """What `sample` says of each, [K]."""
    return in_groups(draws, lambda draw: draw.kind, _sample_alike)


def _sample_alike(draws: Sequence[Draw]) -> I64:
    """Of draws of one kind, [n, K]."""
    policies, first = [draw.policy for draw in draws], draws[0]
    mixed = guide(np.stack([draw.logits for draw in draws], axis=1), _each([p.guidance for p in policies]))
    if first.allowed is not None:
        mixed = np.where(
            np.stack([draw.allowed for draw in draws if draw.allowed is not None]), mixed, -np.inf
        )
    if first.policy.heat == 0:
        return mixed.argmax(-1).astype(np.int64)
    warm = mixed / _each([p.heat for p in policies])
    seeds, steps = np.array([p.seed for p in policies]), np.array([draw.step for draw in draws])
    numbers = uniforms_of(seeds, steps, warm.shape[1])
    if first.policy.top_p == 0 and 0 < first.policy.top_k < warm.shape[-1]:
        return _pick_of_top(warm, first.policy.top_k, numbers)
    return pick(filtered(softmax(warm), first.policy.top_k, first.policy.top_p), numbers)


def _pick_of_top(logits: F32, top_k: int, draws: F64) -> I64:
    """`pick` from what `filtered` keeps, of [..., card] and [...]: chances are computed of the likeliest tokens alone."""
    shifted = logits - logits.max(-1, keepdims=True)
    threshold = np.partition(shifted, -top_k, axis=-1)[..., -top_k, None]
    kept = np.flatnonzero(shifted >= threshold)
    chances = np.exp(shifted.reshape(-1)[kept].astype(np.float64))
    if len(kept) == draws.size * top_k:
        likeliest = kept.reshape(*draws.shape, top_k) % logits.shape[-1]
        at = pick(chances.reshape(likeliest.shape), draws)
        return np.take_along_axis(likeliest, at[..., None], -1)[..., 0]
    among_all = np.zeros(
        logits.shape
    )  # ties at a threshold: rows of different lengths; zeros between change no sum
    among_all.reshape(-1)[kept] = chances
    return pick(among_all, draws)


def _each(numbers: Sequence[float]) -> F32:
    """One for each draw, [n, 1, 1]."""
    return np.array(numbers, np.float32)[:, None, None]


def guide(logits: F32, scale: float | F32) -> F32:
    """Move the conditional logits away from the null ones. [2, ..., card] or [1, ..., card] to [..., card].

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


def uniforms_of(seeds: I64, steps: I64, count: int) -> F64:
    """`uniforms` of many at once: [n] and [n] to [n, count]. Philox 4x64-10 (Salmon et al. 2011), as numpy runs it."""
    if len(seeds) <= FEW_DRAWS:
        return np.array(
            [uniforms(int(seed), int(step), count) for seed, step in zip(seeds, steps, strict=True)]
        )
    blocks = -(-count // 4)
    counter = np.zeros((4, blocks, len(seeds)), np.uint64)
    counter[0] = np.arange(1, blocks + 1, dtype=np.uint64)[:, None]  # numpy counts before it draws
    counter[3] = steps.astype(np.uint64)
    key = np.stack((seeds.astype(np.uint64), np.zeros(len(seeds), np.uint64)))
    for _ in range(10):
        high, low = _multiply(counter[[0, 2]], _PHILOX_MULTIPLIERS[:, None, None])
        counter = np.stack((high[1] ^ counter[1] ^ key[0], low[1], high[0] ^ counter[3] ^ key[1], low[0]))
        key += _PHILOX_WEYL[:, None]
    numbers = (counter >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers.transpose(2, 1, 0).reshape(len(seeds), -1)[:, :count]


_PHILOX_MULTIPLIERS = np.array([0xD2E7470EE14C6C93, 0xCA5A826395121157], np.uint64)
_PHILOX_WEYL = np.array([0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B], np.uint64)


def _multiply(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The upper and the lower 64 bits of products."""
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    a_high, a_low, b_high, b_low = a >> half, a & mask, b >> half, b & mask
    middle = a_high * b_low + (a_low * b_low >> half)
    other = a_low * b_high + (middle & mask)
    return a_high * b_high + (middle >> half) + (other >> half), a * b


def pick(chances: F64, draws: F64) -> I64:
    """The token at which the cumulative mass passes the draw, for each codebook. [..., card] and [...] to [...]."""
    cumulative = np.cumsum(chances, -1)
    cumulative /= cumulative[..., -1:]
    tokens: I64 = (cumulative <= draws[..., None]).sum(-1).astype(np.int64)
    return tokens
