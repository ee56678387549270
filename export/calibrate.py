"""How large keys and values of a decoder are, so that caches of eight bits hold them: measured on the model's own music."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.backends.torch import TorchBackend
from engine.model.vidmuse import VidMuse
from engine.spec import StreamPolicy
from engine.stream import ScoreStream
from export.imagined import watched

STEPS = 750
"""Of music that is played for it: 15 seconds, five scenes; two minutes of work at the small geometry. After three seconds of one
scene half of the starter's channels were later cut off, and its cross-entropy rose by 5 %."""
MARGIN = 1.5
"""What is larger than anything seen by more than this is cut off."""
LARGEST = 127


@dataclass(frozen=True, slots=True)
class CacheScales:
    """Of one layer: float32 [1, H, 1, d]; a number in the cache times its scale is a key, or a value."""

    keys: Tensor
    values: Tensor


def cache_scales(model: VidMuse, seed: int = 0) -> list[CacheScales]:
    """Each layer's, by the channel."""
    backend = TorchBackend(model)
    stream = ScoreStream(backend, StreamPolicy(guidance=model.spec.decoder.guidance, seed=seed))
    steps = min(STEPS, model.spec.trained_steps - 1)
    for _ in watched(stream, model.spec, steps, seed):
        pass
    held = backend.read_caches(stream.segments.caches, stream.segments.leading.slot, steps)
    largest = np.abs(held).max(axis=(2, 4))  # [L, 2, H, d]
    scales = torch.from_numpy(largest * MARGIN / LARGEST).clamp(min=1e-6)[:, :, None, :, None, :]
    return [CacheScales(keys, values) for keys, values in scales]
