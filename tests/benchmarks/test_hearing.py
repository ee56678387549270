"""What is heard of sounds that are known: clicks at their times, keys by their tones, loudness by its level."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("librosa", reason="the quality benchmark needs librosa: pip install 'cuestream[quality]'")

from benchmarks.quality.hearing import FEATURES, SAMPLE_RATE, hear, key_scores

pytestmark = pytest.mark.usefixtures("librosa_compiled")

NEAR_S = 0.03
"""Onsets are told in steps of 16 ms; observed: 18 ms off at most."""
MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
MAJOR, MINOR = 0, 1


def clicks(times_s: NDArray[np.float64], seconds: float) -> NDArray[np.float32]:
    """Short struck tones over faint noise."""
    samples = np.random.default_rng(0).normal(0, 1e-4, int(seconds * SAMPLE_RATE))
    away = np.arange(SAMPLE_RATE // 10) / SAMPLE_RATE
    struck = np.exp(-away * 60) * np.sin(2 * np.pi * 1500 * away)
    for time in times_s:
        first = int(time * SAMPLE_RATE)
        samples[first : first + len(struck)] += struck[: len(samples) - first]
    return samples.astype(np.float32)


def test_onsets_of_clicks_are_where_they_were_put() -> None:
    times = np.array([0.5, 0.9, 1.6, 2.35, 2.7, 4.1, 5.0])
    heard = hear(clicks(times, 6))
    assert len(heard.onsets_s) == len(times)
    assert np.abs(heard.onsets_s - times).max() < NEAR_S


def test_onsets_a_second_are_counted_in_their_windows() -> None:
    heard = hear(clicks(np.array([0.5, 1.1, 1.7, 2.6, 6.3, 6.9]), 8))
    assert heard.windows.shape == (4, len(FEATURES))
    assert heard.windows[:, FEATURES.index("onsets")].tolist() == [1.5, 0.5, 0, 1]


def test_twice_the_amplitude_is_six_decibels_and_nothing_else() -> None:
    quiet = clicks(np.arange(0.3, 4, 0.4), 4)
    one, two = hear(quiet), hear(2 * quiet)
    loudness = FEATURES.index("loudness")
    louder = two.windows[:, loudness] - one.windows[:, loudness]
    np.testing.assert_allclose(louder, 20 * np.log10(2), atol=0.05)
    np.testing.assert_array_equal(one.onsets_s, two.onsets_s)


def test_a_sine_is_tonal_and_noise_is_flat() -> None:
    time = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    sine = hear((0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32))
    noise = hear(np.random.default_rng(0).normal(0, 0.1, len(time)).astype(np.float32))
    assert sine.flatness < 0.01 < 0.4 < noise.flatness
    assert sine.chroma_entropy < noise.chroma_entropy
    assert sine.chroma.sum(1).argmax() == 9  # A


@pytest.mark.filterwarnings("ignore:Trying to estimate tuning")
def test_silence_has_no_onsets_and_finite_features() -> None:
    heard = hear(np.zeros(3 * SAMPLE_RATE, np.float32))
    assert np.isfinite(heard.windows).all()
    assert not len(heard.onsets_s)


def scale_of(tonic: int) -> NDArray[np.float64]:
    """Energies of a major scale, its triad three times as strong."""
    energy = np.zeros(12)
    for tone in MAJOR_SCALE:
        energy[(tone + tonic) % 12] = 3.0 if tone in (0, 4, 7) else 1.0
    return energy


def test_c_major_is_found() -> None:
    scores = key_scores(scale_of(0))
    assert np.unravel_index(scores.argmax(), scores.shape) == (MAJOR, 0)


def test_the_relative_minor_is_found_where_its_triad_sounds() -> None:
    energy = np.zeros(12)
    energy[list(MAJOR_SCALE)] = 1
    energy[[9, 0, 4]] = 3
    scores = key_scores(energy)
    assert np.unravel_index(scores.argmax(), scores.shape) == (MINOR, 9)


def test_transposed_tones_give_transposed_scores() -> None:
    scores = key_scores(scale_of(0))
    for tonic in range(12):
        np.testing.assert_allclose(key_scores(scale_of(tonic)), np.roll(scores, tonic, axis=1))
