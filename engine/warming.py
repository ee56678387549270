"""Playing before anybody listens: kernels are compiled, graphs made and libraries opened then, and not while somebody waits."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.backends.base import Backend
from engine.batcher import advance_all
from engine.spec import StreamPolicy
from engine.stream import ScoreStream
from engine.together import take_all

SECONDS = 1.2
"""Slots of the window open, what was seen before is refreshed, and chunks come that are neither the first one nor the last."""
PICTURE_STEPS = 5


def warm(backend: Backend[Any, Any], policy: StreamPolicy) -> None:
    """Play one stream, in the way of those that play together."""
    side, noise = backend.spec.vision.image_size, np.random.default_rng(0)
    stream = ScoreStream(backend, policy)
    for step in range(round(SECONDS * backend.spec.code_rate)):
        if step % PICTURE_STEPS == 0:
            stream.push(noise.integers(0, 255, (side, side, 3), np.uint8))
        raised = [*advance_all([(stream, 1)]), *take_all([stream])]
        for error in raised:
            if isinstance(error, Exception):
                raise error
