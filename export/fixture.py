"""Reference fixtures: arrays of a run of the published code, the JSON beside them, and the rules that make what is not stored."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import I64, U8
from engine.errors import PackageError
from engine.spec import ModelSpec

Array = NDArray[Any]

LOCAL_SEED, GLOBAL_SEED, CODES_SEED = 11, 22, 33
"""Of the fixtures' local frames, global frames and teacher-forced codes."""
FRAME_CELLS = 7
"""A generated frame is a grid of flat cells with noise on top."""
CODEC_ARRAYS = ("latent", "audio")


@dataclass(frozen=True, slots=True)
class Run:
    """How a fixture's codes were generated."""

    steps: int
    prompt: int
    guidance: float
    sampled: bool
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.0


@dataclass(frozen=True, slots=True)
class Fixture:
    """`arrays` as stored; `notes` is the JSON beside them, empty where there is none."""

    path: Path
    arrays: dict[str, Array]
    notes: dict[str, Any]

    @property
    def is_codec(self) -> bool:
        """Whether its `codes` are a codec's: that fixture holds a latent or audio."""
        return any(name in self.arrays for name in CODEC_ARRAYS)

    @property
    def needs_model(self) -> bool:
        return any(name not in ("codes", *CODEC_ARRAYS) for name in self.arrays)

    def local_frames(self, spec: ModelSpec) -> U8:
        """[F, S, S, 3]: stored, or made by rule."""
        return self._frames("local_frames_u8", "t_local", 6, LOCAL_SEED, spec)

    def global_frames(self, spec: ModelSpec) -> U8:
        return self._frames("global_frames_u8", "t_global", 4, GLOBAL_SEED, spec)

    def _frames(self, name: str, count: str, default: int, seed: int, spec: ModelSpec) -> U8:
        if name in self.arrays:
            return channels_last(self.arrays[name])
        return channels_last(det_frames(seed, int(self.notes.get(count, default)), spec.vision.image_size))

    def codes(self, spec: ModelSpec) -> I64:
        """[K, T]: the codes that the teacher-forced arrays read."""
        if "codes" in self.arrays and not self.is_codec:
            return self.arrays["codes"][0].astype(np.int64)
        return det_codes(spec.decoder.card, spec.decoder.codebooks)

    def run(self, name: str) -> Run:
        """Of an array `NAME_codes`: what the JSON says of NAME, else what the name itself says."""
        notes = self.notes.get(name, {})
        total = self.arrays.get(f"{name}_codes")
        steps = notes.get("steps") or (total.shape[-1] if total is not None else 40)
        guidance = notes.get("cfg_coef", _number(r"cfg([\d.]+)", name, 3.0))
        prompt = notes.get("prompt", _number(r"prompt(\d+)", name, 0))
        sampled = notes.get("use_sampling", not name.startswith("greedy"))
        settings = (float(notes.get("temp", 1.0)), int(notes.get("top_k", 0)), float(notes.get("top_p", 0.0)))
        return Run(int(steps), int(prompt), float(guidance), bool(sampled), *settings)

    def long_form(self, name: str, spec: ModelSpec) -> tuple[U8, float, float]:
        """Local frames, duration and stride of a whole-file run."""
        notes = self.notes.get(name, {})
        numbers = re.findall(r"\d+", notes.get("frames", "").partition("(")[2])
        total = self.arrays[f"{name}_codes"].shape[-1]
        duration = total / spec.code_rate
        count = int(duration * spec.long_short.frame_rate)
        seed, count, side = map(int, numbers) if len(numbers) == 3 else (44, count, spec.vision.image_size)
        return channels_last(det_frames(seed, count, side)), duration, float(notes.get("extend_stride", 29.5))


def read_fixture(path: Path) -> Fixture:
    """Raises PackageError when the file is no .npz of plain arrays."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, TypeError, KeyError, BadZipFile, zlib.error) as error:
        raise PackageError(f"{path}: expected a fixture, an .npz file of arrays ({error})") from error
    notes = path.with_suffix(".json")
    try:
        return Fixture(path, arrays, json.loads(notes.read_text("utf-8")) if notes.is_file() else {})
    except ValueError as error:
        raise PackageError(f"{notes}: expected JSON: {error}") from error


def _number(pattern: str, text: str, default: float) -> float:
    found = re.search(pattern, text)
    return float(found[1]) if found else default


def channels_last(frames: Array) -> U8:
    """[1, 3, F, S, S] to [F, S, S, 3]."""
    return np.ascontiguousarray(frames[0].transpose(1, 2, 3, 0))


def det_frames(seed: int, frames: int, side: int) -> U8:
    """uint8 [1, 3, F, S, S]: a random grid of cells, each a flat block, with noise of up to 20 on top."""
    random = np.random.RandomState(seed)
    base = random.randint(0, 256, (1, 3, frames, FRAME_CELLS, FRAME_CELLS)).astype(np.int64)
    block = side // FRAME_CELLS
    grown = base.repeat(block, 3).repeat(block, 4)
    return np.clip(grown + random.randint(-20, 21, grown.shape), 0, 255).astype(np.uint8)


def det_codes(card: int, codebooks: int) -> I64:
    """int64 [K, 20]."""
    random = np.random.RandomState(CODES_SEED)
    return random.randint(0, card, (1, codebooks, 20)).astype(np.int64)[0]
