"""The long-short-term module: frames of the window attend to frames of the whole video.

The branch transformers attend inside one frame, so the features of a frame never change. A frame's fused tokens depend on
it and on the set of recalled long-term frames only; no token carries a time.

Letters: S streams, F frames of the window, M recalled frames, P tokens of a frame, E vision width, D decoder width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.spec import LongShortSpec


class FrameBranch(nn.Module):
    """A pre-norm transformer over the tokens of one frame, with a learned position for each token."""

    def __init__(self, spec: LongShortSpec, tokens: int, width: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, tokens, width))
        self.layers = nn.ModuleList(_BranchLayer(spec, width) for _ in range(spec.depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        """features: [F, P, E] from the vision tower. Returns [F, P, E]."""
        x = features.to(self.positions.dtype) + self.positions
        for layer in self.layers:
            x = layer(x)
        return self.norm(x).float()


class _BranchLayer(nn.Module):
    def __init__(self, spec: LongShortSpec, width: int) -> None:
        super().__init__()
        inner = spec.heads * spec.head_dim
        self.heads = spec.heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.out = nn.Linear(inner, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, spec.mlp_width)
        self.mlp_out = nn.Linear(spec.mlp_width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm_attention(x)).chunk(3, dim=-1)
        x = x + self.out(attend(q, k, v, self.heads))
        return x + self.mlp_out(F.gelu(self.mlp_in(self.norm_mlp(x))))


class Fusion(nn.Module):
    """Window tokens ask, long-term tokens answer; the sum is projected to the decoder's width."""

    def __init__(self, spec: LongShortSpec, width: int, decoder_width: int) -> None:
        super().__init__()
        self.heads = spec.fusion_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.norm_attention = nn.LayerNorm(width)
        self.mix = nn.Linear(width, width)
        self.norm_mix = nn.LayerNorm(width)
        self.project = nn.Linear(width, decoder_width)

    def remember(self, long: Tensor) -> Tensor:
        """long: [M, P, E] from the long-term branch. Returns what a held frame keeps: keys and values [M, 2, P, E]."""
        x = long.to(self.key.weight.dtype)
        return torch.stack((self.key(x), self.value(x)), dim=1).float()

    def forward(self, short: Tensor, recalled: Tensor) -> tuple[Tensor, Tensor]:
        """short: [F, P, E]; recalled: [M, 2, P, E]. Returns fused [F, P, E] and condition tokens [F, P, D]."""
        x, memory = short.to(self.query.weight.dtype), recalled.to(self.query.weight.dtype)
        frames, tokens, width = x.shape
        keys, values = (memory[:, i].reshape(1, -1, width) for i in (0, 1))
        asked = self.query(x).reshape(1, frames * tokens, width)
        answer = attend(asked, keys, values, self.heads).reshape(frames, tokens, width)
        return self._mixed(x, answer)

    def together(self, short: Tensor, keys: Tensor, values: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
        """`forward` for each of S streams, of whose recalled frames the first held [S] count; at least one.

        short: [S, F, P, E]; keys, values: [S, M, P, E]. Returns fused [S, F, P, E] and condition tokens [S, F, P, D].
        """
        x = short.to(self.query.weight.dtype)
        k, v = (memory.to(x.dtype).flatten(1, 2) for memory in (keys, values))
        seen = torch.arange(keys.shape[1], device=held.device) < held.unsqueeze(1)
        seen = seen.repeat_interleave(keys.shape[2], 1)[:, None, None]  # [S, 1, 1, M P]
        answer = attend(self.query(x).flatten(1, 2), k, v, self.heads, seen)
        return self._mixed(x, answer.view(x.shape))

    def _mixed(self, x: Tensor, answer: Tensor) -> tuple[Tensor, Tensor]:
        y = self.norm_attention(answer + x)
        fused = self.norm_mix(self.mix(y) + y)
        return fused.float(), self.project(fused).float()


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, seen: Tensor | None = None) -> Tensor:
    """Plain attention over [B, T, heads x dim]; every query sees every key, or those that are `seen`, [B, 1, 1, keys]."""

    def split(x: Tensor) -> Tensor:
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    return (
        F.scaled_dot_product_attention(split(q), split(k), split(v), attn_mask=seen)
        .transpose(1, 2)
        .flatten(2)
    )
