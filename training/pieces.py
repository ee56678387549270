"""Pairs of imaginary videos and their music, as the live engine would have shown and played them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.frames import Frame
from training.composer.attributes import Attributes, Extractor
from training.composer.composer import Composer, Note
from training.composer.scenes import Scene, script
from training.composer.video import FRAME_STEPS, render

SIGNATURES = (0,)
"""The key signatures that the starter model is taught in. One: what never changes in what it has heard, it cannot forget."""
PIECE_STEPS = 3000
SIDE = 64
"""Pixels of a training picture; the starter model's eyes."""


@dataclass(frozen=True, slots=True)
class Video:
    """A drawn video, and what the extractor read off it at each frame."""

    scenes: list[Scene]
    frames: list[Frame]
    attributes: list[Attributes]


def draw(seed: int, steps: int = PIECE_STEPS, side: int = SIDE) -> Video:
    random = np.random.default_rng((seed, 1))
    scenes, extractor = script(steps, random), Extractor()
    frames = list(render(scenes, side, random))
    return Video(scenes, frames, [extractor.show(frame) for frame in frames])


def imagine(seed: int, steps: int = PIECE_STEPS) -> list[Attributes]:
    """Attributes of each step of a script, without a video: for what needs music but no pictures."""
    answer = list[Attributes]()
    for scene in script(steps, np.random.default_rng((seed, 1))):
        for step in range(scene.start, scene.end):
            cut = step == scene.start and step > 0
            late = scene.motion_at(max(scene.start, step - FRAME_STEPS))
            answer.append(Attributes(scene.brightness, scene.warmth, scene.saturation, late, cut))
    return answer


def by_step(frames: Sequence[Frame], attributes: Sequence[Attributes], steps: int) -> Iterator[Attributes]:
    """What is known at each step: the newest frame's attributes, the cut only once. The first frame is at step 0."""
    at, known = 0, attributes[0]
    for step in range(steps):
        fresh = False
        while at < len(frames) and frames[at].step <= step:
            known, at, fresh = attributes[at], at + 1, True
        yield known if fresh else replace(known, cut=False)


def compose(
    attributes: Iterator[Attributes] | Sequence[Attributes], seed: int, signatures: Sequence[int] = SIGNATURES
) -> list[list[Note]]:
    """The notes of each step."""
    composer = Composer(seed, signatures)
    return [composer.advance(now) for now in attributes]
