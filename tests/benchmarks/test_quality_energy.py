"""The starter plays more where a listener wants it livelier, less where calmer, and within a second."""

from __future__ import annotations

import pytest

pytest.importorskip("librosa", reason="the quality benchmark needs librosa: pip install 'cuestream[quality]'")

from benchmarks.quality.clips import HELD_OUT
from benchmarks.quality.energy import SHOWN_S, onset_rate, onsets_around

pytestmark = pytest.mark.usefixtures("librosa_compiled")


def test_the_starter_follows_energy() -> None:
    """Observed onsets a second: 0.6, 3.6 and 6.1."""
    calm, as_shown, lively = (onset_rate("starter", HELD_OUT + 4, energy, 400) for energy in (-1.0, 0.0, 1.0))
    assert 2 * calm < as_shown < lively / 1.5


def test_a_change_of_energy_is_heard_after_a_second() -> None:
    """Observed onsets in five seconds before, and in the four from one second after on: 2 and 36."""
    counts = onsets_around("starter", HELD_OUT + 4, -0.8, 0.8)
    assert counts[:SHOWN_S].sum() * 3 < counts[SHOWN_S + 1 :].sum()
