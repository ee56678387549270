"""Ten minutes without a stop are played as every other clip is, and it is known where segments take over."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("librosa", reason="the quality benchmark needs librosa: pip install 'cuestream[quality]'")

from benchmarks.quality.clips import OTHERS, Task, music
from benchmarks.quality.long import played


def test_what_plays_long_is_a_clip_that_knows_its_seams() -> None:
    """The starter's segment has 751 columns: with the first one of the following segment frame 748 has a code of it."""
    samples, seams = played("starter", OTHERS + 500, 760)
    assert np.array_equal(samples, music(Task("starter", OTHERS + 500, 0, 760)))
    assert seams == [748]
