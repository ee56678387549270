"""What can be heard in a piece of music: onsets, and two-second windows of loudness, brightness, tones.

Letters: n samples, W windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import librosa
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

SAMPLE_RATE = 32_000
WINDOW_S = 2.0
HOP, FFT = 512, 2048
QUIETEST = 1e-5
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
"""Key profiles: Krumhansl & Kessler 1982."""
FEATURES = (
    "loudness",
    "onsets",
    "flux",
    "centroid",
    "rolloff",
    "flatness",
    "tonality",
    "major",
)


@dataclass(frozen=True, slots=True)
class Heard:
    """onsets_s: when something begins. windows: [W, features]. flatness, chroma_entropy: means over the piece.

    chroma: [12, W], energy of each pitch class.
    """

    onsets_s: F64
    windows: F64
    chroma: F64
    flatness: float
    chroma_entropy: float


def hear(samples: F32) -> Heard:
    """samples: [n], mono, at 32 kHz; at least one window."""
    spectrum = np.abs(librosa.stft(samples, n_fft=FFT, hop_length=HOP))
    strength = librosa.onset.onset_strength(
        S=librosa.amplitude_to_db(spectrum, ref=np.max), sr=SAMPLE_RATE, hop_length=HOP
    )
    onsets = librosa.onset.onset_detect(
        onset_envelope=strength, sr=SAMPLE_RATE, hop_length=HOP, units="time"
    ).astype(np.float64)
    loud = librosa.feature.rms(S=spectrum, frame_length=FFT, hop_length=HOP)[0]
    flatness = librosa.feature.spectral_flatness(S=spectrum)[0]
    centroid = librosa.feature.spectral_centroid(S=spectrum, sr=SAMPLE_RATE)[0]
    rolloff = librosa.feature.spectral_rolloff(S=spectrum, sr=SAMPLE_RATE)[0]
    chroma = librosa.feature.chroma_stft(S=spectrum**2, sr=SAMPLE_RATE, norm=None)
    rows, tones = list[list[float]](), list[F64]()
    each = WINDOW_S * SAMPLE_RATE / HOP
    for window in range(int(len(samples) / SAMPLE_RATE / WINDOW_S)):
        part = slice(int(window * each), int((window + 1) * each))
        begins = (onsets >= window * WINDOW_S) & (onsets < (window + 1) * WINDOW_S)
        tones.append(chroma[:, part].sum(1) + QUIETEST)
        audible = loud[part] > QUIETEST * 10
        rows.append(
            [
                float(20 * np.log10(loud[part].mean() + QUIETEST)),
                float(begins.sum() / WINDOW_S),
                float(strength[part].mean()),
                _log_mean(centroid[part], audible),
                _log_mean(rolloff[part], audible),
                float(np.log(flatness[part].mean() + QUIETEST)),
                *_tonality(tones[-1]),
            ]
        )
    audible = loud > QUIETEST * 10
    share = chroma / np.maximum(chroma.sum(0), QUIETEST)
    entropy = -(share * np.log2(share + 1e-9)).sum(0)
    return Heard(
        onsets,
        np.array(rows),
        np.stack(tones, 1),
        float(flatness[audible].mean()) if audible.any() else 1.0,
        float(entropy[audible].mean()) if audible.any() else 0.0,
    )


def _log_mean(values: NDArray[Any], audible: NDArray[np.bool_]) -> float:
    return float(np.log(values[audible].mean() + 1)) if audible.any() else 0.0


def key_scores(chroma: F64) -> F64:
    """[12] energies to the correlation with each key's profile, [2, 12]: major, minor."""
    profiles = np.array([[np.roll(p, tonic) for tonic in range(12)] for p in (MAJOR, MINOR)])
    centred = profiles - profiles.mean(-1, keepdims=True)
    heard = chroma - chroma.mean()
    scale = np.linalg.norm(centred, axis=-1) * np.linalg.norm(heard) + 1e-12
    return (centred @ heard) / scale


def _tonality(chroma: F64) -> tuple[float, float]:
    """How clear the key is, and how much more major than minor."""
    scores = key_scores(np.sqrt(chroma))
    major, minor = scores.max(1)
    return float(max(major, minor)), float(major - minor)
