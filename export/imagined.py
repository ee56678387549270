"""A seeded video for whoever needs music of a model and has no film: scenes of smooth colours that move, and cuts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import U8
from engine.stream import ScoreStream

SCENE_S, FRAME_STEPS = 3, 5
"""A cut every three seconds, a picture each 0.1 s at 50 steps a second."""
COARSE = 6
"""A scene is so many random colours each way, made smooth."""


def picture(side: int, step: int, code_rate: int, seed: int) -> U8:
    """[S, S, 3] of a scene that moves sideways."""
    scene = step // (SCENE_S * code_rate)
    random = np.random.default_rng((seed, scene))
    coarse = random.uniform(0, 255, (COARSE, COARSE, 3))
    at = np.linspace(0, COARSE, side, endpoint=False)
    moved = (at + step * random.uniform(0.005, 0.05)) % COARSE
    return _between(_between(coarse, at, 0), moved, 1).astype(np.uint8)


def _between(values: NDArray[np.float64], at: Any, axis: int) -> Any:
    """Read along an axis that closes on itself, between its places."""
    low = np.floor(at).astype(int)
    part = (at - low).reshape([-1 if a == axis else 1 for a in range(3)])
    here, next_ = (np.take(values, (low + i) % values.shape[axis], axis) for i in (0, 1))
    return here * (1 - part) + next_ * part


def watched(stream: ScoreStream, steps: int, seed: int, draw: Callable[..., U8] = picture) -> Iterator[int]:
    """Show it to a stream that plays so many steps; yields after each."""
    spec = stream.backend.spec
    for step in range(steps):
        if step % FRAME_STEPS == 0:
            stream.push(draw(spec.vision.image_size, step, spec.code_rate, seed))
        stream.advance()
        yield step
