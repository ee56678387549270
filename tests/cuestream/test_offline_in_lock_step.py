"""`cuestream score --offline --provider torch`: a whole file's music is made where the model is, in the way of streams."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clips import Clip, make

from cuestream.music import _features, whole
from engine.backends.lockstep import LockstepBackend
from engine.backends.torch import TorchBackend
from engine.media.video import VideoReader, probe
from engine.offline import ENCODE_AT_ONCE
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


def test_a_files_frames_go_through_each_branch_several_at_once(
    short_torch_backend: TorchBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As each alone: seen to be the same bits."""
    clip = make(tmp_path / "clip.mp4", Clip(frames=35))
    frames = list(VideoReader(clip, short_torch_backend.spec.vision.image_size, lambda *_: True))
    wanted, spread = {*range(0, 30, 2)}, {*range(0, 35, 5)}
    counts = dict.fromkeys(("encode_frames", "look", "remember"), 0)

    def counted(verb: str) -> Any:
        asked = getattr(short_torch_backend, verb)

        def ask(array: Any) -> Any:
            counts[verb] += 1
            return asked(array)

        return ask

    with monkeypatch.context() as patched:
        for verb in counts:
            patched.setattr(short_torch_backend, verb, counted(verb))
        short, memory = _features(short_torch_backend, clip, wanted, spread, 0.0)
    assert counts == dict.fromkeys(counts, math.ceil(len(wanted | spread) / ENCODE_AT_ONCE))
    for branch, of, found in (
        (short_torch_backend.look, wanted, short),
        (short_torch_backend.remember, spread, memory),
    ):
        assert {*found} == of
        for index, row in found.items():
            alone = branch(short_torch_backend.encode_frames(frames[index].pixels[None]))[0]
            assert np.abs(row - alone).max() <= 1e-5
