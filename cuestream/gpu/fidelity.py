"""What fewer bits change: the same stream by the plain model in float32 and by ours, on the same columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from engine.backends.base import Backend
from engine.backends.beside import Difference, centred
from engine.backends.lockstep import LockstepBackend
from engine.backends.torch import TorchBackend
from engine.sampling import guide, sample
from engine.spec import StreamPolicy
from export.imagined import picture

FRAMES, SEED = 20, 3


@dataclass(frozen=True, slots=True)
class FidelityRow:
    """Over steps with guidance, each behind the columns that the plain model drew.

    logits: root mean square of the difference over that of the plain ones, without what all tokens have in common. greedy: tokens
    of which the likeliest is the same. drawn: tokens that the same draws give.
    """

    setting: str
    steps: int
    logits: float
    greedy: float
    drawn: float


@torch.inference_mode()
def fidelity(setting: str, plain: TorchBackend, ours: LockstepBackend, steps: int) -> FidelityRow:
    """plain: the same weights in float32."""
    spec, policy = plain.spec, StreamPolicy(seed=SEED)
    films = np.stack([picture(spec.vision.image_size, 25 * i, spec.code_rate, SEED) for i in range(FRAMES)])
    films = np.pad(films, ((0, 0), (0, 0), (0, 0), (0, spec.vision.planes - 3)))  # nothing moves
    both: tuple[Backend[Any, Any], ...] = (plain, ours)
    conditions = [_seeing(backend, films) for backend in both]
    caches = [backend.new_caches(1, True, spec.trained_steps) for backend in both]
    column = np.full(spec.decoder.codebooks, spec.decoder.special)
    logits, greedy, drawn = Difference(), 0.0, 0.0
    for position in range(steps):
        tokens = np.where(np.arange(len(column)) < position, column, spec.decoder.special)[None, None]
        at = np.array([position])
        first, second = (
            backend.step(held, 0, seen, FRAMES, tokens, at)[0]
            for backend, held, seen in zip(both, caches, conditions, strict=True)
        )
        logits.note(centred(first), centred(second))
        greedy += float((guide(first, 3.0).argmax(-1) == guide(second, 3.0).argmax(-1)).mean())
        column = sample(first, policy, position + 1)
        drawn += float((column == sample(second, policy, position + 1)).mean())
    return FidelityRow(setting, steps, logits.relative, greedy / steps, drawn / steps)


def _seeing(backend: Backend[Any, Any], films: np.ndarray) -> Any:
    features = backend.encode_frames(films)
    tokens = backend.fuse(backend.look(features), backend.remember(features))
    condition = backend.new_condition(FRAMES)
    backend.write_condition(condition, 0, tokens)
    return condition
