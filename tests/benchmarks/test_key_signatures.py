"""Key signatures of tones that are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("librosa", reason="the quality benchmark needs librosa: pip install 'cuestream[quality]'")

from benchmarks.quality.hearing import SAMPLE_RATE
from benchmarks.quality.keys import keeps_key, signatures

pytestmark = pytest.mark.usefixtures("librosa_compiled")

SCALE = (0, 2, 4, 5, 7, 9, 11)
TONE_S = 0.2


def melody(signature: int, first: int, seconds: float) -> NDArray[np.float32]:
    """Up and down the scale from one of its degrees, over a held bass on it, with two overtones and a hiss.

    Not from the seventh degree: its fifth is outside the scale and sounds as an overtone; no composer of ours has that mode.
    """
    struck = np.exp(-3 * np.arange(int(TONE_S * SAMPLE_RATE)) / SAMPLE_RATE)
    tones = []
    for i in range(int(seconds / TONE_S)):
        octave, degree = divmod(first + abs(i % 14 - 7), 7)
        tones.append(tone(60 + signature + 12 * octave + SCALE[degree], TONE_S) * struck)
    played = np.concatenate(tones) + tone(36 + signature + SCALE[first], seconds)
    hiss = np.random.default_rng(signature).normal(size=len(played))
    return (0.1 * played + 0.002 * hiss).astype(np.float32)


def tone(key: int, seconds: float) -> NDArray[np.float64]:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    hertz = 440 * 2 ** ((key - 69) / 12)
    overtones: NDArray[np.float64] = np.sum([np.sin(2 * np.pi * n * hertz * time) / n for n in (1, 2, 3)], 0)
    return overtones


@pytest.mark.parametrize("signature", range(12))
def test_a_scale_has_its_signature_in_each_of_its_modes(signature: int) -> None:
    for first in range(6):
        assert signatures(melody(signature, first, 6), 3.0).tolist() == [signature, signature]


def test_modes_of_one_signature_keep_the_key_and_a_change_of_signature_does_not() -> None:
    stays = np.concatenate([melody(3, degree, 6) for degree in (0, 5, 3, 1)])
    wanders = np.concatenate([melody(signature, 0, 6) for signature in (0, 7, 2, 9)])
    assert keeps_key(stays, 6.0) == 1.0
    assert keeps_key(wanders, 6.0) == 0.25


def test_a_fifth_away_for_a_quarter_of_the_time_is_told() -> None:
    samples = np.concatenate([melody(0, 0, 18), melody(7, 0, 6)])
    assert signatures(samples, 6.0).tolist() == [0, 0, 0, 7]
    assert keeps_key(samples, 6.0) == 0.75
