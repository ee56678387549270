"""Seeing: what the condition holds after each step, recomputed from the frames that were shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from streams import camera, play

from engine.frames import Frame, colour_shift, difference
from engine.sight import Sight
from engine.spec import StreamPolicy
from engine.stream import ScoreStream

U8 = NDArray[np.uint8]
SLOT = 25
"""Steps of a frame slot."""
KEYS_TOLERANCE = 5e-6
"""Of cross-attention keys and values that reach 5; fusing frames together or one by one sums alike. Seen: 1e-6."""


def plain(**changes: Any) -> StreamPolicy:
    """A closed grid without cuts, similarity or held frames: slot and frame are one."""
    grid = StreamPolicy(
        hold_last_frame=False,
        short_term_s=5.0,
        open_slot=False,
        similar_below=0.0,
        on_cut="ignore",
        refresh="exact",
        encode_every_steps=1,
    )
    return replace(grid, **changes)


def shown(sight: Sight, frame: U8, step: int) -> None:
    sight.push(Frame(frame, step))
    sight.look(step)


def condition_of(sight: Sight) -> NDArray[np.float32]:
    held: NDArray[np.float32] = sight.backend.read_condition(sight.condition, sight.frames)
    return held


def expected_condition(sight: Sight, frames: Mapping[int, U8]) -> NDArray[np.float32]:
    """From the pictures alone: every slot's frame fused with the frames that long-term memory recalls now."""
    backend = sight.backend
    recalled = sight.long_term.recalled(sight.policy.recalled)
    memory = backend.remember(backend.encode_frames(np.stack([frames[s] for s in recalled])))
    short = backend.look(backend.encode_frames(np.stack([frames[s] for s in sight.window.places])))
    fresh = backend.new_condition(sight.frames)
    backend.write_condition(fresh, 0, backend.fuse(short, memory))
    held: NDArray[np.float32] = backend.read_condition(fresh, sight.frames)
    return held


@pytest.mark.parametrize("recalled", [2, 8])
def test_exact_refresh_fuses_every_held_frame_with_what_is_recalled_now(
    backend: Any, pictures: Callable[..., U8], recalled: int
) -> None:
    """After every step, over changes of the recalled set and over a window that is full and loses its oldest."""
    sight = Sight(backend, plain(long_term_capacity=8, recalled=recalled))
    frames = dict(enumerate(pictures(30, 1)))
    sets = set()
    for slot, frame in frames.items():
        shown(sight, frame, slot * SLOT)
        assert sorted(sight.window.places) == list(range(max(0, slot - 9), slot + 1))
        assert np.abs(condition_of(sight) - expected_condition(sight, frames)).max() <= KEYS_TOLERANCE
        sets.add(tuple(sight.long_term.recalled(recalled)))
    assert len(sets) > 10


def test_rolling_refresh_comes_to_the_same_once_nothing_changes(
    backend: Any, pictures: Callable[..., U8]
) -> None:
    sight = Sight(backend, plain(refresh="rolling", refresh_every_steps=1))
    frames = dict(enumerate(pictures(12, 1)))
    for slot, frame in frames.items():
        for step in range(slot * SLOT, slot * SLOT + 3):
            if step % SLOT == 0:
                sight.push(Frame(frame, step))
            sight.look(step)
    stale = np.abs(condition_of(sight) - expected_condition(sight, frames)).max()
    assert stale > 100 * KEYS_TOLERANCE  # three steps were too few for ten frames
    for step in range(11 * SLOT + 3, 11 * SLOT + 3 + sight.frames):
        sight.look(step)
    assert np.abs(condition_of(sight) - expected_condition(sight, frames)).max() <= KEYS_TOLERANCE
    assert sight.counts["encoded"] == 12


def paused(seed: int, count: int) -> list[int]:
    """Slots of a source that pauses: frames of the window expire in groups, and others move into their places."""
    gaps = np.random.default_rng(seed).choice([1, 1, 1, 2, 6, 14], count)
    return [int(slot) for slot in np.cumsum(gaps)]


