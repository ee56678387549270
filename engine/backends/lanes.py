"""The decoder as a step of many lanes reads it: its weights with norms folded into them, and what a step launches.

The letters are those of `engine.backends.lockstep`; M rows of all lanes and segments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from engine.backends.places import SEGMENTS, CachePool, Pool
from engine.backends.program import Inputs
from engine.model.decoder import Decoder, DecoderLayer, Linear
from kernels.attention import cross_attention, self_attention
from kernels.columns import rows_of
from kernels.linear import MOST_ROWS, Weight, linear, quantise
from kernels.norms import add_norm
from kernels.store import Store


class LaneDecoder:
    """Steps of a decoder whose norms are folded. bits: of its weights, 16, 8 or 4. dtype: of activations between them; the
    residual stream is float32."""

    def __init__(self, decoder: Decoder, dtype: torch.dtype, bits: int) -> None:
        self._decoder, self.spec, self._dtype = decoder, decoder.spec, dtype
        self._layers = [_Layer.of(layer, bits) for layer in decoder.stack()]
        self._logits = _held_in(decoder.logits, bits)

    def forward(self, inputs: Inputs, caches: CachePool, condition: Pool, leading: Tensor | None) -> Tensor:
        """A step of B lanes. leading: int64 [B], which of the B * S segments each lane's logits are wanted of, or None for all.

        Returns logits [B, 1 or S, R, K, card], float32.
        """
        decoder, spec, rows = self._decoder, self.spec, caches.rows
        lanes = len(inputs.position)
        x = rows_of(inputs.tokens, inputs.position, decoder.embedding.weight, decoder.positions, rows)
        few = len(x) <= MOST_ROWS
        x = (self._few if few else self._many)(x, inputs, caches, condition)
        if leading is not None:
            x = x.view(lanes * SEGMENTS, -1).index_select(0, leading).view(lanes * rows, -1)
        logits = linear(x, self._logits, norm=few, out_dtype=torch.float32)
        return logits.view(lanes, -1, rows, spec.codebooks, spec.card)

    def _few(self, x: Tensor, inputs: Inputs, caches: CachePool, condition: Pool) -> Tensor:
        """Rows [M, D] through all layers, each product with what surrounds it. Returns the residual stream, float32.

        The launches are a chain (`kernels.dependent`): they read weights, caches and what `inputs` say while others still run.
        """
        chained = partial(linear, dependent=True)
        for layer, own, seen in self._stack(caches, condition):
            qkv = chained(x, layer.self_qkv, norm=True, out_dtype=self._dtype)
            x = chained(self._hear(qkv, own, inputs, True), layer.self_out, residual=x)
            q = chained(x, layer.cross_q, norm=True, out_dtype=self._dtype)
            x = chained(self._see(q, layer, seen, inputs, True), layer.cross_out, residual=x)
            inner = chained(x, layer.ffn_in, norm=True, gelu=True, out_dtype=self._dtype)
            x = chained(inner, layer.ffn_out, residual=x)
        return x

    def _many(self, x: Tensor, inputs: Inputs, caches: CachePool, condition: Pool) -> Tensor:
        """The same by the library's products, with sums and norms between them. Returns the last norm, in the weights' type."""
        x, normed = add_norm(x.contiguous(), None, self._dtype)
        for layer, own, seen in self._stack(caches, condition):
            y = linear(self._hear(linear(normed, layer.self_qkv), own, inputs, False), layer.self_out)
            x, normed = add_norm(x, y, self._dtype)
            y = linear(self._see(linear(normed, layer.cross_q), layer, seen, inputs, False), layer.cross_out)
            x, normed = add_norm(x, y, self._dtype)
            y = linear(linear(normed, layer.ffn_in, gelu=True), layer.ffn_out)
            x, normed = add_norm(x, y, self._dtype)
        return normed

    def _stack(
        self, caches: CachePool, condition: Pool
    ) -> Iterator[tuple[_Layer, tuple[Store, Store], tuple[Store, Store]]]:
        return zip(self._layers, caches.layers, condition.layers, strict=True)

    def _hear(self, qkv: Tensor, own: tuple[Store, Store], inputs: Inputs, dependent: bool) -> Tensor:
        """qkv: [M, 3 D]. Returns [M, D]."""
        spec = self.spec
        by_head = qkv.view(len(inputs.position), SEGMENTS, -1, 3, spec.heads, spec.head_dim)
        heard = self_attention(by_head, *own, inputs.cache_place, inputs.position, dependent=dependent)
        return heard.view(-1, spec.width)

    def _see(
        self, q: Tensor, layer: _Layer, seen: tuple[Store, Store], inputs: Inputs, dependent: bool
    ) -> Tensor:
        """q: [M, D]. Returns the same shape."""
        spec = self.spec
        by_head = q.view(len(inputs.position), SEGMENTS, -1, spec.heads, spec.head_dim)
        nobody = layer.null_keys, layer.null_values
        where = inputs.condition_place, inputs.seen
        sight = cross_attention(by_head, *seen, *where, *nobody, dependent=dependent)
        return sight.view(-1, spec.width)

    @property
    def nbytes(self) -> int:
        """Read in each step."""
        return sum(layer.nbytes for layer in self._layers) + self._logits.nbytes


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer's weights as a step reads them, norms folded into them. null_keys, null_values: [H, P, d]."""

    self_qkv: Weight
    self_out: Weight
    cross_q: Weight
    cross_out: Weight
    ffn_in: Weight
    ffn_out: Weight
    null_keys: Tensor
    null_values: Tensor

    @classmethod
    def of(cls, layer: DecoderLayer, bits: int) -> _Layer:
        return cls(
            _held_in(layer.self_qkv, bits),
            _held_in(layer.self_out, bits),
            _held_in(layer.cross_q, bits),
            _held_in(layer.cross_out, bits),
            _held_in(layer.ffn_in, bits),
            _held_in(layer.ffn_out, bits),
            layer.null_keys[0].transpose(1, 2).contiguous(),
            layer.null_values[0].contiguous(),
        )

    @property
    def nbytes(self) -> int:
        """Read in each step."""
        mats = (self.self_qkv, self.self_out, self.cross_q, self.cross_out, self.ffn_in, self.ffn_out)
        return sum(w.nbytes for w in mats) + self.null_keys.nbytes + self.null_values.nbytes


def _held_in(linear: Linear, bits: int) -> Weight:
    return quantise(linear.weight.data, bits, bias=None if linear.bias is None else linear.bias.data)
