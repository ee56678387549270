"""The delay pattern, one column at a time: codebook k of column c holds timestep c - 1 - k.

Column 0 is all special. A column is what the decoder reads at one position; a code frame is what the codec plays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.backends.base import I64


@dataclass(frozen=True, slots=True)
class DelayPattern:
    """For K codebooks with delays 0 .. K-1 and the token that marks an empty cell."""

    codebooks: int
    special: int

    def first_column(self) -> I64:
        """[K], all special: what a segment reads at position 0."""
        return np.full(self.codebooks, self.special, np.int64)

    def begin(self, column: I64, position: int) -> I64:
        """Blank the codebooks of a column whose timestep lies before the segment that reads it at `position`."""
        if position >= self.codebooks:
            return column
        return np.where(np.arange(self.codebooks) < position, column, self.special)

    def columns_for(self, frames: int) -> int:
        """Columns that must be known for `frames` complete code frames."""
        return frames + self.codebooks

    def sequence(self, codes: I64, steps: int) -> I64:
        """Codes [K, T] as the first `steps` columns [steps, K]; cells beyond the codes are special too."""
        columns = np.full((steps, self.codebooks), self.special, np.int64)
        for k in range(self.codebooks):
            end = min(steps, k + 1 + codes.shape[1])
            columns[k + 1 : end, k] = codes[k, : max(0, end - k - 1)]
        return columns

    def codes(self, columns: I64) -> I64:
        """Columns [S, K] back to the code frames [K, S - K] that they complete."""
        frames = max(0, len(columns) - self.codebooks)
        return np.array([columns[k + 1 : k + 1 + frames, k] for k in range(self.codebooks)])

    def filled(self, steps: int, frames: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """[steps, K]: which cells of a sequence hold one of `frames` timesteps."""
        timestep = np.arange(steps)[:, None] - 1 - np.arange(self.codebooks)
        return (timestep >= 0) & (timestep < frames)
