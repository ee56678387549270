"""The model that ships, held to the engine's laws: exported equals PyTorch, restored equals continued, pieces equal the whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from streams import Played, play

from engine import codec
from engine.backends.onnxruntime import OnnxBackend
from engine.backends.torch import TorchBackend
from engine.library import DEFAULT_MODEL, find_model, recommended
from engine.spec import StreamPolicy
from engine.stream import ScoreStream
from export.checkpoint import load_model, load_package

STEPS = 400
"""8 s: a following segment begins to read at 7.5 s."""
LOGIT_TOLERANCE = 2e-4
"""Largest absolute difference; logits reach 30. Seen: 4e-5."""
AUDIO_TOLERANCE = 1e-4
MOST_MB = 30


@pytest.fixture(scope="module")
def onnx() -> OnnxBackend:
    return OnnxBackend(find_model(DEFAULT_MODEL), threads=1)


@pytest.fixture(scope="module")
def torch_model() -> TorchBackend:
    return TorchBackend(load_model(load_package(str(find_model(DEFAULT_MODEL)))))


@pytest.fixture(scope="module")
def policy(onnx: OnnxBackend) -> StreamPolicy:
    return recommended(find_model(DEFAULT_MODEL), onnx.spec)


@pytest.fixture(scope="module")
def video(pictures: Callable[[int, int], NDArray[np.uint8]]) -> Callable[[int], NDArray[np.uint8] | None]:
    """Ten frames a second of 64 pixels, a cut at 6 s."""
    shown = np.pad(pictures(STEPS // 5, 4), ((0, 0), (4, 4), (4, 4), (0, 0)), "edge")
    return lambda step: shown[step // 5] if step % 5 == 0 and step // 5 < len(shown) else None


@pytest.fixture(scope="module")
def played(onnx: OnnxBackend, policy: StreamPolicy, video: Any) -> Played:
    return play(ScoreStream(onnx, policy), STEPS, video)


def test_it_is_small_enough_to_ship() -> None:
    folder = find_model(DEFAULT_MODEL)
    assert sum(file.stat().st_size for file in folder.iterdir()) <= MOST_MB * 1e6
    assert json.loads((folder / "manifest.json").read_text())["name"] == DEFAULT_MODEL


def test_the_exported_starter_plays_what_pytorch_plays(
    torch_model: TorchBackend, policy: StreamPolicy, video: Any, played: Played
) -> None:
    """Sampled with guidance, every token equal for 8 s of a live stream with a cut; the same samples."""
    expected = play(ScoreStream(torch_model, policy), STEPS, video)
    assert np.array_equal(expected.codes, played.codes)
    assert np.abs(expected.samples - played.samples).max() <= AUDIO_TOLERANCE


def test_a_cached_step_of_the_starter_equals_reading_it_all(
    onnx: OnnxBackend, torch_model: TorchBackend
) -> None:
    spec = onnx.spec
    random = np.random.default_rng(0)
    columns = random.integers(0, spec.decoder.card, (1, 60, 4))
    tokens = random.standard_normal((5, spec.vision.tokens, spec.decoder.width), dtype=np.float32)
    answers = []
    for backend, pieces in ((onnx, [1] * 60), (torch_model, [60]), (onnx, [60])):
        condition, caches = backend.new_condition(5), backend.new_caches(1, True, 100)
        backend.write_condition(condition, 0, tokens)
        backend.write_ages(condition, np.array([4, 3, 2, 1, 0]))
        at = 0
        for size in pieces:
            read = columns[:, at : at + size]
            logits = backend.step(caches, 0, condition, 5, read, np.array([at]))
            at += size
        answers.append(logits)
    for other in answers[1:]:
        assert np.abs(answers[0] - other).max() <= LOGIT_TOLERANCE


def test_a_restored_starter_continues_bit_for_bit(
    onnx: OnnxBackend, policy: StreamPolicy, video: Any, played: Played
) -> None:
    stream = ScoreStream(onnx, policy)
    first = play(stream, 390, video)
    again = play(ScoreStream.restore(onnx, stream.snapshot()), STEPS - 390, video)
    assert np.array_equal(np.concatenate((first.codes, again.codes)), played.codes)
    assert np.array_equal(np.concatenate((first.samples, again.samples)), played.samples)


@pytest.mark.parametrize("size", [1, 7, 50])
def test_its_codec_in_pieces_equals_the_whole(onnx: OnnxBackend, played: Played, size: int) -> None:
    spec = codec.codec_of(onnx.spec)
    codes = played.codes[4:204].T
    whole, _ = codec.decode(onnx, spec, codec.start(spec, 4), codes)
    state, parts = codec.start(spec, 4), []
    for first in range(0, codes.shape[1], size):
        part, state = codec.decode(onnx, spec, state, codes[:, first : first + size])
        parts.append(part)
    assert np.abs(np.concatenate(parts) - whole).max() <= AUDIO_TOLERANCE


def test_it_plays_music_and_answers_a_cut(played: Played) -> None:
    """Not silence, not noise at full scale; the tokens change at the cut at 6 s, as soon as delay and codec allow."""
    samples = played.samples
    assert 0.005 < float(np.sqrt(np.mean(samples**2))) < 0.5
    assert np.isfinite(samples).all()
    percussion = played.codes[:, 0]
    changed = np.flatnonzero(np.diff(percussion)) + 1
    assert np.abs(changed - 300).min() <= 5