@pytest.mark.parametrize("seed", range(3))
def test_exact_refresh_holds_for_a_source_that_pauses_too(
    torch_backend: Any, pictures: Callable[..., U8], seed: int
) -> None:
    sight = Sight(torch_backend, plain(long_term_capacity=4, recalled=3))
    frames, moved = dict(zip(paused(seed, 40), pictures(40, 1), strict=True)), 0
    for slot, frame in frames.items():
        before = list(sight.window.places)
        shown(sight, frame, slot * SLOT)
        places = enumerate(sight.window.places)
        moved += sum(held in before and before.index(held) != place for place, held in places)
        assert np.abs(condition_of(sight) - expected_condition(sight, frames)).max() <= KEYS_TOLERANCE
    assert moved


@pytest.mark.parametrize("seed", range(3))
def test_rolling_refresh_catches_up_with_a_source_that_pauses_too(
    torch_backend: Any, pictures: Callable[..., U8], seed: int
) -> None:
    """A frame that waits for its refresh and moves meanwhile is refreshed where it lies then."""
    sight = Sight(
        torch_backend, plain(refresh="rolling", refresh_every_steps=1, long_term_capacity=4, recalled=3)
    )
    frames = dict(zip(paused(seed, 40), pictures(40, 1), strict=True))
    for slot, frame in frames.items():
        shown(sight, frame, slot * SLOT)
        if slot % 3 == 0:
            for step in range(slot * SLOT + 1, slot * SLOT + 12):
                sight.look(step)
            assert np.abs(condition_of(sight) - expected_condition(sight, frames)).max() <= KEYS_TOLERANCE


