"""Both attentions as operators that ONNX Runtime has on a CPU.

`GroupQueryAttention` appends to a cache in place: a plain export copies the whole cache at every step. Its head width must be a
multiple of 8; others are padded with zeros, which changes nothing. `export.standard` is the same for other runtimes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

from engine.model.decoder import Attention, Seeing, frame_attention
from engine.spec import DecoderSpec
from export.standard import widened

EIGHT_BITS: dict[str, Any] = {
    "k_quant_type": "PER_CHANNEL",
    "v_quant_type": "PER_CHANNEL",
    "kv_cache_bit_width": 8,
}
"""How GroupQueryAttention is told of such caches."""
HEAD_MULTIPLE = 8
"""GroupQueryAttention refuses head widths that are no multiple of it."""


def padded_head(spec: DecoderSpec) -> int:
    return -(-spec.head_dim // HEAD_MULTIPLE) * HEAD_MULTIPLE


def grouped_attention(scales: Iterator[tuple[Tensor, Tensor]]) -> Attention:
    """`group_query_attention` of one layer after the other. scales: of caches of eight bits, none where they are floats."""

    def attend(
        qkv: Tensor, keys: Tensor, values: Tensor, position: Tensor, heads: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        return group_query_attention(qkv, keys, values, position, heads, next(scales, None))

    return attend


def grouped_seeing(
    frames: Tensor | None, tokens: int, guided: bool, segments: int, scales: Iterator[tuple[Tensor, Tensor]]
) -> Seeing:
    """As `export.standard.standard_seeing`. scales: of conditions of eight bits, none where they are floats."""
    held = None if frames is None else frames * tokens
    of_null = cycle((False, True) if guided else (False,))

    def see(q: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
        if next(of_null):
            return one_frame_attention(q, keys, values, heads)
        of_layer = next(scales, None)
        if held is not None:
            return seen_attention(q, keys, values, held, segments, heads, of_layer)
        head = q.shape[-1] // heads
        if of_layer:
            keys, values = (x * wide for x, wide in zip((keys, values), _wide(of_layer, keys), strict=True))
        return frame_attention(q, keys[..., :head].transpose(2, 3), values[..., :head], heads)

    return see


def group_query_attention(
    qkv: Tensor,
    keys: Tensor,
    values: Tensor,
    position: Tensor,
    heads: int,
    scales: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`engine.model.decoder.cached_attention` as one ONNX Runtime operator. scales: of caches of eight bits, [1, H, 1, d]."""
    rows, columns, width = qkv.shape
    head, padded = width // (3 * heads), keys.shape[-1]
    if padded != head:
        qkv = widened(qkv.unflatten(-1, (3 * heads, head)), padded).flatten(2)
    last = (position + (columns - 1)).to(torch.int32)
    about = {"num_heads": heads, "kv_num_heads": heads, "scale": head**-0.5}
    shape = (rows, columns, heads * padded)
    heard, keys, values = _grouped(about, shape, (qkv, None, None), (keys, values), last, scales)
    if padded != head:
        heard = heard.unflatten(-1, (heads, padded))[..., :head].flatten(2)
    return heard, keys, values


def seen_attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    held: Tensor,
    segments: int,
    heads: int,
    scales: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """`engine.model.decoder.frame_attention` of each stream's segments to its own condition: one GroupQueryAttention that appends
    nothing, and to which segments are heads that share keys and values (it takes no second query behind a cache in a batch).

    q: [B S, 1, D]; keys, values: [B, H, N, d], of which the first held [B] tokens count.
    """
    head, padded = q.shape[-1] // heads, keys.shape[-1]
    asked = widened(q.view(-1, segments, heads, head).transpose(1, 2), padded).reshape(keys.shape[0], 1, -1)
    if not scales:
        asked = asked.to(keys.dtype)
    nothing = asked.new_zeros(keys.shape[0], 0, heads * padded)
    last = (held - 1).to(torch.int32)
    about = {"num_heads": heads * segments, "kv_num_heads": heads, "scale": 1.0, "causal": 0}
    answer, _, _ = _grouped(about, asked.shape, (asked, nothing, nothing), (keys, values), last, scales)
    parted = answer.to(q.dtype).view(-1, heads, segments, padded)[..., :head].transpose(1, 2)
    return parted.reshape(q.shape)


def _grouped(
    about: dict[str, Any],
    shape: Sequence[int | torch.SymInt],
    new: tuple[Tensor, Tensor | None, Tensor | None],
    cache: tuple[Tensor, Tensor],
    last: Tensor,
    scales: tuple[Tensor, Tensor] | None,
) -> Sequence[Tensor]:
    """GroupQueryAttention: the answer, of that shape, and the caches. new: queries, keys and values; last: int32, the place of
    the last token that counts, for each row; scales: of caches of eight bits."""
    inputs: tuple[Tensor | None, ...] = (*new, *cache, last, last.max() + 1)
    if scales:
        inputs += (None, None, None, None, None, *_wide(scales, cache[0]))
        about = about | EIGHT_BITS
    return torch.onnx.ops.symbolic_multi_out(
        "com.microsoft::GroupQueryAttention",
        inputs,
        about,
        dtypes=(new[0].dtype, cache[0].dtype, cache[1].dtype),
        shapes=(shape, cache[0].shape, cache[1].shape),
        version=1,
    )


def one_frame_attention(q: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """`frame_attention` to one frame, keys [1, H, d, P] and values [1, H, P, d], as one operator."""
    asked = q.flatten(0, 1).unsqueeze(0).to(keys.dtype)
    (answer,) = torch.onnx.ops.symbolic_multi_out(
        "com.microsoft::MultiHeadAttention",
        (asked, keys.transpose(2, 3).contiguous(), values),
        {"num_heads": heads, "scale": 1.0},
        dtypes=(asked.dtype,),
        shapes=(asked.shape,),
        version=1,
    )
    return answer.to(q.dtype).view(q.shape)


def _wide(scales: tuple[Tensor, Tensor], cache: Tensor) -> list[Tensor]:
    """Scales as wide as the heads of a cache."""
    return [widened(scale, cache.shape[-1], 1.0) for scale in scales]
