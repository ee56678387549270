"""Energy: livelier or calmer than the picture, in the order of what moves; without it everything is as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from streams import camera, play

from engine.backends.torch import TorchBackend
from engine.frames import Frame
from engine.motion import LIVELY, MotionPicture, livened
from engine.player import ModelPlayer
from engine.sight import Sight
from engine.spec import StreamPolicy
from engine.stream import ScoreStream

Pictures = Callable[[int, int], NDArray[np.uint8]]
unit, energies = st.floats(0, 1), st.floats(-1, 1)


@given(unit, unit, energies)
def test_what_moves_more_is_never_calmer(calm: float, lively: float, energy: float) -> None:
    calm, lively = sorted((calm, lively))
    assert 0 <= livened(calm, energy) <= livened(lively, energy) <= 1


def test_neighbours_keep_their_order() -> None:
    """To the last bit: rounding turns no two places round, and lifts none above the liveliest."""
    motion = np.sort(np.random.default_rng(0).random(200_000))
    after = np.minimum(1, np.nextafter(motion, 2))
    for energy in (-0.7, 0.1, 0.3, 0.77, 0.9, 1.0):
        for lively in (LIVELY, 1.0):
            assert np.all(livened(motion, energy, lively) <= livened(after, energy, lively))
            assert np.all(livened(motion, energy, lively) <= np.maximum(motion, lively))


@given(unit, energies, energies)
def test_more_energy_is_never_calmer(motion: float, less: float, more: float) -> None:
    less, more = sorted((less, more))
    assert livened(motion, less) <= livened(motion, more)
    assert livened(motion, 0.0) == motion
    assert livened(motion, 1.0, LIVELY) == max(motion, LIVELY)


def shown(pixels: NDArray[np.uint8]) -> MotionPicture:
    motion = MotionPicture()
    for i, each in enumerate(pixels):
        motion.show(Frame(each, i * 10))
    return motion


def test_the_picture_of_motion_goes_from_nothing_to_lively_everywhere(pictures: Pictures) -> None:
    moving = pictures(20, 0)
    levels = [shown(moving).level(energy) for energy in (-1, -0.5, 0, 0.5, 1)]
    assert levels == sorted(set(levels))
    assert levels[0] == 0
    assert shown(moving).plane(56, 1).min() >= int(255 * LIVELY**0.5)
    still = shown(moving[:1])  # one frame: nothing can have moved yet
    assert still.plane(56, 0.5).tolist() == np.full((56, 56), int(255 * (LIVELY / 2) ** 0.5)).tolist()


def test_a_change_is_seen_though_no_frame_comes(nano_torch_backend: TorchBackend, pictures: Pictures) -> None:
    """The newest frame is looked at again: what is known of it is another, its moment is the same."""
    sight = Sight(nano_torch_backend, StreamPolicy())
    frame = Frame(pictures(1, 0)[0], 3)
    sight.push(frame)
    for step in range(3, 40):
        sight.look(step)
    calm = sight._held[-1]
    sight.set_policy(replace(sight.policy, energy=0.8))
    sight.look(40)
    lively = sight._held[-1]
    expected = nano_torch_backend.encode_frames(shown(frame.pixels[None]).beside(frame, 0.8)[None])[0]
    assert np.array_equal(lively.features, expected)
    assert np.abs(calm.features - expected).max() > 0.01
    assert (sight.counts["encoded"], calm.step, lively.step) == (2, 3, 3)
    sight.set_policy(replace(sight.policy, seed=1))
    sight.look(41)
    assert sight.counts["encoded"] == 2  # another setting is no reason to look again


def test_before_a_frame_a_change_waits_for_one(nano_torch_backend: TorchBackend, pictures: Pictures) -> None:
    one, two = (
        Sight(nano_torch_backend, StreamPolicy()),
        Sight(nano_torch_backend, StreamPolicy(energy=-0.4)),
    )
    one.set_policy(two.policy)
    for sight in (one, two):
        sight.look(0)
        for step, pixels in enumerate(pictures(3, 0)):
            sight.push(Frame(pixels, step * 10))
            sight.look(step * 10)
    assert np.array_equal(one._held[-1].features, two._held[-1].features)


def test_restored_equals_continued_with_energy(nano_torch_backend: Any, pictures: Pictures) -> None:
    stream, video = ScoreStream(nano_torch_backend, StreamPolicy(seed=3, energy=0.6)), camera(pictures(30, 0))
    play(stream, 55, video)
    again = ScoreStream.restore(nano_torch_backend, stream.snapshot())
    one, two = play(stream, 60, video), play(again, 60, video)
    assert np.array_equal(one.codes, two.codes)
    assert stream.snapshot() == again.snapshot()


def test_a_model_that_sees_no_motion_knows_none(
    torch_backend: TorchBackend, nano_torch_backend: TorchBackend, pictures: Pictures
) -> None:
    assert "energy" in ModelPlayer(nano_torch_backend).follows
    assert "energy" not in ModelPlayer(torch_backend).follows
    video = camera(pictures(12, 0))
    plain, lively = (
        ScoreStream(torch_backend, StreamPolicy(short_term_s=2.0, energy=energy)) for energy in (0.0, 0.9)
    )
    assert np.array_equal(play(plain, 60, video).codes, play(lively, 60, video).codes)
