"""What ours is compared with: the decoder of `transformers` MusicGen, of one geometry with ours, run as
users run it.

It takes as many condition tokens as VidMuse's frames give. Guidance is two rows that both attend to all
of them; cross-attention keys and values are cached, as in `generate`; no mask is passed, which favours
it. Weights are random, each layer with its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import MusicgenDecoderConfig, MusicgenForCausalLM
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache, StaticCache

from cuestream.cases import Case, cache_numbers
from engine.spec import ModelSpec

MAX_POSITIONS = 2048
ATTENTIONS = ("sdpa", "eager")
CACHES = ("dynamic", "static")
"""`generate` takes a dynamic cache, which is copied at each step; a static one has room for the whole run."""

Advance = Callable[[int], None]


class Musicgen:
    """The decoder, and steps behind caches of any length."""

    def __init__(self, spec: ModelSpec, dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(0)
        self.spec, self.dtype = spec, dtype
        model: Any = MusicgenForCausalLM(_config(spec))
        self.model = model.to(dtype).eval()

    def ways(self) -> Iterator[tuple[str, str]]:
        """(attention, cache): all that a user may choose."""
        return ((attention, cache) for attention in ATTENTIONS for cache in CACHES)

    @torch.inference_mode()
    def steps(self, case: Case, way: tuple[str, str], room: int) -> Advance:
        """A function that reads one more column; it may be called `room` times."""
        attention, kind = way
        self.model.set_attn_implementation(attention)
        caches = self._caches(case, kind, room)
        decoder = self.spec.decoder
        tokens = torch.randint(decoder.card, (case.rows * decoder.codebooks, 1))
        seen = torch.zeros(case.rows, case.frames * self.spec.vision.tokens, decoder.width, dtype=self.dtype)

        @torch.inference_mode()
        def advance(_: int) -> None:
            self.model(tokens, encoder_hidden_states=seen, past_key_values=caches, use_cache=True)

        return advance

    def _caches(self, case: Case, kind: str, room: int) -> EncoderDecoderCache:
        config = self.model.config
        length = case.length + room
        own: Cache = DynamicCache(config=config) if kind == "dynamic" else StaticCache(config, length)
        cross = DynamicCache(config=config)
        self._fill(own, case.rows, case.length)
        self._fill(cross, case.rows, case.frames * self.spec.vision.tokens)
        return EncoderDecoderCache(own, cross)

    def _fill(self, cache: Cache, rows: int, length: int) -> None:
        """Each layer has memory of its own; that the numbers in it repeat changes no time."""
        noise = torch.rand(rows, self.spec.decoder.heads, length, self.spec.decoder.head_dim).to(self.dtype)
        for layer in range(self.spec.decoder.layers):
            cache.update(noise.clone(), noise.clone(), layer)

    def bytes_a_step(self, case: Case) -> int:
        """Weights and caches read once; the copies of a dynamic cache are not counted."""
        weights: int = sum(
            x.nbytes
            for name, x in self.model.named_parameters()
            if "embed" not in name and "encoder_attn.k_proj" not in name and "encoder_attn.v_proj" not in name
        )
        return weights + cache_numbers(self.spec, case, case.rows) * self.dtype.itemsize


def _config(spec: ModelSpec) -> MusicgenDecoderConfig:
    decoder = spec.decoder
    geometry: dict[str, Any] = {
        "vocab_size": decoder.card,
        "max_position_embeddings": MAX_POSITIONS,
        "num_hidden_layers": decoder.layers,
        "ffn_dim": decoder.ffn_width,
        "num_attention_heads": decoder.heads,
        "hidden_size": decoder.width,
        "num_codebooks": decoder.codebooks,
        "pad_token_id": decoder.card,
        "bos_token_id": decoder.card,
    }
    return MusicgenDecoderConfig(**geometry)
