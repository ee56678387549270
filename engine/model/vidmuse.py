"""The whole model in one module: eyes, long-short-term module, decoder; the codec beside them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.model.codec import CodecDecoder
from engine.model.decoder import Decoder
from engine.model.long_short import FrameBranch, Fusion
from engine.model.oscillator import OscillatorCodec
from engine.model.vision import VisionTower
from engine.spec import AnyCodecSpec, ModelSpec, OscillatorSpec


class VidMuse(nn.Module):
    """Weights of one checkpoint. `codec` is None when the package only points to one that is elsewhere."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        width, tokens = spec.vision.width, spec.vision.tokens
        self.spec = spec
        self.vision = VisionTower(spec.vision)
        self.short_branch = FrameBranch(spec.long_short, tokens, width)
        self.long_branch = FrameBranch(spec.long_short, tokens, width)
        self.fusion = Fusion(spec.long_short, width, spec.decoder.width)
        self.decoder = Decoder(spec.decoder, tokens, spec.max_positions)
        self.codec = _codec(spec.codec)

    def condition(self, short: Tensor, long: Tensor) -> Tensor:
        """short: uint8 [F, S, S, C]; long: uint8 [M, S, S, C]. Returns condition tokens [F, P, D]."""
        looked = self.short_branch(self.vision(short)[1])
        recalled = self.fusion.remember(self.long_branch(self.vision(long)[1]))
        tokens: Tensor = self.fusion(looked, recalled)[1]
        return tokens

    def narrow(self, dtype: torch.dtype) -> None:
        """Matrices and caches in fewer bits; the residual stream, norms, embeddings, softmax and the codec stay float32."""
        halves: tuple[nn.Module, ...] = (self.vision.clip, self.short_branch, self.long_branch, self.fusion)
        for half in halves:
            half.to(dtype)
        for layer in self.decoder.stack():
            layer.narrow(dtype)
        self.decoder.logits.to(dtype)
        self.settle_null()

    @torch.no_grad()
    def settle_null(self) -> None:
        """Compute what the weights alone decide, once they are in: the null condition, a black frame among black frames."""
        side, planes = self.spec.vision.image_size, self.spec.vision.planes
        black = torch.zeros(1, side, side, planes, dtype=torch.uint8, device=self.decoder.positions.device)
        self.decoder.set_null(self.condition(black, black))


def _codec(spec: AnyCodecSpec | None) -> CodecDecoder | OscillatorCodec | None:
    if isinstance(spec, OscillatorSpec):
        return OscillatorCodec(spec)
    return CodecDecoder(spec) if spec else None
