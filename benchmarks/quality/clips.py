"""Held-out videos, and who makes music for them: a player as it would live, the codec of the truth, the sound font."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cuestream.players import find_player
from engine.frames import Frame
from engine.library import find_model
from engine.model.oscillator import compressed
from engine.player import Player
from engine.spec import StreamPolicy
from engine.stream import AudioChunk
from training import starter
from training.codec.amplitudes import amplitudes
from training.codec.sounds import Sounds
from training.codec.tokens import tokens
from training.composer.composer import Note
from training.composer.scenes import Scene, script
from training.composer.soundfont import SoundFont, ready
from training.composer.video import render
from training.parts import codec_of
from training.pieces import SIDE, by_step, compose, draw

F32 = NDArray[np.float32]

HELD_OUT, OTHERS = 5_000_000, 5_900_000
"""Seeds of the videos that are scored, and of others for what is fitted and compared with; training counts up from 0."""
STEPS_PER_S = 50
TRUTH, CODEC = "truth", "codec"


@dataclass(frozen=True, slots=True)
class Task:
    """Music of one contender for one video: a model's name or folder, `truth` (sound font) or `codec` (codec of the truth)."""

    contender: str
    video: int
    seed: int
    steps: int
    policy: tuple[tuple[str, Any], ...] = ()
    """Changes to what the model's makers recommend."""


def scenes_of(video: int, steps: int) -> list[Scene]:
    """What was asked for: the truth that music is compared with."""
    return script(steps, np.random.default_rng((video, 1)))


def attributes_of(scenes: Sequence[Scene], steps: int, window_s: float) -> F32:
    """[W, 4] of brightness, warmth, saturation and motion, in means over windows."""
    rows = np.zeros((steps, 4), np.float32)
    for scene in scenes:
        for step in range(scene.start, min(scene.end, steps)):
            rows[step] = (scene.brightness, scene.warmth, scene.saturation, scene.motion_at(step))
    each = int(window_s * STEPS_PER_S)
    return rows[: steps // each * each].reshape(-1, each, 4).mean(1)


def music(task: Task) -> F32:
    """Samples at 32 kHz."""
    if task.contender in (TRUTH, CODEC):
        return _written(task)
    player = _player(task.contender)
    frames = frames_of(task.video, task.steps, player.side)
    return played(player, replace(player.defaults, seed=task.seed, **dict(task.policy)), frames, task.steps)


def played(
    player: Player[Any],
    policy: StreamPolicy,
    frames: Sequence[Frame],
    steps: int,
    turns: Mapping[int, StreamPolicy] | None = None,
) -> F32:
    """The samples of `chunks`."""
    return np.concatenate([chunk.samples for chunk in chunks(player, policy, frames, steps, turns)])


def chunks(
    player: Player[Any],
    policy: StreamPolicy,
    frames: Sequence[Frame],
    steps: int,
    turns: Mapping[int, StreamPolicy] | None = None,
) -> Iterator[AudioChunk]:
    """What a live stream plays for frames that come at their steps. turns: policies, by the steps from which on they hold."""
    stream, at = player.open(policy), 0
    while stream.frames < steps:
        if turns and stream.now in turns:
            stream.set_policy(turns[stream.now])
        while at < len(frames) and frames[at].step <= stream.now:
            stream.push(frames[at].pixels, frames[at].step)
            at += 1
        stream.advance()
        while chunk := stream.take():
            yield chunk
    if rest := stream.close(steps):
        yield rest


def frames_of(video: int, steps: int, side: int) -> list[Frame]:
    random = np.random.default_rng((video, 1))
    return list(render(script(steps, random), side, random))


@cache
def _player(name: str) -> Player[Any]:
    return find_player(name, threads=1)


def _written(task: Task) -> F32:
    """The composer's notes for the video, by the sound font or through the codec."""
    return _by_sound_font(_notes(task)) if task.contender == TRUTH else _through_codec(_notes(task))


def _notes(task: Task) -> list[list[Note]]:
    video = draw(task.video, task.steps, SIDE)
    return compose(by_step(video.frames, video.attributes, task.steps), task.seed)


def _by_sound_font(notes: list[list[Note]]) -> F32:
    font = SoundFont(ready())
    return np.concatenate([font.play(step) for step in notes])


def _through_codec(notes: list[list[Note]]) -> F32:
    codec, sounds = codec_of(find_model("starter")), _sounds()
    codes = tokens(codec, compressed(torch.from_numpy(amplitudes(notes, sounds))))
    before = np.full((len(codes), codec.spec.context), codec.spec.codebook_size)
    with torch.inference_mode():
        read = torch.from_numpy(np.concatenate((before, codes), 1).astype(np.int64))
        samples: F32 = codec.oscillators.synthesise(read, torch.tensor(0)).numpy()
    return samples


SOUNDS = Path("out/quality/sounds.npz")
"""Notes of the sound font, measured once."""


@cache
def _sounds() -> Sounds:
    return Sounds.load(starter.CODEC, SOUNDS)


def measure_sounds(tasks: Sequence[Task]) -> None:
    """Measure the notes that the codec's tasks play, so that workers find them."""
    sounds = Sounds.load(starter.CODEC, SOUNDS)
    known = len(sounds.known)
    for task in tasks:
        if task.contender == CODEC:
            for step in _notes(task):
                for note in step:
                    if note.on:
                        sounds.of(note)
    if len(sounds.known) > known:
        sounds.save(SOUNDS)
