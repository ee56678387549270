"""One's own videos with music: what is learned is the video's own sound, and a model goes on from where it was."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import Clip, Sound, make, noise
from transformers import EncodecConfig, EncodecModel

from engine.errors import MediaError, PackageError
from engine.keys import KEYS_FILE
from engine.library import POLICY_FILE
from engine.model.vidmuse import VidMuse
from export.checkpoint import Package, load_package, save_package
from training.decoder.__main__ import main
from training.decoder.dataset import shortest
from training.pairs import MusicEncoder, mono, own_clips

SECONDS = 12


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random EnCodec of the published one's rates, in the layout of transformers."""
    config = EncodecConfig(
        target_bandwidths=[1.4],
        sampling_rate=32000,
        codebook_size=128,
        codebook_dim=32,
        hidden_size=32,
        num_filters=4,
        upsampling_ratios=[8, 5, 4, 4],
        audio_channels=1,
        use_causal_conv=False,
        norm_type="weight_norm",
    )
    torch.manual_seed(5)
    model = EncodecModel(config)
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_(std=0.02)
    folder = tmp_path_factory.mktemp("encodec")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for name, level in (("loud", 0.3), ("soft", 0.05)):
        clip = Clip(frames=SECONDS * 12, rate=12, sound=Sound(noise(SECONDS, level)))
        make(folder / f"{name}.mp4", clip)
    return folder


def test_a_pair_is_the_video_and_its_own_sound(pairs: Path, codec: Path, tiny_package: Package) -> None:
    model = VidMuse(replace(tiny_package.spec, codec=None))
    music = MusicEncoder(str(codec), 4)
    made = own_clips(pairs, model, music)
    assert len(made) == 2
    heard = mono(pairs / "loud.mp4", 32000)
    assert abs(len(heard) / 32000 - SECONDS) < 0.1
    assert abs(float(np.std(heard)) - 0.3) < 0.1
    assert np.array_equal(made[0].pieces[0], music.codes(heard))
    assert abs(made[0].pieces.shape[2] - SECONDS * 50) <= 5
    assert not np.array_equal(made[0].pieces, made[1].pieces)
    assert len(made[0].features) == SECONDS * 10
    assert {view.views[:, 3].max() for view in made[0].views} == {made[0].pieces.shape[2]}


def test_what_cannot_be_learned_from_is_refused(tmp_path: Path, codec: Path, tiny_package: Package) -> None:
    with pytest.raises(PackageError, match="expected 40 codebooks"):
        MusicEncoder(str(codec), 40)
    with pytest.raises(PackageError, match="expected an EnCodec"):
        MusicEncoder(str(tmp_path), 4)
    with pytest.raises(MediaError, match="no videos"):
        own_clips(tmp_path, None, None)  # type: ignore[arg-type]  # nothing is looked at without videos


def test_a_clip_that_is_too_short_or_silent_is_told_and_left_out(
    tmp_path: Path, pairs: Path, codec: Path, tiny_package: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    model, music = VidMuse(replace(tiny_package.spec, codec=None)), MusicEncoder(str(codec), 4)
    make(tmp_path / "short.mp4", Clip(frames=24, rate=12, sound=Sound(noise(2, 0.3))))
    make(tmp_path / "silent.mp4", Clip(frames=24, rate=12))
    with pytest.raises(MediaError, match="none of its videos"):
        own_clips(tmp_path, model, music, shortest(100, 4))
    capsys.readouterr()
    (tmp_path / "loud.mp4").symlink_to(pairs / "loud.mp4")
    (made,) = own_clips(tmp_path, model, music, shortest(100, 4))
    assert made.pieces.shape[2] > shortest(100, 4)
    short, silent = capsys.readouterr().err.splitlines()
    assert short.endswith("short.mp4: expected at least 2.10 s of music, found 2.00 s")
    assert "silent.mp4" in silent


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_package_goes_on_learning(
    device: str,
    tmp_path: Path,
    pairs: Path,
    codec: Path,
    tiny_package: Package,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command of the README, on a model of the published kind: it learns, and what it leaves can be exported.

    Another run is not mixed into it.
    """
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    save_package(tiny_package, tmp_path / "package")
    for name in (POLICY_FILE, KEYS_FILE):
        (tmp_path / "package" / name).write_text(name)
    command = [sys.executable, "-m", "training.decoder", "--package", str(tmp_path / "package")]
    options = ["--pairs", str(pairs), "--codec", str(codec), "--out", str(tmp_path / "run")]
    size = ["--steps", "3", "--rows", "2", "--columns", "100", "--device", device]
    subprocess.run([*command, *options, *size, "--threads", "1"], check=True, text=True)
    before, after = tiny_package.weights, load_package(str(tmp_path / "run" / "package")).weights
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "decoder.layers.0.cross_q.weight" in changed
    assert not any(name.startswith(("vision.", "codec.")) for name in changed)
    for name in (POLICY_FILE, KEYS_FILE):  # an export of it is played as the model that it went on from
        assert (tmp_path / "run" / "package" / name).read_text() == name
    monkeypatch.setattr(sys, "argv", [*command[2:], *options, *size, "--seed", "1"])
    monkeypatch.setattr("training.devices.keep_freed_memory", lambda: None)  # for good, in this process
    with pytest.raises(SystemExit):
        main()
    told = f"{tmp_path / 'run'}: what is there was made from another --seed; choose another --out"
    assert told in capsys.readouterr().err.splitlines()[-1]
