"""The synthetic stream's laws: its sound says which picture it has seen and when; chunks are one piece; restored is continued."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from cuestream.players import find_player
from engine.errors import PackageError
from engine.frames import F32
from engine.spec import StreamPolicy
from engine.stream import MAX_UNTAKEN_STEPS
from engine.synthetic import HOP, SAMPLE_RATE, SIDE, SyntheticPlayer, SyntheticStream, tone_hz

PLAYER = SyntheticPlayer()
FRAMES = {0: 20, 30: 40, 60: 230, 90: 250, 117: 10}
"""Grey levels by step: two jumps, and two changes that are none."""
JUMPS = [60, 117]
STEPS = 150


def picture(level: int) -> NDArray[np.uint8]:
    return np.full((SIDE, SIDE, 3), level, np.uint8)


def play(stream: SyntheticStream, until: int) -> list[F32]:
    """The chunks up to step `until`, each where the one before ended."""
    parts: list[F32] = []
    chunk_steps = stream.policy.chunk_steps
    first = stream.now // chunk_steps * chunk_steps * HOP
    while stream.now < until:
        if stream.now in FRAMES:
            stream.push(picture(FRAMES[stream.now]))
        stream.advance()
        while chunk := stream.take():
            assert chunk.first_sample == first + sum(map(len, parts))
            parts.append(chunk.samples)
    return parts


def whole(policy: StreamPolicy, until: int = STEPS) -> F32:
    return np.concatenate(play(PLAYER.open(policy), until))


def loudest_hz(samples: F32) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax()) * SAMPLE_RATE / len(samples)


def test_it_is_found_by_its_name_and_labelled() -> None:
    player = find_player("synthetic")
    assert player.name == "synthetic"
    assert "neither music nor a model" in player.label


def test_a_bright_picture_and_a_dark_one_are_two_tones() -> None:
    samples = whole(StreamPolicy(seed=3))
    for first, bright in ((0, False), (30, False), (61, True), (90, True), (118, False)):
        assert loudest_hz(samples[first * HOP : (first + 25) * HOP]) == tone_hz(3, bright)


def test_a_jump_clicks_at_the_next_step_and_in_no_other() -> None:
    samples = whole(StreamPolicy())
    loud = [step for step in range(STEPS) if np.abs(samples[step * HOP : (step + 1) * HOP]).max() > 0.3]
    assert loud == JUMPS
    assert np.abs(whole(StreamPolicy(on_cut="ignore"))).max() < 0.21


def test_a_turn_clicks_once_and_is_counted_as_a_cut() -> None:
    stream = PLAYER.open(StreamPolicy())
    play(stream, 25)
    stream.turn()
    clicked, after = play(stream, 35)
    assert np.abs(clicked).max() > 0.3 > np.abs(after).max()
    assert PLAYER.held(stream).cuts == [25]
    assert PLAYER.held(stream).cuts == []


@pytest.mark.parametrize("chunk_steps", [1, 10, 30])
def test_the_size_of_a_chunk_changes_no_sample(chunk_steps: int) -> None:
    assert np.array_equal(whole(StreamPolicy(chunk_steps=chunk_steps)), whole(StreamPolicy()))


def test_steps_join_without_a_seam() -> None:
    """Where nothing clicks no two samples are further apart than those of the higher tone."""
    steps = np.abs(np.diff(whole(StreamPolicy(on_cut="ignore"))))
    assert steps.max() <= 0.2 * 2 * np.pi * tone_hz(0, True) / SAMPLE_RATE


def test_the_seed_decides_and_may_change_while_it_plays() -> None:
    assert np.array_equal(whole(StreamPolicy(seed=4)), whole(StreamPolicy(seed=4)))
    assert not np.array_equal(whole(StreamPolicy(seed=4)), whole(StreamPolicy(seed=5)))
    stream = PLAYER.open(StreamPolicy(seed=4))
    play(stream, 20)
    stream.set_policy(replace(stream.policy, seed=5))
    assert loudest_hz(np.concatenate(play(stream, 45))) == tone_hz(5, False)


def test_a_chunk_says_which_picture_it_knows_and_how_old_that_is() -> None:
    stream = PLAYER.open(StreamPolicy(seed=9))
    stream.push(picture(0), 0)
    for _ in range(5):
        stream.advance()
    stream.push(picture(0), 4)
    for _ in range(5):
        stream.advance()
    first, second = stream.take(), stream.take()
    assert first is not None
    assert second is not None
    assert [(c.newest_step, c.age_steps, c.seed) for c in (first, second)] == [(0, 5, 9), (4, 6, 9)]


@pytest.mark.parametrize("at", [1, 7, 60, 119])
def test_restored_equals_continued(at: int) -> None:
    stream = PLAYER.open(StreamPolicy(seed=2))
    play(stream, at)
    if at in FRAMES:
        stream.push(picture(FRAMES[at]))  # its click is still to come
    restored = PLAYER.restore(stream.snapshot())
    one, other = (np.concatenate(play(each, STEPS)) for each in (stream, restored))
    assert np.array_equal(one, other)
    assert PLAYER.held(stream) == PLAYER.held(restored)
    assert stream.snapshot() == restored.snapshot()


def test_a_damaged_snapshot_and_that_of_another_player_are_refused() -> None:
    stream = PLAYER.open(StreamPolicy())
    play(stream, 7)
    blob = stream.snapshot()
    for bad in (b"", b"nonsense", blob[:-1], blob.replace(b'"now": 7', b'"now": 8')):
        with pytest.raises(PackageError):
            PLAYER.restore(bad)


def test_closing_gives_the_rest() -> None:
    stream = PLAYER.open(StreamPolicy())
    play(stream, 48)
    rest = stream.close(47)
    assert rest is not None
    assert len(rest.samples) == 2 * HOP
    assert stream.close() is None
    assert stream.take() is None


def push_twice_too_large(stream: SyntheticStream) -> None:
    stream.push(np.zeros((2 * SIDE, SIDE, 3), np.uint8))


def advance_untaken(stream: SyntheticStream) -> None:
    stream.push(picture(0))
    for _ in range(MAX_UNTAKEN_STEPS + 1):
        stream.advance()


def advance_closed(stream: SyntheticStream) -> None:
    stream.push(picture(0))
    stream.close()
    stream.advance()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (push_twice_too_large, "uint8 \\[32, 32, 3\\]"),
        (SyntheticStream.advance, "needs a frame"),
        (advance_untaken, "wait to be taken"),
        (advance_closed, "closed"),
    ],
)
def test_what_cannot_be_is_said(what: Callable[[SyntheticStream], None], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        what(PLAYER.open(StreamPolicy()))
