"""Models with random weights, seeded by name: the smallest one ships as `models/random-tiny`, larger ones are for benchmarks.

Their music is noise. Every tensor is drawn on its own, so no two layers share weights: a benchmark that repeats one matrix
reads it from the cache and flatters itself.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from engine.model.vidmuse import VidMuse
from engine.spec import (
    CLIP_MEAN,
    CLIP_STD,
    CodecSpec,
    DecoderSpec,
    LongShortSpec,
    ModelSpec,
    OscillatorSpec,
    VisionSpec,
)
from export.checkpoint import Package

ENCODEC_32KHZ = CodecSpec(
    sample_rate=32000,
    codebooks=4,
    codebook_size=2048,
    codebook_dim=128,
    filters=64,
    ratios=(8, 5, 4, 4),
    kernel=7,
    last_kernel=7,
    residual_kernel=3,
    residual_layers=1,
    dilation_growth=2,
    compress=2,
    lstm_layers=2,
    conv_shortcut=False,
)
CLIP_VIT_B_32 = VisionSpec(width=768, layers=12, heads=12, mlp_width=3072, image_size=224, patch_size=32)


def spec_of(size: str) -> ModelSpec:
    """`tiny`, `nano`, or a size of `published_spec`."""
    own = {"tiny": tiny_spec, "nano": nano_spec}
    return own[size]() if size in own else published_spec(size)


def tiny_spec() -> ModelSpec:
    """A model of 0.3 M parameters with every part that a real one has."""
    return ModelSpec(
        name="random-tiny",
        vision=VisionSpec(width=48, layers=2, heads=3, mlp_width=96, image_size=56, patch_size=8),
        long_short=_long_short(depth=1, heads=4, head_dim=16, mlp_width=96),
        decoder=_decoder(width=64, layers=2, heads=4, card=128),
        codec=replace(ENCODEC_32KHZ, codebook_size=128, codebook_dim=32, filters=4),
    )


def nano_spec() -> ModelSpec:
    """A tiny model of the starter model's kind: frames with motion and age, an oscillator codec."""
    tiny = tiny_spec()
    return replace(
        tiny,
        name="random-nano",
        vision=replace(tiny.vision, mean=(*CLIP_MEAN, 0.3), std=(*CLIP_STD, 0.3), motion=True),
        decoder=replace(tiny.decoder, ages=6),
        codec=OscillatorSpec(
            codebook_size=128,
            codebook_dim=8,
            width=16,
            layers=2,
            partials=40,
            partials_per_octave=6,
            noise_bands=4,
            period=100,
        ),
    )


def published_spec(size: str) -> ModelSpec:
    """The geometry of a published size, `small` or `medium` (the released one), with CLIP and EnCodec as they are."""
    width, layers, heads = {"small": (1024, 24, 16), "medium": (1536, 48, 24)}[size]
    return ModelSpec(
        name=f"random-{size}",
        vision=CLIP_VIT_B_32,
        long_short=_long_short(depth=2, heads=heads, head_dim=64, mlp_width=3072),
        decoder=_decoder(width=width, layers=layers, heads=heads, card=2048),
        codec=ENCODEC_32KHZ,
    )


def _long_short(depth: int, heads: int, head_dim: int, mlp_width: int) -> LongShortSpec:
    return LongShortSpec(depth, heads, head_dim, mlp_width, fusion_heads=3, frame_rate=2, recalled=32)


def _decoder(width: int, layers: int, heads: int, card: int) -> DecoderSpec:
    return DecoderSpec(
        width=width,
        layers=layers,
        heads=heads,
        ffn_width=4 * width,
        codebooks=4,
        card=card,
        delays=(0, 1, 2, 3),
        trained_s=30.0,
        guidance=3.0,
    )


def random_package(spec: ModelSpec, seed: int = 0) -> Package:
    """Weights of unit gain for each tensor of the model; the same seed gives the same bits on every machine."""
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in VidMuse(spec).state_dict().items()}
    return Package(spec, {key: _draw(key, shape, seed) for key, shape in shapes.items()})


def _draw(key: str, shape: tuple[int, ...], seed: int) -> Tensor:
    generator = np.random.Generator(np.random.Philox(key=(zlib.crc32(key.encode()) << 32) + seed))
    x = torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
    if len(shape) == 1:
        is_gain = "norm" in key and key.endswith("weight")
        return 1 + 0.1 * x if is_gain else 0.05 * x
    if "embedding" in key or "positions" in key or "codebooks" in key:
        return 0.5 * x
    fan_in = (
        shape[0] * 2 if ".up." in key else math.prod(shape[1:])
    )  # a transposed sample has two inputs a channel
    return x * (1.5 if "logits" in key else 1.0) / math.sqrt(fan_in)
