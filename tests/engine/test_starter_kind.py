"""Models of the starter's kind: frames that carry their motion and their age, and an oscillator codec."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from streams import camera, play

from engine import codec
from engine.backends.onnxruntime import OnnxBackend
from engine.backends.torch import TorchBackend
from engine.frames import Frame
from engine.motion import SAMPLE_STEPS, MotionPicture
from engine.sight import Sight
from engine.spec import ModelSpec, OscillatorSpec, StreamPolicy
from engine.stream import ScoreStream
from export.checkpoint import Package, load_model, load_package, save_package
from export.random_model import nano_spec, tiny_spec

Pictures = Callable[[int, int], NDArray[np.uint8]]

FLOAT_TOLERANCE = 1e-5
"""Largest absolute difference in float32, tokens and logits. Seen: 3e-6."""
AUDIO_TOLERANCE = 2e-4
"""Seen: 3e-5, samples of random weights reaching 30; the order of sums differs with the length of a piece."""


def random(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def codes(frames: int, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, 128, (4, frames))


def verbs(backend: Any) -> Iterator[tuple[str, Any]]:
    """Every verb that a model of this kind does otherwise than a published one."""
    spec = backend.spec
    frames = np.random.default_rng(1).integers(0, 256, (3, 56, 56, 4), dtype=np.uint8)
    yield "features", backend.encode_frames(frames)
    condition = backend.new_condition(5)
    backend.write_condition(condition, 0, random(2, 3, spec.vision.tokens, spec.decoder.width))
    backend.write_ages(condition, np.array([5, 0, 2]))
    caches = backend.new_caches(2, True, 20)
    tokens = np.random.default_rng(3).integers(0, 128, (2, 1, 4))
    for position in range(3):
        at = np.array([position, position])
        yield f"logits{position}", backend.step(caches, 0, condition, 3, tokens, at)
    prompt = np.random.default_rng(4).integers(0, 128, (1, 7, 4))
    alone = backend.new_caches(1, True, 20)
    yield "prefill", backend.step(alone, 0, condition, 3, prompt, np.array([0]))


def test_the_exported_model_equals_pytorch(
    nano_torch_backend: TorchBackend, nano_onnx_backend: OnnxBackend
) -> None:
    for (name, expected), (_, found) in zip(verbs(nano_torch_backend), verbs(nano_onnx_backend), strict=True):
        assert np.abs(expected - found).max() <= FLOAT_TOLERANCE, name
    torch_audio, onnx_audio = (b.synthesise(codes(40), 93) for b in (nano_torch_backend, nano_onnx_backend))
    assert np.abs(torch_audio - onnx_audio).max() <= AUDIO_TOLERANCE


def test_an_age_is_an_embedding_added_to_the_tokens(nano_package: Package) -> None:
    """The model without ages, given the sums, is the same model: what is held of the ages apart changes nothing."""
    spec, weights = nano_package.spec, dict(nano_package.weights)
    embedding = weights.pop("decoder.age_embedding").numpy()
    ageless = Package(replace(spec, decoder=replace(spec.decoder, ages=0)), weights)
    aged, plain = TorchBackend(load_model(nano_package)), TorchBackend(load_model(ageless))
    tokens, ages = random(0, 4, spec.vision.tokens, spec.decoder.width), np.array([3, 0, 5, 1])
    columns = np.random.default_rng(0).integers(0, 128, (1, 6, 4))
    answers = []
    for backend, shown in ((aged, tokens), (plain, tokens + embedding[ages][:, None])):
        condition, caches = backend.new_condition(4), backend.new_caches(1, True, 10)
        backend.write_condition(condition, 0, shown)
        backend.write_ages(condition, ages)
        answers.append(backend.step(caches, 0, condition, 4, columns, np.array([0])))
    assert np.abs(answers[0] - answers[1]).max() <= FLOAT_TOLERANCE
    assert np.abs(answers[0][0, 0] - answers[0][0, 1]).max() > 0.01  # the null row is not the conditional one


def test_the_condition_holds_the_ages_of_the_window(
    nano_torch_backend: TorchBackend, pictures: Pictures
) -> None:
    sight = Sight(nano_torch_backend, StreamPolicy(short_term_s=5.0))
    frames = pictures(64, 0)  # a cut at frame 60
    for step in range(640):
        if step % 10 == 0:
            sight.push(Frame(frames[step // 10], step))
        sight.look(step)
        newest = max(sight.window.places)
        expected = [min(newest - slot, 5) for slot in sight.window.places]
        assert sight.condition.ages[: sight.frames].tolist() == expected
    assert sight.counts["cuts"] == 1
    assert expected == [1, 0]


def test_a_published_model_has_no_ages_and_no_motion(onnx_backend: OnnxBackend) -> None:
    assert not any("ages" in i for i in onnx_backend.manifest.graphs["step"]["inputs"])
    assert tiny_spec().vision.planes == 3


def test_what_is_encoded_carries_the_motion_that_was_shown(
    nano_torch_backend: TorchBackend, pictures: Pictures
) -> None:
    sight, motion = Sight(nano_torch_backend, StreamPolicy()), MotionPicture()
    for i, pixels in enumerate(pictures(20, 0)):
        frame = Frame(pixels, i * 10)
        sight.push(frame)
        motion.show(frame)
        sight.look(i * 10)
    expected = nano_torch_backend.encode_frames(motion.beside(frame)[None])[0]
    newest = max(sight._held, key=lambda seen: seen.step)
    assert np.array_equal(newest.features, expected)
    still = nano_torch_backend.encode_frames(np.dstack((pixels, pixels[..., 0] * 0))[None])[0]
    assert np.abs(still - expected).max() > 0.01


@pytest.mark.parametrize("every", [5, 10])
def test_motion_is_seen_alike_at_any_rate(pictures: Pictures, every: int) -> None:
    """A faster camera is compared no more often than each `SAMPLE_STEPS`."""
    moving = pictures(60, 0)
    slow, fast = MotionPicture(), MotionPicture()
    for step in range(0, 300):
        frame = Frame(moving[step // every * every // SAMPLE_STEPS % 60], step)
        fast.show(frame)
        if step % SAMPLE_STEPS == 0:
            slow.show(frame)
    assert fast.mean == pytest.approx(slow.mean, rel=1e-6)
    assert fast.mean > 0.01


def test_a_cut_is_no_motion(pictures: Pictures) -> None:
    motion, still = MotionPicture(), pictures(61, 0)
    for step in range(0, 100, 5):
        motion.show(Frame(still[0], step))
    motion.show(Frame(still[60], 100), cut=True)
    for step in range(105, 150, 5):
        motion.show(Frame(still[60], step))
    assert motion.level() == 0.0


def test_motion_outlives_any_number_of_cuts(pictures: Pictures) -> None:
    motion, moving = MotionPicture(), pictures(61, 0)
    for step in range(0, 50, 5):
        motion.show(Frame(moving[step], step))
    for step in range(50, 600, 10):  # a strobe
        motion.show(Frame(moving[step % 61], step), cut=True)
        assert 0 <= motion.mean < 1
        assert 0 <= motion.level() <= 1
        motion.plane(64)
    fresh = MotionPicture()
    for step in range(600, 700, 5):
        for each in (motion, fresh):
            each.show(Frame(moving[step % 61], step), cut=step == 600)
    assert motion.mean == fresh.mean > 0.01


def whole(backend: TorchBackend, spec: OscillatorSpec, read: NDArray[np.int64], first: int = 0) -> Any:
    nothing = np.full((4, spec.context), spec.codebook_size)
    return backend.synthesise(np.concatenate((nothing, read), 1), first)


def pieces(backend: Any, state: Any, read: NDArray[np.int64], sizes: tuple[int, ...]) -> Any:
    first, i, samples = 0, 0, []
    while first < read.shape[1]:
        end = first + sizes[i % len(sizes)]
        piece, state = codec.decode(backend, backend.spec.codec, state, read[:, first:end])
        samples.append(piece)
        first, i = end, i + 1
    return np.concatenate(samples)


@pytest.mark.parametrize("sizes", [(1,), (5,), (25,), (2, 9, 1, 30)], ids=str)
def test_oscillators_in_pieces_equal_the_whole(
    nano_backend: Any, nano_torch_backend: TorchBackend, sizes: tuple[int, ...]
) -> None:
    spec, read = nano_backend.spec.codec, codes(130)  # longer than the period
    expected = whole(nano_torch_backend, spec, read)
    found = pieces(nano_backend, codec.start(spec, 4), read, sizes)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= AUDIO_TOLERANCE
    assert np.abs(expected).max() > 0.1


@pytest.mark.parametrize("before", [96, 9_999_996])
def test_oscillators_go_on_without_a_seam_after_any_time(nano_backend: Any, before: int) -> None:
    """Far into a stream it sounds as after as many frames of the first period, over the period's end too."""
    spec, read = nano_backend.spec.codec, codes(20, seed=1)
    start = codec.start(spec, 4)
    early = pieces(nano_backend, replace(start, emitted=before % spec.period), read, (20,))
    late = pieces(nano_backend, replace(start, emitted=before), read, (3,))
    assert np.abs(early - late).max() <= AUDIO_TOLERANCE


