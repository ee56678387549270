"""What fewer bits change: the same stream by the plain model in float32 and by ours, on the same columns and on its own."""

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
from engine.stream import MAX_UNTAKEN_STEPS, ScoreStream
from export.imagined import picture, watched

FRAMES, SEED = 20, 3


@dataclass(frozen=True, slots=True)
class FidelityRow:
    """Under guidance. Over steps, each behind the columns that the plain model drew, and of two whole streams.

    logits: root mean square of the difference over that of the plain ones, without what all tokens have in common. greedy: tokens
    of which the likeliest is the same. drawn: tokens that the same draws give. alike: columns that two streams have in common
    before they part, when each plays its own likeliest tokens; of so many that were played.
    """

    setting: str
    steps: int
    logits: float
    greedy: float
    drawn: float
    alike: int
    played: int


def fidelity(setting: str, plain: TorchBackend, ours: LockstepBackend, steps: int) -> FidelityRow:
    """plain: the same weights in float32. Behind its columns no more steps are compared than a segment plays, and streams play no
    more than may wait to be taken."""
    held, played = min(steps, plain.spec.trained_steps), min(steps, MAX_UNTAKEN_STEPS)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # as it comes, its convolutions do
        behind = _on_its_columns(plain, ours, held)
        return FidelityRow(setting, held, *behind, _alike(plain, ours, played), played)


@torch.inference_mode()
def _on_its_columns(plain: TorchBackend, ours: LockstepBackend, steps: int) -> tuple[float, float, float]:
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
    return logits.relative, greedy / steps, drawn / steps


def _alike(plain: TorchBackend, ours: LockstepBackend, steps: int) -> int:
    """Each with its own eyes, across hand-overs."""
    policy = StreamPolicy(seed=SEED, temperature=0)
    streams = [ScoreStream(backend, policy) for backend in (plain, ours)]
    for step, _ in zip(*(watched(stream, steps, SEED) for stream in streams), strict=True):
        first, second = (stream.segments.columns[-1] for stream in streams)
        if not np.array_equal(first, second):
            return step
    return steps


def _seeing(backend: Backend[Any, Any], films: np.ndarray) -> Any:
    features = backend.encode_frames(films)
    tokens = backend.fuse(backend.look(features), backend.remember(features))
    condition = backend.new_condition(FRAMES)
    backend.write_condition(condition, 0, tokens)
    return condition
