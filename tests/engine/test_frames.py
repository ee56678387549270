"""What frames are compared by, against its plain definition, bit for bit: snapshots and trained models hold such numbers."""

from __future__ import annotations

import numpy as np
import pytest

from engine.frames import COLOUR_BINS, MOST_CELLS, Frame


@pytest.mark.parametrize("side", [1, 7, 32, 56, 62, 224])
def test_thumbnail_and_colours_are_means_and_shares(side: int) -> None:
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    pixels[: side // 2] //= 3
    frame = Frame(pixels, 0)
    cells = max(c for c in range(1, MOST_CELLS + 1) if side % c == 0)
    blocks = pixels.reshape(cells, side // cells, cells, side // cells, 3)
    means = blocks.mean((1, 3), dtype=np.float32) / np.float32(255)
    assert frame.thumbnail.dtype == np.float32
    assert np.array_equal(frame.thumbnail, means)
    counts = np.zeros((COLOUR_BINS,) * 3, np.int64)
    np.add.at(counts, tuple((pixels // (256 // COLOUR_BINS)).reshape(-1, 3).T), 1)
    shares = (counts.ravel() / side**2).astype(np.float32)
    assert frame.colours.dtype == np.float32
    assert np.array_equal(frame.colours, shares)


def test_pixels_need_not_lie_in_one_piece() -> None:
    wide = np.random.default_rng(0).integers(0, 256, (56, 112, 3), dtype=np.uint8)
    one, other = Frame(wide[:, ::2], 0), Frame(np.ascontiguousarray(wide[:, ::2]), 0)
    assert np.array_equal(one.thumbnail, other.thumbnail)
    assert np.array_equal(one.colours, other.colours)
