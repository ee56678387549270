"""Scripts of imaginary videos: scenes with known attributes, which drift a little while a scene lasts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CUTS_PER_S = (0.03, 0.06, 0.1, 0.2, 0.35)
SHORTEST_S, LONGEST_S = 1.5, 20.0
SPREAD, DRIFT = 0.25, 0.2
"""How far scenes of one video lie apart, and how far motion wanders inside one."""
FRESH = 0.35
"""The share of scenes that have nothing of the scene before."""
FIELDS = ("brightness", "warmth", "saturation", "motion")


@dataclass(frozen=True, slots=True)
class Scene:
    """From step `start` to step `end`; each field from 0 to 1. Motion goes in a straight line to `last_motion`."""

    start: int
    end: int
    brightness: float
    warmth: float
    saturation: float
    motion: float
    last_motion: float

    def motion_at(self, step: int) -> float:
        share = (step - self.start) / max(1, self.end - self.start)
        return self.motion + (self.last_motion - self.motion) * share


def script(steps: int, random: np.random.Generator, code_rate: int = 50) -> list[Scene]:
    """Scenes that fill `steps`; cuts fall on steps."""
    rate, at, scenes = random.choice(CUTS_PER_S), 0, list[Scene]()
    base = random.random(len(FIELDS))
    while at < steps:
        length = int(np.clip(random.exponential(1 / rate), SHORTEST_S, LONGEST_S) * code_rate)
        end = steps if steps - at - length < SHORTEST_S * code_rate else at + length
        if random.random() < FRESH:
            base = random.random(len(FIELDS))
        values = np.clip(base + random.normal(0, SPREAD, len(FIELDS)), 0, 1)
        last = float(np.clip(values[-1] + random.normal(0, DRIFT), 0, 1))
        brightness, warmth, saturation, motion = (float(value) for value in values)
        scenes.append(Scene(at, end, brightness, warmth, saturation, motion, last))
        at = end
    return scenes
