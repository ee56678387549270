"""Clips for the decoder: a drawn video, seen by the trained eyes as the live engine shows it, and pieces of music in tokens."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.model.oscillator import compressed
from engine.model.vision import VisionTower
from engine.spec import StreamPolicy
from training import starter
from training.codec.amplitudes import amplitudes
from training.codec.learner import CodecModel
from training.codec.sounds import Sounds
from training.codec.tokens import tokens
from training.decoder.dataset import Clip
from training.decoder.views import Views, watch
from training.eyes.__main__ import seen
from training.origin import Origin, claim, digest
from training.parts import codec_of, encoder, eyes_of
from training.pieces import PIECE_STEPS, SIGNATURES, by_step, compose, draw

WINDOWS_S = (2.0, 4.0, 6.0, 10.0)
"""Lengths of the short-term window that each video is watched with."""
PIECE_SEED_STRIDE = 100


@dataclass(frozen=True, slots=True)
class Recipe:
    """What clips are made of. source: runs or a model, whose eyes see and whose codec writes.

    sounds: notes of the sound font that were measured before. signatures: those that pieces may have.
    """

    source: Path
    sounds: Path
    pieces: int
    signatures: tuple[int, ...] = SIGNATURES

    def origin(self) -> Origin:
        """What decides a clip beside its seed. Raises PackageError or OSError when eyes or codec are not there."""
        return {
            "eyes": digest(eyes_of(self.source).state_dict()),
            "codec": digest(encoder(codec_of(self.source))),
            "--pieces": self.pieces,
            "--signatures": self.signatures,
        }


def make(seed: int, recipe: Recipe, vision: VisionTower, codec: CodecModel, sounds: Sounds) -> Clip:
    spec, video = starter.spec(), draw(seed)
    pictures = torch.from_numpy(seen(video)[0])
    with torch.no_grad():
        features = torch.cat([vision(part)[1] for part in pictures.split(64)]).half()
    policies = (StreamPolicy(short_term_s=s, recalled=spec.long_short.recalled) for s in WINDOWS_S)
    views = [watch(spec, policy, video.frames, PIECE_STEPS) for policy in policies]
    codes = []
    for piece in range(recipe.pieces):
        heard = by_step(video.frames, video.attributes, PIECE_STEPS)
        notes = compose(heard, seed * PIECE_SEED_STRIDE + piece, recipe.signatures)
        sound = compressed(torch.from_numpy(amplitudes(notes, sounds)))
        codes.append(tokens(codec, sound))
    return Clip(features, views, np.stack(codes))


def save(clip: Clip, path: Path) -> None:
    arrays: dict[str, Any] = {"features": clip.features.numpy(), "pieces": clip.pieces}
    for i, views in enumerate(clip.views):
        arrays[f"views{i}"] = views.views
        arrays[f"recalled{i}"] = _ragged(views.recalled)
    np.savez(path.with_suffix(".new.npz"), **arrays)
    path.with_suffix(".new.npz").replace(path)


def load(path: Path) -> Clip:
    with np.load(path) as file:
        views = [
            Views(file[f"views{i}"], [[int(n) for n in row if n >= 0] for row in file[f"recalled{i}"]])
            for i in range(len(WINDOWS_S))
        ]
        return Clip(torch.from_numpy(file["features"]), views, file["pieces"])


def _ragged(rows: list[list[int]]) -> np.ndarray:
    answer = np.full((len(rows), max(map(len, rows))), -1, np.int32)
    for i, row in enumerate(rows):
        answer[i, : len(row)] = row
    return answer


def make_all(recipe: Recipe, folder: Path, videos: int, workers: int) -> list[Clip]:
    """All clips; those that are not on the disk yet are made, one process a core.

    Raises PackageError when those that are there were made from something else.
    """
    claim(folder, "*.npz", recipe.origin())
    missing = [seed for seed in range(videos) if not (folder / f"{seed}.npz").is_file()]
    if missing:
        tasks = [(recipe, folder, seed) for seed in missing]
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            for done, _ in enumerate(pool.map(_make_one, tasks), 1):
                if done % 20 == 0:
                    print(f"{done} of {len(missing)} clips", flush=True)
    return [load(folder / f"{seed}.npz") for seed in range(videos)]


_KEPT: dict[Recipe, tuple[VisionTower, CodecModel, Sounds]] = {}


def _make_one(task: tuple[Recipe, Path, int]) -> None:
    recipe, folder, seed = task
    torch.set_num_threads(1)
    if recipe not in _KEPT:
        sounds = Sounds.load(starter.CODEC, recipe.sounds)
        _KEPT[recipe] = (eyes_of(recipe.source), codec_of(recipe.source), sounds)
    save(make(seed, recipe, *_KEPT[recipe]), folder / f"{seed}.npz")
