"""Four bits a weight, each at the nearest level of its block: quick, without having heard the model's music.

How a block of four bits is scaled and laid out is said here, for GPTQ as well (`export.gptq`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from export.quantise import Rounded, block_of, packed_nibbles

FOUR = 4
HALF = 1 << (FOUR - 1)
SHRUNK = (1.0, 0.95, 0.9, 0.85, 0.8)
"""A block's scale is tried at so much of its largest weight; the one that moves the block least is taken."""
ROWS = 64
"""Outputs that are rounded together: what is tried of them stays in the processor's cache."""


def nearest(weight: Tensor) -> Rounded:
    """weight [N, K]. K is filled up with zeros, and zeros stay zeros."""
    block = block_of(weight.shape[1])
    blocks = F.pad(weight, (0, -weight.shape[1] % block)).unflatten(1, (-1, block))
    parts = [_rounded(rows) for rows in blocks.split(ROWS)]
    return in_four_bits(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _rounded(blocks: Tensor) -> tuple[Tensor, Tensor]:
    scales = scale_of(blocks)
    return steps_of(blocks, scales[..., None]), scales


def scale_of(blocks: Tensor) -> Tensor:
    """blocks [..., block] to the size of a step in each, [...]."""
    largest = blocks.abs().amax(-1).clamp(min=1e-12)
    tried = [largest * share / (HALF - 0.5) for share in SHRUNK]
    errors = torch.stack([_moved(blocks, scale) for scale in tried])
    return torch.stack(tried).gather(0, errors.argmin(0, keepdim=True))[0]


def steps_of(weights: Tensor, scale: Tensor) -> Tensor:
    """Whole numbers of steps, from -8 to 7: what is beyond is cut off."""
    return (weights / scale).round().clamp(-HALF, HALF - 1)


def in_four_bits(steps: Tensor, scales: Tensor) -> Rounded:
    """steps [N, blocks, block]; scales [N, blocks]."""
    return Rounded(packed_nibbles((steps + HALF).to(torch.uint8).numpy()), scales.numpy(), FOUR)


def _moved(blocks: Tensor, scale: Tensor) -> Tensor:
    scale = scale[..., None]
    return (steps_of(blocks, scale) * scale - blocks).square().sum(-1)
