"""Music to the codec's tokens, with as few changes as the sound allows: steady sounds get steady codes, which are easy to learn.

A change of code costs as much as an error of `CHANGE_COST` in the latent; the cheapest path is found exactly (Viterbi 1967).

Letters: K parts, T frames, N amplitudes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.codec.learner import CodecModel, PartCodec

CHANGE_COST = 3.0
"""In squared latent units; each of a latent's dimensions has a variance of 1."""


@torch.no_grad()
def tokens(model: CodecModel, amplitudes: Tensor, change_cost: float = CHANGE_COST) -> NDArray[np.int16]:
    """amplitudes: compressed [K, T, N] from the beginning of a piece. Returns codes [K, T]."""
    model.eval()
    return np.stack(
        [
            steady(_distances(part, x.float()).numpy(), change_cost)
            for part, x in zip(model.each(), amplitudes, strict=True)
        ]
    )


def _distances(part: PartCodec, x: Tensor) -> Tensor:
    """[T, N] to [T, codes]; before its beginning a piece was silent."""
    z = part.encoder(torch.cat((x.new_zeros(part.encoder.context, x.shape[1]), x)).unsqueeze(0))[0]
    return part.quantiser.distances(z)


def steady(distances: NDArray[np.float32], change_cost: float) -> NDArray[np.int16]:
    """distances: [T, codes]. Returns the path [T] of least distance and changes."""
    steps, codes = distances.shape
    cost, stays = distances[0].astype(np.float64), np.zeros((steps, codes), bool)
    cheapest = np.zeros(steps, np.int64)
    for t in range(1, steps):
        cheapest[t] = cost.argmin()
        change = cost[cheapest[t]] + change_cost
        stays[t] = cost <= change
        cost = np.where(stays[t], cost, change) + distances[t]
    path = np.zeros(steps, np.int16)
    path[-1] = cost.argmin()
    for t in range(steps - 1, 0, -1):
        path[t - 1] = path[t] if stays[t, path[t]] else cheapest[t]
    return path
