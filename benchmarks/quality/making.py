"""One clip of the benchmark: play, keep as a WAV, listen. Worker processes import this."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from benchmarks.quality import measures as by
from benchmarks.quality.clips import STEPS_PER_S, Task, attributes_of, music, scenes_of
from benchmarks.quality.hearing import SAMPLE_RATE, WINDOW_S, hear
from benchmarks.quality.musicnn import Embedding

OUT = Path("out/quality")


def make(task: Task) -> by.Clip:
    """Play, keep as a WAV, listen."""
    torch.set_num_threads(1)
    samples = music(task)
    wav = wav_of(task)
    wav.parent.mkdir(parents=True, exist_ok=True)
    peak = max(1.0, float(np.abs(samples).max()))
    soundfile.write(wav, samples / peak, SAMPLE_RATE)
    scenes = scenes_of(task.video, task.steps)
    return by.Clip(
        task.video,
        task.seed,
        hear(samples),
        np.array([scene.start / STEPS_PER_S for scene in scenes[1:]]),
        attributes_of(scenes, task.steps, WINDOW_S),
        _embedding()(_levelled(samples), SAMPLE_RATE).astype(np.float64),
    )


def wav_of(task: Task) -> Path:
    """Where its music is kept."""
    return OUT / Path(task.contender).name / f"{task.video}-{task.seed}.wav"


LEVEL = 0.1
"""Effective value that music has before it is embedded: how loud it is says nothing of its kind."""


def _levelled(samples: Any) -> Any:
    return samples * (LEVEL / max(1e-4, float(np.sqrt(np.mean(samples**2)))))


@cache
def _embedding() -> Embedding:
    return Embedding.load(OUT)
