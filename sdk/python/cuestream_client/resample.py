"""Values of a signal between its samples, by a windowed sinc of 16 taps from a table of phases.

The position may move by any small step from one output sample to the next, so a ratio that changes gives no click.
"""

from __future__ import annotations

import numpy as np

from cuestream_client.music import F32

TAPS = 16
BEFORE = TAPS // 2 - 1
"""Samples that are needed before a position, and AFTER it."""
AFTER = TAPS // 2
PHASES = 512
"""Between two of them is interpolated; what is wrong, -75 dB, comes from the length of the window."""


def _table() -> F32:
    """float32 [PHASES + 1, TAPS], each row of sum 1."""
    at = np.arange(TAPS)[None, :] - BEFORE - np.arange(PHASES + 1)[:, None] / PHASES
    rows = np.sinc(at) * np.kaiser(2 * 4096 + 1, 8.0)[np.round((at / (AFTER + 0.5) + 1) * 4096).astype(int)]
    return (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)


TABLE = _table()


def between(samples: F32, first: float, step: float, count: int) -> F32:
    """Values at first, first + step, ...; samples: [N, C]. Positions stay BEFORE from the start and AFTER from the end.

    Returns [count, C].
    """
    places = first + step * np.arange(count)
    whole = places.astype(np.int64)
    phase = (places - whole) * PHASES
    row = phase.astype(np.int64)
    part = (phase - row).astype(np.float32)[:, None]
    weights = TABLE[row] * (1 - part) + TABLE[np.minimum(row + 1, PHASES)] * part
    windows = np.lib.stride_tricks.sliding_window_view(samples, TAPS, axis=0)
    return np.einsum("nct,nt->nc", windows[whole - BEFORE], weights)
