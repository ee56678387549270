"""What docs/gpu.md says of a step's bytes is what the shapes of the published sizes say, written down here by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

RESULT = Path(__file__).parents[2] / "benchmarks/results/gpu-steps-now.json"
HALF, CODEBOOKS, CARD, PATCHES, FRAMES = 2, 4, 2048, 50, 20
"""HALF: bytes of a number of fp16. PATCHES: tokens of a frame. FRAMES: of a window of 10 s, two a second."""
LEADING, FOLLOWING = 1125 + 1, 375 + 1
"""Columns of both segments of a lone stream, with the one that the step writes: three quarters and one of 1,500."""

SHAPES = {"small": (1024, 24, 16), "medium": (1536, 48, 24)}
"""Width, layers, heads."""
EXPECTED = {"small": (0.929290240, 0.223, 0.253), "medium": (3.819669504, 0.915, 0.387)}
"""GB of a step, its roof in ms, and the share of a copy's rate that was reached."""


def step_bytes(width: int, layers: int, heads: int) -> int:
    """Of one stream under guidance. Vectors of caches and conditions have a byte a number, and a scale of two."""
    products = (
        3 + 1 + 1 + 1 + 4 + 4
    )  # self-attention in and out, cross-attention in and out, feed-forward in and out
    weights = HALF * (layers * products * width * width + CODEBOOKS * CARD * width)
    nobody = HALF * layers * 2 * PATCHES * width
    vectors = 2 * (LEADING + FOLLOWING) + FRAMES * PATCHES  # what both rows have heard, what one of them sees
    return weights + nobody + layers * 2 * vectors * (width + HALF * heads)


@pytest.mark.parametrize("size", SHAPES)
def test_a_step_of_the_committed_result_reads_what_its_shapes_say(size: str) -> None:
    told: Any = json.loads(RESULT.read_text("utf-8"))
    (report,) = (report for report in told["reports"] if report["model"] == size)
    (step,) = (step for step in report["steps"] if step["streams"] == 1)
    gb, roof_ms, of_copy = EXPECTED[size]
    read = step_bytes(*SHAPES[size])
    assert read == round(gb * 1e9) == round(step["gb_a_step"] * 1e9)
    assert read / 1e6 / told["device"]["copy_gb_s"] == pytest.approx(roof_ms, abs=5e-4)
    assert roof_ms / step["ms"] == pytest.approx(of_copy, abs=1e-3)
    assert step["of_copy"] == pytest.approx(of_copy, abs=5e-4)
