"""Attention in standard ONNX operators alone, for runtimes that know no others: CUDA graphs, TensorRT.

A cache is written by `TensorScatter` (opset 24), whose input and output may be one place in memory: ONNX Runtime writes it in
place on a CPU and on CUDA, TensorRT from 10.15 on makes a KVCacheUpdate layer of it. Every query then looks at the whole cache
behind a mask, so that no shape depends on how many columns are held and a captured graph serves every step. That costs the
reading of a whole cache: `export.grouped` has the operators that read only what is held.
"""

from __future__ import annotations

from itertools import cycle
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.model.decoder import Seeing

Operators = Literal["onnxruntime", "standard"]
"""What a graph may be made of: ONNX Runtime's own operators, for its CPU; or those of the standard alone."""
OPSET = 24
"""The first one with TensorScatter."""


def standard_attention(
    qkv: Tensor, keys: Tensor, values: Tensor, position: Tensor, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`engine.model.decoder.cached_attention`; see `engine.model.decoder.Attention` for the shapes."""
    columns, head = qkv.shape[1], qkv.shape[-1] // (3 * heads)
    q, k, v = widened(qkv.unflatten(-1, (3, heads, head)), keys.shape[-1]).permute(2, 0, 3, 1, 4)
    keys, values = (scattered(cache, new, position) for cache, new in ((keys, k), (values, v)))
    at = position.unsqueeze(1) + torch.arange(columns, device=qkv.device)  # [B, T]
    visible = torch.arange(keys.shape[2], device=qkv.device) <= at.unsqueeze(-1)  # [B, T, N]
    heard = _attended(q * head**-0.5, keys, values, visible.unsqueeze(1))
    return heard[..., :head].transpose(1, 2).flatten(2), keys, values


def standard_seeing(frames: Tensor | None, tokens: int, guided: bool, segments: int) -> Seeing:
    """Attention to the frames and then, when guided, to the null frame, of one layer after the other.

    frames: [B], of which each stream's condition [B, H, N, d] has in use; none takes it whole. tokens: of a frame.
    """
    held = None if frames is None else frames * tokens
    of_null = cycle((False, True) if guided else (False,))

    def see(q: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
        if next(of_null):  # [1, H, d, P], not padded; all rows of the batch ask the same frame
            return _seen(q, keys.transpose(2, 3), values, None, q.shape[0], heads)
        return _seen(q, keys, values, held, segments, heads)

    return see


def scattered(cache: Tensor, new: Tensor, position: Tensor) -> Tensor:
    """The cache [B, H, N, d] with new [B, H, T, d] written from position [B] on."""
    (written,) = torch.onnx.ops.symbolic_multi_out(
        "TensorScatter",
        (cache, new, position),
        {"axis": -2, "mode": "linear"},
        dtypes=(cache.dtype,),
        shapes=(cache.shape,),
        version=OPSET,
    )
    return written


def widened(x: Tensor, width: int, value: float = 0.0) -> Tensor:
    """[..., width]. No operator where nothing is to be done."""
    more = width - x.shape[-1]
    return F.pad(x, (0, more), value=value) if more else x


def _seen(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    held: Tensor | None,
    segments: int | torch.SymInt,
    heads: int,
) -> Tensor:
    """q: [B S, T, D], S segments that share keys and values [B, H, N, d], scaled already; of which the first held [B] count."""
    columns, head = q.shape[1], q.shape[-1] // heads
    asked = q.reshape(-1, segments * columns, heads, head).transpose(1, 2).to(keys.dtype)
    visible = None
    if held is not None:
        visible = (torch.arange(keys.shape[2], device=q.device) < held.unsqueeze(1))[:, None, None]
    answer = _attended(widened(asked, keys.shape[-1]), keys, values, visible)[..., :head]
    return answer.transpose(1, 2).reshape(q.shape).to(q.dtype)


def _attended(q: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """q: [B, H, T, d], scaled already; keys, values: [B, H, N, d]; visible: bool, [B, 1, T or 1, N]. Softmax in float."""
    scores = torch.matmul(q, keys.transpose(2, 3)).float()
    if visible is not None:
        scores = scores.masked_fill(~visible, float("-inf"))
    return torch.matmul(scores.softmax(-1).to(values.dtype), values)
