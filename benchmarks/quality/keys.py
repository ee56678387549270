"""Whether a piece keeps its key: the signatures that are heard. A constant-Q transform tells semitones apart in the bass too."""

from __future__ import annotations

import librosa
import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.hearing import F32, F64, SAMPLE_RATE
from engine.keys import MAJOR_SCALE

HOP, LOWEST, OCTAVES = 1024, "C2", 5


def pitch_classes(samples: F32) -> F64:
    """samples: [n] at 32 kHz. Returns [12, columns of `HOP` samples], from C."""
    chroma: F64 = librosa.feature.chroma_cqt(
        y=samples, sr=SAMPLE_RATE, hop_length=HOP, fmin=librosa.note_to_hz(LOWEST), n_octaves=OCTAVES,
        tuning=0.0, norm=None,
    )  # fmt: skip
    return chroma


def signature(chroma: F64) -> int:
    """[12, any] to the tonic of the major scale that holds most of it; 0 is C."""
    heard = np.sqrt(chroma.sum(1))
    return int(np.argmax([np.roll(heard, -tonic)[list(MAJOR_SCALE)].sum() for tonic in range(12)]))


def signatures(samples: F32, each_s: float) -> NDArray[np.int64]:
    """Of each whole stretch of `each_s` seconds."""
    chroma, each = pitch_classes(samples), int(each_s * SAMPLE_RATE / HOP)
    count = chroma.shape[1] // each
    return np.array([signature(chroma[:, i * each : (i + 1) * each]) for i in range(count)])


def keeps_key(samples: F32, each_s: float = 30.0) -> float:
    """The share of stretches in the key signature that most of them have; by chance about a twelfth and more."""
    found = signatures(samples, each_s)
    return float(np.bincount(found).max() / len(found))
