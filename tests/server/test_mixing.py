"""Levels belong to samples: any chunking gives the same ones, ramps begin and end where they are told, none undoes another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import RATE, rig, tone

from engine.spec import StreamPolicy
from server.core.controls import ChangeNow, Duck, Fade, Gain, Hold, Mute, Turn
from server.core.errors import SessionError
from server.core.mixing import Ducking, Mix, Ramp, amplitude, crossfade
from server.core.policies import mixed

SOUND = tone(0, 20_000)


def busy_mix() -> Mix:
    mix = mixed(Mix(), Gain(-6.0, over_s=0.1), 1000, RATE)
    mix = mixed(mix, Fade(0.25, over_s=0.2), 2500, RATE)
    mix = mixed(mix, Mute(True), 9000, RATE)
    mix = mixed(mix, Duck(Ducking()), 9000, RATE)
    return mix.hear(-20.0, 4000, RATE)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 4000), min_size=1, max_size=30))
def test_any_chunking_gives_the_same_samples(sizes: list[int]) -> None:
    mix, at, parts = busy_mix(), 0, []
    for size in [*sizes, len(SOUND)]:
        parts.append(mix.apply(SOUND[at : at + size], at))
        at += len(parts[-1])
    assert np.array_equal(np.concatenate(parts), mix.apply(SOUND, 0))


@pytest.mark.parametrize("shape", ["linear", "equal_power"])
def test_a_ramp_is_exact_to_the_sample(shape: str) -> None:
    ramp = Ramp().towards(0.5, 100, 10, shape)  # type: ignore[arg-type]
    levels = ramp.levels(0, 200)
    assert (levels[:100] == 1).all()
    assert (levels[109:] == 0.5).all()
    assert (np.diff(levels[99:110]) < 0).all()
    middle = {"linear": 0.75, "equal_power": np.sqrt((1 + 0.25) / 2)}[shape]
    assert levels[104] == pytest.approx(middle)


def test_a_ramp_begins_where_the_last_one_was_broken_off() -> None:
    first = Ramp().towards(0.0, 0, 1000)
    second = first.towards(1.0, 500, 100)
    assert second.levels(499, 1)[0] == first.levels(499, 1)[0] == 0.5
    assert second.levels(599, 1)[0] == 1


def test_untouched_samples_stay_what_they_are() -> None:
    assert Mix().apply(SOUND, 7) is SOUND
    back = mixed(mixed(Mix(), Mute(True), 10, RATE), Mute(False), 5000, RATE)
    assert np.array_equal(back.apply(SOUND, 0)[6000:], SOUND[6000:])


def test_ducking_follows_the_original_sound() -> None:
    mix = mixed(Mix(), Duck(Ducking(threshold_db=-40, depth_db=-12, attack_s=0.1, release_s=0.5)), 0, RATE)
    loud = mix.hear(-30.0, 1000, RATE)
    assert loud.hear(-31.0, 2000, RATE) is loud
    assert loud.duck.levels(1000 + 3200, 1)[0] == pytest.approx(amplitude(-12))
    quiet = loud.hear(-50.0, 10_000, RATE)
    assert quiet.duck.levels(26_000, 1)[0] == 1


def test_a_crossfade_keeps_the_power() -> None:
    noise = np.random.default_rng(0).normal(size=(2, 32_000)).astype(np.float32)
    mixed_up = crossfade(noise[0], noise[1])
    assert np.std(mixed_up) == pytest.approx(1.0, abs=0.02)
    parts = [
        crossfade(noise[0, i : i + 640], noise[1, i : i + 640], i, 32_000) for i in range(0, 32_000, 640)
    ]
    assert np.array_equal(np.concatenate(parts), mixed_up)


@pytest.mark.parametrize(
    "control",
    [
        Gain(13.0),
        Gain(float("nan")),
        Gain(0.0, over_s=-1),
        Mute(True, over_s=float("nan")),
        Fade(1.5),
        Turn(StreamPolicy(guidance=1.0)),
        Turn(StreamPolicy(short_term_s=20.0)),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_and_changes_nothing(control: object) -> None:
    played = rig()
    played.run(1)
    before = (played.session.playout.mix, played.session.policy, played.session.policy_revision)
    with pytest.raises(SessionError) as caught:
        played.session.control(played.now, control)  # type: ignore[arg-type]
    assert caught.value.code == "bad_request"
    assert (played.session.playout.mix, played.session.policy, played.session.policy_revision) == before


def test_controls_are_heard_and_chunks_say_which_they_know() -> None:
    played = rig(room_s=20.0)
    played.run(2)
    policy = StreamPolicy(
        seed=5, guidance=4.0, temperature=0.5, short_term_s=20.0, energy=0.5, on_cut="gentle"
    )
    played.session.control(played.now, Turn(policy))
    played.session.control(played.now, Gain(-6.0, over_s=0.0))
    mark = played.chunks[-1].first_sample + 640
    chunks = played.run(2)
    assert (chunks[0].mix_revision, chunks[0].policy_revision, chunks[-1].policy_revision) == (1, 0, 1)
    assert np.array_equal(
        np.concatenate([chunk.samples for chunk in chunks]),
        (tone(mark, 640 * len(chunks)) * np.float64(amplitude(-6.0))).astype(np.float32),
    )
    assert [chunks[0].seed, chunks[-1].seed] == [0, 5]
    assert played.voice.stream.policy == policy


def test_a_held_scene_is_not_looked_at_and_a_change_can_be_asked_for() -> None:
    played = rig()
    played.run(1)
    played.session.control(played.now, Hold(True))
    played.session.frame(played.now, np.zeros((8, 8, 3), np.uint8))
    played.run(1)
    assert {chunk.newest_step for chunk in played.chunks} == {0}
    played.session.control(played.now, Hold(False))
    played.session.control(played.now, ChangeNow())
    played.session.frame(played.now, np.zeros((8, 8, 3), np.uint8))
    played.run(1)
    assert played.chunks[-1].newest_step > 90
    assert played.voice.stream.turns == 1  # type: ignore[attr-defined]
