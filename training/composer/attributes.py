"""What the composer knows of a picture: four numbers and whether the scene was cut. Causal; it knows steps, not clocks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.frames import F32, Frame, is_cut
from engine.motion import MotionPicture
from engine.spec import StreamPolicy

STILL_CONTRAST = 0.02
"""Added to the contrast (of full scale) that motion is measured against, so that noise on a plain wall is no motion."""
WHOLE_CHANGE = 1.1
"""Change over contrast at which a picture counts as all motion, and ..."""
MOTION_POWER = 0.8
"""... the power that spreads small motions out."""
LEAST_VALUE, LEAST_CHROMA = 0.05, 0.03
"""Below these saturation and warmth are noise: they fade out."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """Each from 0 to 1. warmth: blue to red, 0.5 is neutral. cut: the frame is the first of a new scene."""

    brightness: float
    warmth: float
    saturation: float
    motion: float
    cut: bool = False

    @property
    def valence(self) -> float:
        """How friendly the picture is, 0 to 1: brightness and warmth, some colour."""
        return 0.45 * self.brightness + 0.40 * self.warmth + 0.15 * self.saturation


@dataclass(slots=True)
class Extractor:
    """Reads attributes off frames as they come. The rule for cuts is the live engine's (`StreamPolicy`)."""

    policy: StreamPolicy = field(default_factory=StreamPolicy)
    motion: MotionPicture = field(default_factory=MotionPicture)
    last: Frame | None = None

    def show(self, frame: Frame) -> Attributes:
        before, self.last = self.last, frame
        cut = before is not None and is_cut(before, frame, self.policy)
        self.motion.show(frame, cut)
        brightness, warmth, saturation = colours(frame.thumbnail)
        return Attributes(brightness, warmth, saturation, self._motion(frame), cut)

    def _motion(self, frame: Frame) -> float:
        """Change against contrast: the same motion counts the same in a dark scene."""
        luma = frame.thumbnail.mean(-1)
        contrast = float(np.abs(luma - luma.mean()).mean()) + STILL_CONTRAST
        return float(np.clip(self.motion.mean / contrast / WHOLE_CHANGE, 0, 1) ** MOTION_POWER)


def colours(thumbnail: F32) -> tuple[float, float, float]:
    """thumbnail: [c, c, 3] in 0..1. Returns brightness, warmth and saturation."""
    highest, lowest = thumbnail.max(-1), thumbnail.min(-1)
    chroma = highest - lowest
    lean = (thumbnail[..., 0] - thumbnail[..., 2]).mean() / max(float(chroma.mean()), LEAST_CHROMA)
    saturation = (chroma / np.maximum(highest, LEAST_VALUE)).mean()
    return float(highest.mean()), float(0.5 + 0.5 * np.clip(lean, -1, 1)), float(saturation)
