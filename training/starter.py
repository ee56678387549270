"""The starter model's geometry: VidMuse at a size that two CPU cores train in an hour and play in real time."""

from __future__ import annotations

from engine.spec import (
    CLIP_MEAN,
    CLIP_STD,
    DecoderSpec,
    LongShortSpec,
    ModelSpec,
    OscillatorSpec,
    VisionSpec,
)

CODEC = OscillatorSpec()
MOTION_MEAN, MOTION_STD = 0.3, 0.3
VISION = VisionSpec(
    width=128,
    layers=3,
    heads=4,
    mlp_width=256,
    image_size=64,
    patch_size=32,
    mean=(*CLIP_MEAN, MOTION_MEAN),
    std=(*CLIP_STD, MOTION_STD),
    motion=True,
)
LONG_SHORT = LongShortSpec(
    depth=1, heads=4, head_dim=32, mlp_width=256, fusion_heads=4, frame_rate=2, recalled=16
)
DECODER = DecoderSpec(
    width=192,
    layers=6,
    heads=4,
    ffn_width=768,
    codebooks=4,
    card=1024,
    delays=(0, 1, 2, 3),
    trained_s=15.0,
    guidance=2.0,
    ages=8,
)
RECOMMENDED = {"short_term_s": 6.0, "recalled": 16}
"""How it is best played: fields of `StreamPolicy`. Measured in RUNS.md."""


def spec() -> ModelSpec:
    return ModelSpec("starter", VISION, LONG_SHORT, DECODER, CODEC)