def test_a_partial_goes_on_smoothly_over_the_period(nano_torch_backend: TorchBackend) -> None:
    """Steady amplitudes give a steady tone where the frame's number wraps: no sample leaps further there than elsewhere."""
    sound = nano_torch_backend.model.codec
    assert sound is not None
    amplitudes = torch.zeros(9, sound.spec.amplitudes)
    amplitudes[:, 12] = 0.5
    samples = sound.sound(amplitudes, torch.tensor(sound.spec.period - 4)).detach().numpy()
    leaps = np.abs(np.diff(samples))
    assert leaps[4 * sound.spec.hop - 1] <= leaps.max() * 1.001
    assert leaps.max() <= 0.5 * 2 * np.pi * 110.2 / 32000 * 1.01  # the slope of a sine of that pitch


def test_a_code_changes_no_sample_before_its_frame(nano_torch_backend: TorchBackend) -> None:
    spec, read = nano_torch_backend.spec.codec, codes(60)
    other = read.copy()
    other[:, 30] = (other[:, 30] + 1) % 128
    changed = np.flatnonzero(whole(nano_torch_backend, spec, read) != whole(nano_torch_backend, spec, other))
    assert changed[0] // spec.hop == 30
    assert changed[-1] // spec.hop <= 30 + spec.context


