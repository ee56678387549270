"""`cuestream score --offline --provider torch`: a whole file's music is made where the model is, in the way of streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clips import Clip, make

from cuestream.music import whole
from engine.backends.lockstep import LockstepBackend
from engine.backends.torch import TorchBackend
from engine.media.video import probe
from engine.player import ModelPlayer
from engine.spec import StreamPolicy
from export.checkpoint import Package, load_model


def music(backend: Any, clip: Path) -> Any:
    policy = StreamPolicy(seed=3, top_k=50)
    return np.concatenate([piece.samples for piece in whole(ModelPlayer(backend), clip, probe(clip), policy)])


def test_a_whole_files_music_is_made_on_the_device(
    short_package: Package, short_torch_backend: TorchBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three windows of 2 s, two of them with a prompt. What stays on a GPU is no array of NumPy's, and what would be launched
    operator by operator there, columns and pieces, is not asked for."""
    clip = make(tmp_path / "clip.mp4", Clip(frames=35))
    expected = music(short_torch_backend, clip)
    backend = LockstepBackend(load_model(short_package), "cpu", torch.float32, places=1)
    for verb in ("step_all", "recur", "upsample"):
        monkeypatch.setattr(backend, verb, None)

    def refuse(*_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    monkeypatch.setattr(torch.Tensor, "__array__", refuse)
    assert np.abs(music(backend, clip) - expected).max() <= 1e-5
