"""An embedding of music from a trained tagger (musicnn: Pons & Serra 2019, trained on the Million Song Dataset), without a hub.

Its PyPI wheel (ISC) carries the weights; it is fetched at the first use and kept in the cache folder, never in the repository.
The network is the published one, in PyTorch.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.quality.tensor_bundle import read_bundle
from engine.errors import MissingRuntime

F32 = NDArray[np.float32]

WHEEL = "musicnn==0.1.0"
INSIDE = "musicnn/MSD_musicnn/"
SAMPLE_RATE = 16_000
PATCH_FRAMES, MELS = 187, 96
"""A patch is 3 s."""
RHYTHMS = (128, 64, 32)
"""Frames that the three horizontal filters see."""


class Embedding:
    """Samples to rows of 200 numbers, one for each 3 s."""

    def __init__(self, weights: dict[str, NDArray[Any]]) -> None:
        self._weights = {k: torch.tensor(v.copy()) for k, v in weights.items() if "Adam" not in k}

    @classmethod
    def load(cls, cache: Path) -> Embedding:
        """Raises MissingRuntime when the weights are not in the cache and cannot be fetched."""
        wheels = [*cache.glob("musicnn-*.whl")] or [_fetch(cache)]
        with zipfile.ZipFile(wheels[0]) as wheel:
            index, data = (wheel.read(INSIDE + name) for name in (".index", ".data-00000-of-00001"))
        return cls(read_bundle(index, data))

    @torch.inference_mode()
    def __call__(self, samples: F32, sample_rate: int) -> F32:
        """Mono samples [n] to the penultimate layer [patches, 200]. Raises ValueError for less than one patch."""
        patches = torch.from_numpy(_patches(samples, sample_rate))
        mixed = self._temporal(self._timbre_and_rhythm(patches))
        pooled = torch.stack((mixed.amax(1), mixed.mean(1)), 2).flatten(1)
        embedding: F32 = F.relu(self._linear(self._normed(pooled, 9), "dense")).numpy()
        return embedding

    def _timbre_and_rhythm(self, patches: Tensor) -> Tensor:
        """[B, T, mels] to the front end's [B, T, 561]."""
        x = self._normed(patches[:, None], 0)
        found = [
            self._normed(self._convolved(x, 0, (0, 0, 3, 3)), 1).amax(3),
            self._normed(self._convolved(x, 1, (0, 0, 3, 3)), 2).amax(3),
        ]
        for layer, width in enumerate(RHYTHMS, 2):
            pad = (0, 0, (width - 1) // 2, width - 1 - (width - 1) // 2)
            found.append(self._normed(self._convolved(x, layer, pad), layer + 1).amax(3))
        return torch.cat(found, 1).transpose(1, 2)

    def _temporal(self, front: Tensor) -> Tensor:
        """The middle: three convolutions over time, the last two beside a shortcut; [B, T, 753]."""
        x = front[:, None]
        first = self._normed(self._convolved(x, 5, (0, 0, 3, 3)), 6).transpose(1, 3)
        second = self._normed(self._convolved(first, 6, (0, 0, 3, 3)), 7).transpose(1, 3) + first
        third = self._normed(self._convolved(second, 7, (0, 0, 3, 3)), 8).transpose(1, 3) + second
        return torch.cat((x, first, second, third), 3)[:, 0]

    def _normed(self, x: Tensor, layer: int) -> Tensor:
        """Batch normalisation as it was at the end of training, over the second dimension."""
        name = "batch_normalization" + (f"_{layer}" if layer else "")
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        mean, variance, gain, bias = (
            self._weights[f"{name}/{part}"].view(shape)
            for part in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return (x - mean) / torch.sqrt(variance + 1e-3) * gain + bias

    def _convolved(self, x: Tensor, layer: int, pad: tuple[int, int, int, int]) -> Tensor:
        name = "conv2d" + (f"_{layer}" if layer else "")
        kernel = self._weights[f"{name}/kernel"].permute(3, 2, 0, 1)
        return F.relu(F.conv2d(F.pad(x, pad), kernel, self._weights[f"{name}/bias"]))

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self._weights[f"{name}/kernel"] + self._weights[f"{name}/bias"]


def _patches(samples: F32, sample_rate: int) -> F32:
    """Log-mel spectrogram in patches, [B, T, mels]."""
    heard = librosa.resample(samples, orig_sr=sample_rate, target_sr=SAMPLE_RATE)
    mel = librosa.feature.melspectrogram(y=heard, sr=SAMPLE_RATE, hop_length=256, n_fft=512, n_mels=MELS)
    logarithm = np.log10(10_000 * mel.T + 1).astype(np.float32)
    count = len(logarithm) // PATCH_FRAMES
    if not count:
        raise ValueError(f"an embedding needs 3 s of music, found {len(samples) / sample_rate:.1f} s")
    return logarithm[: count * PATCH_FRAMES].reshape(count, PATCH_FRAMES, MELS)


def _fetch(cache: Path) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
    found = [*cache.glob("musicnn-*.whl")]
    if done.returncode or not found:
        raise MissingRuntime(f"the music embedding needs {WHEEL} from PyPI once, which could not be fetched")
    return found[0]