def test_a_stream_with_oscillators_looks_nothing_ahead(nano_backend: Any, pictures: Pictures) -> None:
    stream = ScoreStream(nano_backend, StreamPolicy(chunk_steps=3))
    stream.push(pictures(1, 0)[0])
    for _ in range(3 + 3):  # three code frames are complete three steps of delay later
        assert stream.take() is None
        stream.advance()
    chunk = stream.take()
    assert chunk is not None
    assert len(chunk.samples) == 3 * 640


def test_a_restored_stream_continues(nano_backend: Any, pictures: Pictures) -> None:
    policy, video = StreamPolicy(seed=3, short_term_s=3.0), camera(pictures(64, 0))
    stream = ScoreStream(nano_backend, policy)
    play(stream, 113, video)
    again = ScoreStream.restore(nano_backend, stream.snapshot())
    went_on, restored = play(stream, 100, video), play(again, 100, video)
    assert np.array_equal(went_on.codes, restored.codes)
    assert np.array_equal(went_on.samples, restored.samples)


def test_caches_are_computed_again_while_the_picture_stood_still(
    nano_backend: Any, pictures: Pictures
) -> None:
    stream, still = ScoreStream(nano_backend, StreamPolicy(hold_last_frame=False)), pictures(1, 0)[0]
    play(stream, 113, lambda step: still if step == 0 else None)
    again = ScoreStream.restore(nano_backend, stream.snapshot(caches=False))
    went_on, restored = play(stream, 100, lambda _: None), play(again, 100, lambda _: None)
    assert np.array_equal(went_on.codes, restored.codes)
    assert np.array_equal(went_on.samples, restored.samples)


def test_chunks_of_any_size_are_the_same_music(nano_backend: Any, pictures: Pictures) -> None:
    video = camera(pictures(30, 0))
    small, large = (
        play(ScoreStream(nano_backend, StreamPolicy(chunk_steps=n)), 103, video).samples for n in (5, 20)
    )
    assert np.abs(small[: len(large)] - large[: len(small)]).max() <= AUDIO_TOLERANCE


def test_a_package_keeps_its_spec_and_weights(nano_package: Package, tmp_path: Any) -> None:
    save_package(nano_package, tmp_path)
    again = load_package(str(tmp_path))
    assert again.spec == nano_package.spec
    assert all(torch.equal(again.weights[k], v) for k, v in nano_package.weights.items())
    assert "decoder.age_embedding" in again.weights


def test_a_spec_of_another_kind_of_codec_is_refused() -> None:
    text = nano_spec().to_json().replace('"kind": "oscillator"', '"kind": "vinyl"')
    with pytest.raises(ValueError, match="unknown kind 'vinyl'; known are encodec, oscillator"):
        ModelSpec.from_json(text)
    assert ModelSpec.from_json(nano_spec().to_json()) == nano_spec()
