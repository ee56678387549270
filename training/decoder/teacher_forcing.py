"""The decoder over whole stretches at once, each column seeing what the live engine would have shown it at that step.

The same modules and weights as `engine.model.decoder`; only the arithmetic is laid out for many columns with different views.
The law (tests): a column's logits are those of the cached step with that column's condition.

Letters: B rows, T columns, G blocks of L columns (T = G L), V views that a block can see, P tokens of a frame, H heads, d head
dim, D width, A ages.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.model.decoder import Decoder, DecoderLayer


def logits(
    decoder: Decoder,
    columns: Tensor,
    tokens: Tensor,
    chosen: Tensor,
    ages: Tensor,
    visible: Tensor,
    null: Tensor,
    dropped: Tensor,
) -> Tensor:
    """Logits of the column after each, [B, T, K, card].

    columns: int64 [B, T, K]. tokens: fused tokens of every view [B, all, P, D]. chosen: int64 [B, G, V], the views of a block.
    ages: int64 [B, G, L, V], of no effect in a model without ages. visible: bool [B, G, L, V]. null: [1, P, D].
    dropped: bool [B], rows that see the null frame.
    """
    position = torch.zeros(len(columns), dtype=torch.int64, device=columns.device)
    x = decoder.embed(columns, position)
    for layer in decoder.stack():
        x = x + _hear(layer, layer.norm_self(x))
        x = x + _see(
            layer, layer.norm_cross(x), decoder.age_embedding, tokens, chosen, ages, visible, null, dropped
        )
        x = x + layer.ffn_out(F.gelu(layer.ffn_in(layer.norm_ffn(x))))
    spec = decoder.spec
    answer: Tensor = decoder.logits(decoder.norm(x)).unflatten(-1, (spec.codebooks, spec.card))
    return answer


def _hear(layer: DecoderLayer, x: Tensor) -> Tensor:
    q, k, v = (_split(part, layer.heads) for part in layer.self_qkv(x).chunk(3, -1))
    answer = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    out: Tensor = layer.self_out(answer.transpose(1, 2).flatten(2))
    return out


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _see(
    layer: DecoderLayer,
    x: Tensor,
    age_embedding: Tensor | None,
    tokens: Tensor,
    chosen: Tensor,
    ages: Tensor,
    visible: Tensor,
    null: Tensor,
    dropped: Tensor,
) -> Tensor:
    batch, blocks, length, views = visible.shape
    q = layer.cross_q(x).view(batch, blocks, length, layer.heads, -1).transpose(2, 3)  # [B, G, H, L, d]
    keys, values = _project(layer, tokens)  # [B, all, P, H, d]
    row = torch.arange(batch, device=x.device).view(-1, 1, 1)
    k, v = (part[row, chosen].flatten(2, 3).transpose(2, 3) for part in (keys, values))  # [B, G, H, V P, d]
    scores = (q @ k.transpose(-1, -2)).unflatten(-1, (views, -1))  # [B, G, H, L, V, P]
    at = ages.unsqueeze(2).expand(-1, -1, layer.heads, -1, -1)
    if age_embedding is not None:
        age_keys, age_values = (part.movedim(1, 0) for part in _project(layer, age_embedding))  # [H, A, d]
        scores = scores + (q @ age_keys.transpose(-1, -2)).gather(-1, at).unsqueeze(-1)
    scores = scores.float() / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(~visible[:, :, None, :, :, None], -torch.inf).flatten(-2)
    weights = scores.softmax(-1).to(v.dtype)
    seen = weights @ v
    if age_embedding is not None:
        by_age = scores.new_zeros(*scores.shape[:-1], len(age_embedding), dtype=v.dtype)
        by_age = by_age.scatter_add(-1, at, weights.unflatten(-1, (views, -1)).sum(-1))
        seen = seen + by_age @ age_values.to(v.dtype)
    seen = seen.transpose(2, 3).flatten(3).flatten(1, 2)  # [B, T, D]
    if dropped.any():
        seen = torch.where(dropped.view(-1, 1, 1), _see_null(layer, q, null).to(seen.dtype), seen)
    out: Tensor = layer.cross_out(seen)
    return out


def _project(layer: DecoderLayer, tokens: Tensor) -> tuple[Tensor, Tensor]:
    k, v = layer.cross_kv(tokens).chunk(2, -1)
    return k.unflatten(-1, (layer.heads, -1)), v.unflatten(-1, (layer.heads, -1))


def _see_null(layer: DecoderLayer, q: Tensor, null: Tensor) -> Tensor:
    """q: [B, G, H, L, d]. Returns [B, T, D]."""
    k, v = (part[0].transpose(0, 1) for part in _project(layer, null))  # [H, P, d]
    scores = (q @ k.transpose(-1, -2)).float() / math.sqrt(q.shape[-1])
    seen = scores.softmax(-1).to(v.dtype) @ v
    return seen.transpose(2, 3).flatten(3).flatten(1, 2)
