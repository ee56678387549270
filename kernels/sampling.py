"""From logits to tokens on the device: what `engine.sampling` does, for a batch of streams in one launch.

Letters: B lanes of the batch, S segments, R guidance rows (conditional, null) or the conditional one alone, K codebooks.
`engine.sampling` says what the rules are, in NumPy; here they have a Triton kernel (`kernels.sampling_triton`) and a plain
PyTorch twin. As there, logits are mixed, divided and shifted in float32, and all that follows is float64, so that a draw differs
from its draw only where a cumulative mass and the draw lie within a rounding of float64 of each other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.attention import Impl, by_triton


def draw(
    logits: Tensor,
    leading: Tensor,
    guidance: Tensor,
    temperature: Tensor,
    top_k: Tensor,
    top_p: Tensor,
    uniforms: Tensor,
    allowed: Tensor,
    impl: Impl = "auto",
) -> Tensor:
    """A token of each codebook for each lane, int64 [B, K].

    logits: [B, S, R, K, card]; leading: [B], the segment that is drawn from; guidance, temperature (0: the likeliest, the
    first of equals), top_p (0: off) float32 [B]; top_k int [B] (0, or card and more: off; top_p goes before it); uniforms:
    [B, K] in [0, 1); allowed: bool or uint8 [B, K, card].
    Of equal chances, top_k keeps all that reach its threshold, and top_p as many as its mass asks for, the first ones first, as
    `engine.sampling` does. Where nothing is allowed the token is 0.
    """
    lanes, _, rows, codebooks, card = logits.shape
    if rows > 2 or uniforms.shape != (lanes, codebooks) or allowed.shape != (lanes, codebooks, card):
        raise ValueError(
            f"logits {list(logits.shape)}, uniforms {list(uniforms.shape)} and "
            f"allowed {list(allowed.shape)} do not fit"
        )
    for each in (leading, guidance, temperature, top_k, top_p):
        if each.shape != (lanes,):
            raise ValueError(f"a number for each of {lanes} lanes, not {list(each.shape)}")
    if by_triton(impl, logits):
        from kernels import sampling_triton

        return sampling_triton.draw(logits, leading, guidance, temperature, top_k, top_p, uniforms, allowed)
    return draw_plain(logits, leading, guidance, temperature, top_k, top_p, uniforms, allowed)


def draw_plain(
    logits: Tensor,
    leading: Tensor,
    guidance: Tensor,
    temperature: Tensor,
    top_k: Tensor,
    top_p: Tensor,
    uniforms: Tensor,
    allowed: Tensor,
) -> Tensor:
    """The twin of `draw`."""
    rows = logits[torch.arange(len(logits), device=logits.device), leading.long()].float()  # [B, R, K, card]
    mixed = rows[:, 0]
    if rows.shape[1] == 2:
        mixed = rows[:, 1] + guidance.float()[:, None, None] * (rows[:, 0] - rows[:, 1])
    mixed = mixed.masked_fill(~allowed.bool(), -torch.inf)
    greedy = temperature == 0
    scaled = mixed / torch.where(greedy, 1.0, temperature.float())[:, None, None]
    chances = _softmax(scaled - scaled.amax(-1, keepdim=True))
    kept = _filtered(chances, top_k, top_p)
    drawn = _pick(kept / kept.sum(-1, keepdim=True), uniforms)
    return torch.where(greedy[:, None], mixed.argmax(-1), drawn)


def _softmax(shifted: Tensor) -> Tensor:
    """float32 differences to the largest, [..., card], as chances in float64."""
    masses = shifted.double().exp()
    return masses / masses.sum(-1, keepdim=True)


def _filtered(chances: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    ranked, order = chances.sort(dim=-1, descending=True, stable=True)
    before = ranked.cumsum(-1) - ranked
    card = chances.shape[-1]
    rank = torch.where((top_k > 0) & (top_k < card), top_k, card).long() - 1
    threshold = ranked.gather(-1, rank[:, None, None].expand(*chances.shape[:-1], 1))
    nucleus = torch.zeros_like(chances).scatter(
        -1, order, torch.where(before > top_p.double()[:, None, None], 0.0, ranked)
    )
    return torch.where((top_p > 0)[:, None, None], nucleus, torch.where(chances >= threshold, chances, 0.0))


def _pick(chances: Tensor, uniforms: Tensor) -> Tensor:
    """The token at which the cumulative mass passes the draw."""
    cumulative = chances.cumsum(-1)
    cumulative = cumulative / cumulative[..., -1:]
    return (cumulative <= uniforms.double()[..., None]).sum(-1)