@pytest.mark.parametrize("every", [1, 5])
def test_rolling_refresh_is_one_frame_each_so_many_steps_and_leaves_none_out(
    torch_backend: Any, pictures: Callable[..., U8], every: int
) -> None:
    sight = Sight(torch_backend, plain(refresh="rolling", refresh_every_steps=every))
    frames, waiting = pictures(30, 1), dict[int, int]()
    for step in range(30 * SLOT):
        if step % SLOT == 0:
            sight.push(Frame(frames[step // SLOT], step))
        before = sight.counts["refreshed"]
        sight.look(step)
        assert sight.counts["refreshed"] - before <= (step % every == 0)
        stale = {sight.window.places[place] for place in sight.state()[0]["stale"]}
        waiting = {slot: waiting.get(slot, 0) + 1 for slot in stale}
        assert max(waiting.values(), default=0) <= every * 12  # ten frames in the window, each in its turn
    assert sight.counts["refreshed"] > 100


def test_a_new_frame_is_never_stale(torch_backend: Any, pictures: Callable[..., U8]) -> None:
    """With rolling refresh too, the newest frame meets the long-term set that it is part of."""
    sight, exact = Sight(torch_backend, plain(refresh="rolling")), Sight(torch_backend, plain())
    for slot, frame in enumerate(pictures(20, 1)):
        for each in (sight, exact):
            shown(each, frame, slot * SLOT)
        place = sight.window.places.index(slot)
        assert (
            np.abs(condition_of(sight)[:, :, place] - condition_of(exact)[:, :, place]).max()
            <= KEYS_TOLERANCE
        )


def test_an_open_slot_shows_a_newer_frame_before_the_grid(backend: Any, pictures: Callable[..., U8]) -> None:
    sight = Sight(backend, plain(open_slot=True, encode_every_steps=10))
    one, two, three = pictures(3, 2)
    shown(sight, one, 0)
    first = condition_of(sight)
    shown(sight, two, 5)
    assert np.array_equal(condition_of(sight), first)  # encoded too lately
    sight.look(9)
    assert np.array_equal(condition_of(sight), first)
    sight.look(10)
    assert sight.frames == 1
    assert sight.newest_step == 5
    assert np.abs(condition_of(sight) - first).max() > 1e-2
    # The slot's place in long-term memory keeps the frame that it was opened with.
    memory = backend.remember(backend.encode_frames(one[None]))
    fresh = backend.new_condition(1)
    backend.write_condition(fresh, 0, backend.fuse(backend.look(backend.encode_frames(two[None])), memory))
    assert np.abs(condition_of(sight) - backend.read_condition(fresh, 1)).max() <= KEYS_TOLERANCE
    shown(sight, three, 25)
    assert (sight.frames, sight.newest_step) == (2, 25)


def test_a_closed_grid_shows_a_newer_frame_when_the_next_slot_opens(
    backend: Any, pictures: Callable[..., U8]
) -> None:
    sight = Sight(backend, plain())
    frames = pictures(3, 2)
    shown(sight, frames[0], 0)
    first = condition_of(sight)
    for step in range(1, SLOT):
        shown(sight, frames[1], step)
        assert np.array_equal(condition_of(sight), first)
    sight.look(SLOT)
    assert (sight.frames, sight.newest_step) == (2, SLOT - 1)
    assert sight.counts["encoded"] == 2


def test_frames_are_encoded_at_most_as_often_as_the_policy_says(
    torch_backend: Any, pictures: Callable[..., U8]
) -> None:
    sight = Sight(torch_backend, StreamPolicy(encode_every_steps=10, similar_below=0.0, on_cut="ignore"))
    frames, encoded = pictures(200, 2), []
    for step in range(200):
        before = sight.counts["encoded"]
        shown(sight, frames[step], step)
        if sight.counts["encoded"] > before:
            encoded.append(step)
    opened = [slot * SLOT for slot in range(8)]
    assert all(step in encoded for step in opened)
    assert all(b - a >= 10 or b in opened for a, b in pairwise(encoded))
    assert len(encoded) == 3 * 8  # at 0, 10 and 20 of each slot


def test_the_mailbox_keeps_the_newest_frame_only(torch_backend: Any, pictures: Callable[..., U8]) -> None:
    frames = pictures(4, 2)
    many, one = Sight(torch_backend, plain()), Sight(torch_backend, plain())
    for step, frame in enumerate(frames):
        many.push(Frame(frame, step))
    one.push(Frame(frames[-1], 3))
    for sight in (many, one):
        sight.look(4)
    assert np.array_equal(condition_of(many), condition_of(one))
    assert (many.counts["pushed"], many.counts["replaced"], many.counts["encoded"]) == (4, 3, 1)
    assert many.newest_step == 3


def test_similar_frames_are_not_encoded_again(torch_backend: Any, pictures: Callable[..., U8]) -> None:
    """They still count as seen: the picture is as old as the last one of them."""
    still = pictures(1, 3)[0]
    noisy = np.clip(still.astype(int) + np.random.default_rng(0).integers(-2, 3, still.shape), 0, 255).astype(
        np.uint8
    )
    assert difference(Frame(still, 0), Frame(noisy, 0)) < 0.004
    sight = Sight(torch_backend, StreamPolicy(similar_below=0.004))
    for step in range(100):
        shown(sight, still if step % 2 == 0 else noisy, step)
    assert sight.counts["encoded"] == 1
    assert sight.counts["similar"] >= 4
    assert sight.newest_step >= 90
    assert sight.frames == 4
    every = Sight(torch_backend, StreamPolicy(similar_below=0.0))
    for step in range(100):
        shown(every, still, step)
    assert every.counts["encoded"] > 4
    assert np.abs(condition_of(sight) - condition_of(every)).max() <= KEYS_TOLERANCE


def scenes() -> tuple[U8, U8]:
    """Two pictures without a colour in common."""
    red, blue = np.zeros((2, 56, 56, 3), np.uint8)
    red[..., 0], blue[..., 2] = 200, 200
    red[10:20], blue[30:50, 5:20] = 40, 250
    return red, blue


def test_at_a_cut_the_window_forgets_and_long_term_memory_keeps(torch_backend: Any) -> None:
    red, blue = scenes()
    sight = Sight(torch_backend, StreamPolicy(similar_below=0.0, on_cut="forget"))
    for step in range(4 * SLOT + 5):
        shown(sight, red, step)
    assert (sight.frames, sight.memory_slots) == (5, [0, 1, 2, 3, 4])
    shown(sight, blue, 4 * SLOT + 5)
    assert sight.frames == 1  # at once: neither the grid nor `encode_every_steps` is waited for
    assert sight.newest_step == 4 * SLOT + 5
    assert sight.memory_slots == [0, 1, 2, 3, 4]
    assert (sight.counts["cuts"], sight.cuts) == (1, [4 * SLOT + 5])
    backend = sight.backend
    fresh = backend.new_condition(1)
    memory = backend.remember(backend.encode_frames(np.stack([red] * 5)))
    backend.write_condition(fresh, 0, backend.fuse(backend.look(backend.encode_frames(blue[None])), memory))
    assert np.abs(condition_of(sight) - backend.read_condition(fresh, 1)).max() <= KEYS_TOLERANCE
    shown(sight, blue, 5 * SLOT)
    assert sight.memory_slots == [0, 1, 2, 3, 4, 5]


def test_a_cut_that_is_ignored_changes_the_new_slot_only(torch_backend: Any) -> None:
    red, blue = scenes()
    sight = Sight(torch_backend, StreamPolicy(similar_below=0.0, on_cut="ignore"))
    for step in range(4 * SLOT):
        shown(sight, red, step)
    shown(sight, blue, 4 * SLOT)
    assert sight.frames == 5
    assert sight.counts["cuts"] == 0


def test_a_cut_is_seen_also_when_its_first_frame_never_left_the_mailbox(torch_backend: Any) -> None:
    red, blue = scenes()
    sight = Sight(torch_backend, StreamPolicy(on_cut="forget"))
    shown(sight, red, 0)
    sight.look(SLOT)
    assert sight.frames == 2
    sight.push(Frame(blue, SLOT + 1))
    sight.push(Frame(blue, SLOT + 2))
    sight.look(SLOT + 3)
    assert (sight.frames, sight.newest_step, sight.counts["cuts"]) == (1, SLOT + 2, 1)


def test_motion_and_flashes_are_no_cuts(torch_backend: Any, pictures: Callable[..., U8]) -> None:
    """A picture that moves keeps its colours; one that darkens a little keeps its thumbnail."""
    frames = pictures(60, 5)
    darker = (frames[0] * 0.9).astype(np.uint8)
    sight = Sight(torch_backend, StreamPolicy(on_cut="forget"))
    for step, frame in enumerate([*frames, frames[0], darker, frames[0]]):
        shown(sight, frame, step)
    assert difference(Frame(frames[0], 0), Frame(frames[20], 0)) > 0.12
    assert colour_shift(Frame(frames[0], 0), Frame(frames[20], 0)) == 0
    assert sight.counts["cuts"] == 0


def test_a_source_that_stops_equals_one_that_repeats_its_frame(
    backend: Any, pictures: Callable[..., U8]
) -> None:
    """With frames held, the same codes: the screen still shows the last frame."""
    frames = pictures(5, 4)
    stopping = camera(frames, 10)

    def repeating(step: int) -> U8 | None:
        return frames[min(step // 10, 4)] if step % 5 == 0 else None

    policy = StreamPolicy(hold_last_frame=True, similar_below=0.004, on_cut="ignore")
    stopped, repeated = ScoreStream(backend, policy), ScoreStream(backend, policy)
    codes = [play(s, 300, v).codes for s, v in ((stopped, stopping), (repeated, repeating))]
    assert np.array_equal(*codes)
    assert stopped.sight.frames == repeated.sight.frames == 12
    assert stopped.sight.counts["held"] >= 9
    assert (stopped.sight.newest_step, repeated.sight.newest_step >= 275) == (40, True)


def test_what_stands_still_after_a_pause_is_new_in_the_newest_slot_alone(
    torch_backend: Any, pictures: Callable[..., U8]
) -> None:
    """Slots that a held frame filled were seen when it was captured, whatever comes later."""
    sight, still = Sight(torch_backend, StreamPolicy()), pictures(1, 3)[0]
    shown(sight, still, 0)
    for step in range(1, 3 * SLOT + 10):
        sight.look(step)
    shown(sight, still, 3 * SLOT + 10)
    assert (sight.counts["held"], sight.counts["similar"]) == (3, 1)
    assert sight.captured == {0: 0, 1: 0, 2: 0, 3: 3 * SLOT + 10}


def test_of_frames_captured_in_one_step_the_last_one_is_held(torch_backend: Any) -> None:
    """As they come while a listener hears again what was missed: the steps that sound stand still, music is made."""
    red, blue = scenes()
    sight = Sight(torch_backend, StreamPolicy(on_cut="ignore", refresh="exact"))
    for slot, frame in enumerate((red, blue)):
        sight.push(Frame(frame, 0))
        sight.look(slot * SLOT)
    sight.look(2 * SLOT)
    _, first, last = condition_of(sight).swapaxes(0, 2)
    assert np.abs(first - last).max() <= KEYS_TOLERANCE


def test_without_holding_a_source_that_stops_leaves_the_window_as_it_is(
    torch_backend: Any, pictures: Callable[..., U8]
) -> None:
    sight = Sight(torch_backend, plain())
    for slot, frame in enumerate(pictures(3, 4)):
        shown(sight, frame, slot * SLOT)
    before = condition_of(sight)
    for step in range(3 * SLOT, 40 * SLOT):
        sight.look(step)
    assert np.array_equal(condition_of(sight), before)


def test_a_source_slower_than_the_grid_can_be_watched_for_minutes(
    torch_backend: Any, pictures: Callable[..., U8]
) -> None:
    """A frame every second, each in the middle of it: no slot is even."""
    sight, frame = Sight(torch_backend, plain(similar_below=0.004)), pictures(1, 4)[0]
    for slot in range(1, 150, 2):
        shown(sight, frame, slot * SLOT)
    assert sight.memory_slots


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (np.zeros((56, 56), np.uint8), r"uint8 \[56, 56\]"),
        (np.zeros((28, 56, 3), np.uint8), r"uint8 \[28, 56, 3\]"),
        (np.zeros((56, 56, 4), np.uint8), r"uint8 \[56, 56, 4\]"),
        (np.zeros((56, 56, 3), np.float32), r"float32 \[56, 56, 3\]"),
        (np.zeros((1, 56, 56, 3), np.uint8), r"uint8 \[1, 56, 56, 3\]"),
    ],
    ids=["grey", "not square", "alpha", "float", "batch"],
)
def test_a_frame_of_another_shape_or_type_is_refused(torch_backend: Any, frame: Any, found: str) -> None:
    stream = ScoreStream(torch_backend)
    with pytest.raises(ValueError, match=r"uint8 \[56, 56, 3\], not " + found):
        stream.push(frame)
    assert stream.sight.counts["pushed"] == 0


def test_difference_and_colour_shift_are_distances() -> None:
    red, blue = (Frame(pixels, 0) for pixels in scenes())
    black, white = (Frame(np.full((56, 56, 3), v, np.uint8), 0) for v in (0, 255))
    for measure in (difference, colour_shift):
        assert measure(red, red) == 0
        assert measure(red, blue) == measure(blue, red) > 0
        assert measure(black, white) == pytest.approx(1)
    grey = Frame(np.full((56, 56, 3), 51, np.uint8), 0)
    assert difference(black, grey) == pytest.approx(0.2)
    noise = np.random.default_rng(0).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    rolled = Frame(np.roll(noise, 20, axis=0), 0)
    assert colour_shift(Frame(noise, 0), rolled) == 0
