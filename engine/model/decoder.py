"""The decoder: an autoregressive transformer over delayed codebooks, cached in both of its attentions.

Self-attention keeps keys and values of the columns it has read. Cross-attention keys and values belong to frames: they are
projected once, when a frame is written to the condition, and laid out frame by frame so that the frames in use are always a
contiguous prefix. The null condition of the guidance is the same for every frame and every video, so it is held as 50 tokens.
A model with ages adds an embedding of a frame's age to its tokens before they are projected.

Letters: G segments (rows of tokens), R guidance rows of a segment (conditional, null), T columns, K codebooks, D width,
H heads, d head dim, F frames, P tokens of a frame, A age classes, N positions that a cache holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.spec import DecoderSpec

Attention = Callable[[Tensor, Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor, Tensor]]
"""(qkv [B, T, 3D], key cache [B, H, N, d], value cache, position [B], heads) to (out [B, T, D], new key, new value)."""
Seeing = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""Attention to frames: (q [G, T, D], keys, values, heads) to [G, T, D]; see `frame_attention`."""


class Linear(nn.Linear):
    """A linear layer that computes in the precision of its weights and answers in that of its input.

    It has no bias but that of a norm that was folded into it.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias).to(x.dtype)

    @torch.no_grad()
    def fold(self, norm: nn.LayerNorm) -> None:
        """Take gamma and beta of the norm that stands before: W (gamma * z + beta) = (W * gamma) z + W beta.

        In new arrays: others may have loaded the old ones.
        """
        bias = self.weight.float() @ norm.bias
        self.bias = nn.Parameter((bias if self.bias is None else bias + self.bias).to(self.weight.dtype))
        self.weight = nn.Parameter(self.weight * norm.weight)
        norm.weight = nn.Parameter(torch.ones_like(norm.weight))
        norm.bias = nn.Parameter(torch.zeros_like(norm.bias))


class Decoder(nn.Module):
    """Columns of tokens in, logits of the next column out."""

    positions: Tensor
    offsets: Tensor

    def __init__(self, spec: DecoderSpec, tokens: int, positions: int) -> None:
        super().__init__()
        width = spec.width
        self.spec = spec
        self.embedding = nn.Embedding(spec.codebooks * (spec.card + 1), width)
        self.layers = nn.ModuleList(DecoderLayer(spec, tokens) for _ in range(spec.layers))
        self.age_embedding = nn.Parameter(torch.zeros(spec.ages, width)) if spec.ages else None
        self.norm = nn.LayerNorm(width)
        self.logits = Linear(width, spec.codebooks * spec.card)
        self.register_buffer("positions", sinusoids(positions, width), persistent=False)
        offsets = torch.arange(spec.codebooks, device="cpu") * (spec.card + 1)
        self.register_buffer("offsets", offsets, persistent=False)

    def forward(
        self,
        tokens: Tensor,
        position: Tensor,
        self_keys: Sequence[Tensor],
        self_values: Sequence[Tensor],
        keys: Sequence[Tensor],
        values: Sequence[Tensor],
        guided: bool = True,
        attention: Attention | None = None,
        last_only: bool = False,
        trace: list[Tensor] | None = None,
        seeing: Seeing | None = None,
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Read T columns behind the cached ones.

        tokens: int64 [G, T, K]. position: int64 [G], columns cached already. self_keys, self_values: for each layer
        [G R, H, N, d]. keys, values: for each layer [F, H, d, P] and [F, H, P, d]. R is 2 when `guided`, else 1.
        Returns logits [G, R, T, K, card], T being 1 when `last_only`, and the caches. A `trace` list receives each layer's
        output [G, R, T, D].
        """
        rows = 2 if guided else 1
        x = self.embed(tokens, position).unsqueeze(1).expand(-1, rows, -1, -1)
        steps = position.repeat_interleave(rows)
        attention, seeing = attention or cached_attention, seeing or frame_attention
        new_keys, new_values = list[Tensor](), list[Tensor]()
        for i, layer in enumerate(self.stack()):
            x, k, v = layer(x, steps, (self_keys[i], self_values[i]), (keys[i], values[i]), attention, seeing)
            new_keys.append(k)
            new_values.append(v)
            if trace is not None:
                trace.append(x)
        if last_only:
            x = x[:, :, -1:]
        logits = self.logits(self.norm(x)).unflatten(-1, (self.spec.codebooks, self.spec.card))
        return logits, new_keys, new_values

    def embed(self, tokens: Tensor, position: Tensor) -> Tensor:
        """tokens: [G, T, K]; position: [G]. Returns the sum of the codebooks' embeddings and the position, [G, T, D]."""
        at = position.unsqueeze(1) + torch.arange(tokens.shape[1], device=tokens.device)
        return self.embedding(tokens + self.offsets).sum(2) + self.positions[at]

    def project(self, condition: Tensor, ages: Tensor | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """condition: [F, P, D]; ages: int64 [F], below A, of a model with ages.

        Returns each layer's cross-attention keys [F, H, d, P] and values [F, H, P, d].
        """
        if ages is not None and self.age_embedding is not None:
            condition = condition + self.age_embedding[ages].unsqueeze(1)
        pairs = [layer.project(condition) for layer in self.stack()]
        return [k for k, _ in pairs], [v for _, v in pairs]

    def stack(self) -> Iterator[DecoderLayer]:
        return (layer for layer in self.layers if isinstance(layer, DecoderLayer))

    def fold_norms(self, device: str, dtype: torch.dtype) -> None:
        """Leave nothing of the norms but mean and deviation; the function stays the same. All lies on the device then, matrices
        in this type: folded there and narrowed a layer at a time, for in float32 they take twice the memory."""
        for layer in self.stack():
            layer.to(device)
            layer.fold_norms()
            layer.narrow(dtype)
        self.to(device)
        self.logits.fold(self.norm)
        self.logits.to(dtype)

    def set_null(self, condition: Tensor) -> None:
        """condition: [1, P, D], the tokens of a black frame that attends to black frames."""
        for layer in self.stack():
            layer.null_keys, layer.null_values = layer.project(condition)


class DecoderLayer(nn.Module):
    null_keys: Tensor
    null_values: Tensor

    def __init__(self, spec: DecoderSpec, tokens: int) -> None:
        super().__init__()
        width = spec.width
        self.heads = spec.heads
        null = torch.zeros(1, spec.heads, spec.head_dim, tokens, device="cpu")
        self.register_buffer("null_keys", null, persistent=False)
        self.register_buffer("null_values", null.transpose(2, 3), persistent=False)
        self.norm_self = nn.LayerNorm(width)
        self.self_qkv = Linear(width, 3 * width)
        self.self_out = Linear(width, width)
        self.norm_cross = nn.LayerNorm(width)
        self.cross_q = Linear(width, width)
        self.cross_kv = Linear(width, 2 * width)
        self.cross_out = Linear(width, width)
        self.norm_ffn = nn.LayerNorm(width)
        self.ffn_in = Linear(width, spec.ffn_width)
        self.ffn_out = Linear(spec.ffn_width, width)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        cache: tuple[Tensor, Tensor],
        memory: tuple[Tensor, Tensor],
        attention: Attention,
        seeing: Seeing,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x: [G, R, T, D]. Returns the same shape and the self-attention cache."""
        qkv = self.self_qkv(self.norm_self(x)).flatten(0, 1)
        if cache[0].is_floating_point():
            qkv = qkv.to(cache[0].dtype)
        heard, keys, values = attention(qkv, *cache, position, self.heads)
        x = x + self.self_out(heard.to(x.dtype).view_as(x))
        x = x + self.cross_out(self._see(self.cross_q(self.norm_cross(x)), memory, seeing))
        x = x + self.ffn_out(F.gelu(self.ffn_in(self.norm_ffn(x))))
        return x, keys, values

    def _see(self, q: Tensor, memory: tuple[Tensor, Tensor], seeing: Seeing) -> Tensor:
        """Conditional rows attend to the frames, null rows to the null frame. q: [G, R, T, D]."""
        seen = [seeing(q[:, 0], *memory, self.heads)]
        if q.shape[1] == 2:
            seen.append(seeing(q[:, 1], self.null_keys, self.null_values, self.heads))
        return torch.stack(seen, dim=1)

    def fold_norms(self) -> None:
        """See `Decoder.fold_norms`. Before weights are narrowed."""
        self.self_qkv.fold(self.norm_self)
        self.cross_q.fold(self.norm_cross)
        self.ffn_in.fold(self.norm_ffn)

    def narrow(self, dtype: torch.dtype) -> None:
        """Matrices in fewer bits."""
        for module in self.modules():
            if isinstance(module, Linear):
                module.to(dtype)

    def project(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """condition: [F, P, D]. Returns keys [F, H, d, P] and values [F, H, P, d] in the precision of the weights.

        The keys carry the attention's scale d**-0.5, so that no step needs to apply it.
        """
        weight = self.cross_kv.weight
        k, v = F.linear(condition.to(weight.dtype), weight).unflatten(-1, (2, self.heads, -1)).unbind(2)
        scaled = k * k.shape[-1] ** -0.5
        return scaled.permute(0, 2, 3, 1).contiguous(), v.permute(0, 2, 1, 3).contiguous()


def frame_attention(q: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """Every query attends to every token of every frame.

    q: [G, T, D]; keys, scaled already: [F, H, d, P]; values: [F, H, P, d]. Returns [G, T, D]. Each frame's block is read where
    it lies: no frame is moved to make one long sequence. In a step every query is a product of its own, since the kernels
    for one row read their matrix in place, and those for more rows copy it first.
    """
    asked = q.unflatten(-1, (heads, -1)).to(keys.dtype)  # [G, T, H, d]
    if q.shape[1] == 1:
        asked, keys, values = (
            asked.unsqueeze(3).flatten(0, 1),
            keys.unsqueeze(1),
            values.unsqueeze(1),
        )  # [G, H, 1, d]
    else:
        asked = asked.flatten(0, 1).unsqueeze(0).transpose(1, 2)  # [1, H, GT, d]
    scores = torch.matmul(asked, keys).float()  # [F, G, H, 1, P], or [F, H, GT, P]
    weights = (scores - scores.amax((0, -1), keepdim=True)).exp()
    answer = torch.matmul(weights.to(values.dtype), values).float().sum(0) / weights.sum((0, -1)).unsqueeze(
        -1
    )
    if q.shape[1] > 1:
        answer = answer.transpose(0, 1)
    return answer.reshape(q.shape).to(q.dtype)


def cached_attention(
    qkv: Tensor, keys: Tensor, values: Tensor, position: Tensor, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Causal attention behind a cache, which is written in place. See `Attention` for the shapes."""
    rows, columns, _ = qkv.shape
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # [B, H, T, d] each
    at = position.unsqueeze(1) + torch.arange(columns, device=qkv.device)  # [B, T]
    row = torch.arange(rows, device=qkv.device).unsqueeze(1)
    keys[row, :, at] = k.transpose(1, 2)
    values[row, :, at] = v.transpose(1, 2)
    length = int(at.max()) + 1
    visible = torch.arange(length, device=qkv.device) <= at.unsqueeze(-1)  # [B, T, N]
    heard = F.scaled_dot_product_attention(
        q, keys[:, :, :length], values[:, :, :length], attn_mask=visible.unsqueeze(1)
    )
    return heard.transpose(1, 2).flatten(2), keys, values


def sinusoids(positions: int, width: int) -> Tensor:
    """[positions, width]: cosines of all frequencies, then sines; angle(p, j) = p / 10000^(j / (half - 1))."""
    half = width // 2
    frequency = 10000.0 ** (torch.arange(half, dtype=torch.float32, device="cpu") / (half - 1))
    angle = torch.arange(positions, dtype=torch.float32, device="cpu").unsqueeze(1) / frequency
    return torch.cat((angle.cos(), angle.sin()), dim=-1)


def empty_caches(
    spec: DecoderSpec, rows: int, positions: int, dtype: torch.dtype = torch.float32
) -> tuple[list[Tensor], list[Tensor]]:
    """Self-attention caches of every layer, [rows, H, positions, d] each."""
    shape = (rows, spec.heads, positions, spec.head_dim)

    def empty() -> list[Tensor]:
        return [torch.zeros(shape, dtype=dtype) for _ in range(spec.layers)]

    return empty(), empty()
