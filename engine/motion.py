"""Motion as a picture: how much each place of the video has changed lately.

A single frame shows no motion, so a model whose `VisionSpec.motion` is set sees this as a fourth plane beside red, green and
blue (a motion history image: Bobick & Davis 2001), and the procedural composer hears its mean. Frames may come at any rate:
they are compared at most every `SAMPLE_STEPS`, so that a fast camera shows the same motion as a slow one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.frames import F32, U8, Frame

SAMPLE_STEPS = 5
"""Frames nearer than this to the one before (100 ms at 50 steps a second) are not compared."""
FADE_STEPS = 20
"""A change has faded to 1/e after so many steps."""
FULL = 0.25
"""Mean absolute change (of full scale, for one sample) that the plane shows as white."""
KEPT_AT_CUT = 0.05
"""Weight that the motion before a cut keeps: it stands only until the new scene has moved."""
LIVELY = 0.36
"""Change, as a share of `FULL`, that a listener's energy of 1 lifts every place to: the starter plays its liveliest there, and
would play it at a third of the energy if places were lifted to `FULL`."""
LEAST = 1e-9
"""Of a weight: what counts less, after some cuts in a row, is forgotten; much later it would be no number any more."""


def livened(motion: F32 | float, energy: float, lively: float = 1.0) -> Any:
    """Motion (0 to 1) as `StreamPolicy.energy` asks for it: below 0 less of it, at -1 none; above 0 all of it nearer to `lively`.
    What moved more still does."""
    if energy <= 0:
        return motion * (1 + energy)
    # from `lively` down, so that rounding neither turns the order of two places round nor leaves one above it
    return np.maximum(motion, lively - (1 - energy) * np.maximum(0, lively - motion))


@dataclass(slots=True)
class MotionPicture:
    """The weighted mean of recent changes, on the cells of `Frame.thumbnail`. It is shown as lively as the
    `energy` that is asked for with it, a policy's."""

    before: Frame | None = None
    changes: F32 | None = None
    """[c, c], the weighted sum of changes, of full scale."""
    weight: float = 0.0

    def show(self, frame: Frame, cut: bool = False) -> None:
        """Take notice of a frame; at a cut the change itself is no motion."""
        if self.before is None or cut:
            self.before = frame
            self.weight *= KEPT_AT_CUT
            if self.weight < LEAST:
                self.changes, self.weight = None, 0.0
            elif self.changes is not None:
                self.changes = self.changes * np.float32(KEPT_AT_CUT)
            return
        passed = frame.step - self.before.step
        if passed < SAMPLE_STEPS:
            return
        change = np.abs(frame.thumbnail - self.before.thumbnail).mean(-1)
        # slower cameras see larger changes, but not in proportion
        change *= np.float32((SAMPLE_STEPS / passed) ** 0.5)
        fade = np.float32(np.exp(-passed / FADE_STEPS))
        faded = change * 0 if self.changes is None else self.changes * fade
        self.changes, self.weight = faded + change * (1 - fade), float(self.weight * fade + 1 - fade)
        self.before = frame

    @property
    def mean(self) -> float:
        """Mean absolute change for one sample, of full scale; 0 before anything moved."""
        return 0.0 if self.changes is None else float(self.changes.mean() / self.weight)

    def level(self, energy: float = 0.0) -> float:
        """Mean of the plane, 0 to 1."""
        return float(self._shown(energy).mean())

    def beside(self, frame: Frame, energy: float = 0.0) -> U8:
        """[S, S, 4]: the frame's colours, and the motion as it is now."""
        return np.dstack((frame.pixels, self.plane(len(frame.pixels), energy)))

    def plane(self, side: int, energy: float = 0.0) -> U8:
        """[side, side], the root of the change (small motion counts more), `FULL` as 255."""
        shown = self._shown(energy)
        cell = side // len(shown)
        return np.repeat(np.repeat((shown * 255).astype(np.uint8), cell, 0), cell, 1)

    def _shown(self, energy: float) -> F32:
        """[c, c], 0 to 1; one cell before anything moved."""
        moved = np.zeros((1, 1), np.float32)
        if self.changes is not None:
            moved = np.minimum(1, self.changes / np.float32(self.weight * FULL))
        shown: F32 = np.sqrt(livened(moved, energy, LIVELY))
        return shown
