"""What an export of few bits has to know of a model: how large its keys and values are, and which inputs of a matrix go together.

Measured on the model's own music, which it plays to a seeded video before it is exported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.backends.base import U8
from engine.backends.torch import TorchBackend
from engine.model.decoder import Decoder, Linear
from engine.model.vidmuse import VidMuse
from engine.spec import StreamPolicy
from engine.stream import ScoreStream
from export.imagined import picture, watched

STEPS = 750
"""Of music that is played for it: 15 seconds, five scenes; two minutes of work at the small geometry. After three seconds of one
scene half of the starter's channels were later cut off, and its cross-entropy rose by 5 %."""
QUICK_STEPS = 250
"""The same five scenes in a third of the time, for an export that is to be had soon. The starter's scales are then 0.92 of the
others in the median, and 6 % of its channels are below what `MARGIN` covers."""
LOOK_STEPS = 25
"""How often the condition is measured."""
MARGIN = 1.5
"""What is larger than anything seen by more than this is cut off."""
LARGEST = 127
FOLD_ROWS = 256
"""Inputs that are collected before their products are summed."""


@dataclass(frozen=True, slots=True)
class CacheScales:
    """Of one layer: float32 [1, H, 1, d]; a number in the cache times its scale is a key, or a value."""

    keys: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True)
class Calibration:
    """heard, seen: scales of self- and cross-attention, layer by layer; none is seen of a model with ages, whose condition is
    kept in floats. moments: of each matrix of the decoder by its name, the sums [K, K] of products of its inputs."""

    heard: list[CacheScales] = field(default_factory=list)
    seen: list[CacheScales] = field(default_factory=list)
    moments: dict[str, Tensor] = field(default_factory=dict)


def calibrate(model: VidMuse, steps: int, moments: bool = False) -> Calibration:
    """Play, and measure. moments: whether those of the matrices are wanted, which takes as long again. Fewer steps than STEPS are
    shown the same scenes, faster."""
    backend = TorchBackend(model)
    stream = ScoreStream(backend, StreamPolicy(guidance=model.spec.decoder.guidance))
    faster, steps = STEPS // steps, min(steps, model.spec.trained_steps - 1)
    largest_seen = np.zeros((), np.float32)
    summed = dict[str, _Moments]()
    with _inputs_of(model.decoder, summed) if moments else nullcontext():
        for step in watched(stream, steps, 0, _sped_up(faster)):
            if step % LOOK_STEPS == 0 and not model.spec.decoder.ages:
                held = backend.read_condition(stream.sight.condition, stream.sight.frames)
                largest_seen = np.maximum(largest_seen, np.abs(held).max(2))  # [L, 2, H d P]
    held = backend.read_caches(stream.segments.caches, stream.segments.leading.slot, steps)
    return Calibration(
        _scales(np.abs(held).max(axis=(2, 4))),
        _scales(_by_channel(largest_seen, model)) if largest_seen.ndim else [],
        {name: of.sums() for name, of in summed.items()},
    )


def _sped_up(faster: int) -> Callable[[int, int, int, int], U8]:
    return lambda side, step, code_rate, seed: picture(side, step * faster, code_rate, seed)


def matrices_of_a_step(decoder: Decoder) -> Iterator[tuple[str, Linear]]:
    """The decoder's matrices by their names; the condition's own are left out."""
    for name, module in decoder.named_modules():
        if isinstance(module, Linear) and not name.endswith("cross_kv"):
            yield name, module


def _by_channel(largest: NDArray[np.float32], model: VidMuse) -> NDArray[np.float32]:
    """Keys lie as [H, d, P] and values as [H, P, d] in a condition: [L, 2, H d P] to [L, 2, H, d]."""
    spec, tokens = model.spec.decoder, model.spec.vision.tokens
    keys = largest[:, 0].reshape(-1, spec.heads, spec.head_dim, tokens).max(-1)
    values = largest[:, 1].reshape(-1, spec.heads, tokens, spec.head_dim).max(-2)
    return np.stack((keys, values), axis=1)


def _scales(largest: NDArray[np.float32]) -> list[CacheScales]:
    """largest: [L, 2, H, d]."""
    scales = torch.from_numpy(largest * MARGIN / LARGEST).clamp(min=1e-6)[:, :, None, :, None, :]
    return [CacheScales(keys, values) for keys, values in scales]


class _Moments:
    """Sums of products of inputs, [K, K], in pieces."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []  # bound: FOLD_ROWS and one call's
        self._sums: Tensor | None = None

    def note(self, x: Tensor) -> None:
        self._rows.append(x.flatten(0, -2).clone())
        if sum(map(len, self._rows)) >= FOLD_ROWS:
            self._fold()

    def sums(self) -> Tensor:
        self._fold()
        assert self._sums is not None
        return self._sums

    def _fold(self) -> None:
        if self._rows:
            rows = torch.cat(self._rows)
            self._sums = rows.T @ rows + (0 if self._sums is None else self._sums)
            self._rows.clear()


@contextmanager
def _inputs_of(decoder: Decoder, summed: dict[str, _Moments]) -> Iterator[None]:
    """While it is open, what the decoder's matrices are given is summed."""

    def watch(name: str, module: Linear) -> torch.utils.hooks.RemovableHandle:
        moments = summed[name] = _Moments()
        return module.register_forward_pre_hook(lambda _, inputs: moments.note(inputs[0]))

    handles = [watch(name, module) for name, module in matrices_of_a_step(decoder)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
