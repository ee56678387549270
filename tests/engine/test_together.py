"""Streams that ask a backend together are answered as each would be alone, whoever lies beside them."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.backends.base import StepCall
from engine.backends.onnxruntime import OnnxBackend

ROOM, FRAMES = 24, 4
TOLERANCE = 1e-5
"""Of logits that reach 5: the order of sums differs with the number of rows. Seen: 2e-6."""


class Voice:
    """A stream's memory on a backend, with columns and pictures of its own."""

    def __init__(self, backend: Any, seed: int, guided: bool = True, segments: int = 2) -> None:
        self.backend, self.random, spec = backend, np.random.default_rng(seed), backend.spec
        self.frames = 1 + seed % FRAMES
        self.condition = backend.new_condition(FRAMES)
        shape = (self.frames, spec.vision.tokens, spec.decoder.width)
        backend.write_condition(self.condition, 0, self.random.standard_normal(shape, dtype=np.float32))
        self.caches = backend.new_caches(segments, guided, ROOM)
        self.position = np.zeros(segments, np.int64)

    def ask(self, first: int, count: int) -> StepCall[Any, Any]:
        decoder = self.backend.spec.decoder
        tokens = self.random.integers(0, decoder.card, (count, 1, decoder.codebooks))
        position = self.position[first : first + count].copy()
        self.position[first : first + count] += 1
        return StepCall(self.caches, first, self.condition, self.frames, tokens, position)


def plan(seed: int, step: int) -> tuple[int, int]:
    """Which segments play: first the one, then both, then the other, each stream at other times."""
    at = step - 2 * (seed % 3)
    return (0, 1) if at < 4 else (0, 2) if at < 9 else (1, 1)


def answers(backend: Any, seeds: list[int], together: bool, guided: bool = True) -> list[Any]:
    voices = {seed: Voice(backend, seed, guided) for seed in seeds}
    found = []
    for step in range(14):
        due = [seed for seed in seeds if (step + seed) % 4]  # each rests at other times
        calls = [voices[seed].ask(*plan(seed, step)) for seed in due]
        found += backend.step_all(calls) if together else [call.on(backend) for call in calls]
    return found


@pytest.mark.parametrize("guided", [True, False])
def test_together_is_alone(backend: Any, guided: bool) -> None:
    seeds = [3, 1, 2, 5]
    expected, found = (answers(backend, seeds, together, guided) for together in (False, True))
    assert len(found) == len(expected) > 40
    for one, other in zip(expected, found, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= TOLERANCE
    assert np.abs(expected[0]).max() > 1


def test_who_lies_beside_whom_is_one_run(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of five are asked, one of them away from the others, and one of another kind: three runs."""
    backend = OnnxBackend(tiny_folder, threads=1, places=8)
    voices = [Voice(backend, seed) for seed in range(5)]
    single = Voice(backend, 9, guided=False)
    runs, run = list[int](), backend._run

    def counted(calls: Any) -> Any:
        runs.append(len(calls))
        return run(calls)

    monkeypatch.setattr(backend, "_run", counted)
    backend.step_all([voice.ask(0, 1) for voice in (voices[4], voices[1], single, voices[0])])
    assert sorted(runs) == [1, 1, 2]


def test_a_place_is_free_again_when_its_stream_is_gone(tiny_folder: Path) -> None:
    backend = OnnxBackend(tiny_folder, threads=1, places=2)
    voices = [Voice(backend, seed) for seed in range(3)]
    assert [voice.caches.place for voice in voices] == [0, 1, 0]  # the third one has an array of its own
    assert voices[0].caches.pool is not voices[2].caches.pool
    del voices[1]
    gc.collect()
    again = Voice(backend, 7)
    assert (again.caches.place, again.condition.place) == (1, 1)
    assert again.caches.pool is voices[0].caches.pool


def test_memory_that_stays_bound_is_bounded(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.backends.onnxruntime.MOST_BOUND", 3)
    backend = OnnxBackend(tiny_folder, threads=1)
    expected, found = (answers(backend, [1, 2, 3], together) for together in (False, True))
    caches = [pool for (shape, _), (pool,) in backend._pools.items() if shape[2] == ROOM]
    assert [len(pool.bound) for pool in caches] == [3]
    for one, other in zip(expected, found, strict=True):
        assert np.abs(one - other).max() <= TOLERANCE


def test_arrays_that_nobody_uses_are_given_back(tiny_folder: Path) -> None:
    """And need no collector for it: they are large and few, and it counts objects."""
    backend = OnnxBackend(tiny_folder, threads=1)
    voice = Voice(backend, 0)
    voice.ask(0, 1).on(backend)
    pools = [weakref.ref(each.pool) for each in (voice.caches, voice.condition)]
    gc.disable()
    try:
        del voice
        backend.new_condition(FRAMES + 1)
        assert [pool() for pool in pools] == [None, None]  # nor does anything that was bound to them remain
    finally:
        gc.enable()
