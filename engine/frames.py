"""A frame of video, and how different two frames are. Frames arrive square and as large as the model's eyes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.spec import StreamPolicy

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

MOST_CELLS = 32
"""A thumbnail has at most this many cells on a side: noise averages out, motion does not."""
COLOUR_BINS = 4
"""Of each channel in the colour histogram."""


@dataclass(frozen=True)
class Frame:
    """pixels: uint8 [S, S, 3] RGB. step: the decoder step at which it was captured; ages are counted from it."""

    pixels: U8
    step: int

    def at(self, step: int) -> Frame:
        """The same picture at another step; what is known of it stays known."""
        same = replace(self, step=step)
        vars(same).update(
            {name: value for name, value in vars(self).items() if name not in ("pixels", "step")}
        )
        return same

    @cached_property
    def thumbnail(self) -> F32:
        """[c, c, 3] in 0..1: means over equal cells."""
        side = self.pixels.shape[0]
        cells = next(c for c in range(min(MOST_CELLS, side), 0, -1) if side % c == 0)
        cell = side // cells
        # whole numbers, exact in any order: down along memory, then across by a product; two sums take three times as long
        rows = np.add.reduce(self.pixels.reshape(cells, cell, -1), 1, np.uint32)
        sums = rows.reshape(-1, 3 * cell).astype(np.float64) @ np.tile(np.eye(3), (cell, 1))
        return sums.reshape(cells, cells, 3).astype(np.float32) / np.float32(cell * cell) / np.float32(255)

    @cached_property
    def colours(self) -> F32:
        """A histogram over coarse colours that sums to one."""
        red, green, blue = np.moveaxis(self.pixels >> (8 - COLOUR_BINS.bit_length() + 1), -1, 0)
        places = (red * COLOUR_BINS + green) * COLOUR_BINS + blue  # below 256, so that bytes hold them
        counts = np.bincount(places.ravel(), minlength=COLOUR_BINS**3)
        return (counts / counts.sum()).astype(np.float32)


def is_cut(before: Frame, after: Frame, policy: StreamPolicy) -> bool:
    """Whether a new scene begins with `after`."""
    return (
        policy.on_cut != "ignore"
        and difference(before, after) > policy.cut_above
        and colour_shift(before, after) > policy.cut_colours_above
    )


def difference(a: Frame, b: Frame) -> float:
    """Mean absolute difference of the thumbnails, 0 to 1."""
    return float(np.abs(a.thumbnail - b.thumbnail).mean())


def colour_shift(a: Frame, b: Frame) -> float:
    """The share of pixels whose coarse colour has no counterpart in the other frame, 0 to 1."""
    return float(np.abs(a.colours - b.colours).sum() / 2)
