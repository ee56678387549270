"""How steady steps are: a machine that changes its speed is told apart from a hand-over that costs something."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.trace import AROUND, STRETCH, floor, steadiness


def test_a_machine_that_becomes_slower_is_steady_within_ten_seconds() -> None:
    ms, segments = np.repeat([1.0, 2.0, 3.0], STRETCH), np.full(3 * STRETCH, 2)
    assert steadiness(ms, segments) == {"hand_overs": 0, "within_ten_seconds": 1.0, "around_hand_overs": None}


def test_a_slow_hand_over_is_seen() -> None:
    ms, segments = np.full(2 * STRETCH, 2.0), np.full(2 * STRETCH, 2)
    segments[700], ms[700] = 1, 9.0
    found = steadiness(ms, segments)
    assert (found["hand_overs"], found["within_ten_seconds"]) == (1, 1.0)
    steps = [2.0] * (2 * AROUND - 1) + [9.0]
    assert found["around_hand_overs"] == pytest.approx(np.percentile(steps, 99) / 2, rel=1e-3)


def test_a_short_run_is_one_stretch() -> None:
    assert steadiness(np.array([1.0, 1.0, 2.0]), np.array([1, 1, 1]))["within_ten_seconds"] == pytest.approx(
        1.98
    )


def test_the_machine_alone_is_not_steadier_than_steady() -> None:
    assert floor(0.05) >= 1
