"""Which frames are held, as integer rules: bounded, evenly spread, and always the right frame in the right place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.memory import LongTermMemory, ShortTermWindow

TEN_HOURS = 10 * 3600 * 2
gaps = st.lists(st.integers(1, 40), min_size=1, max_size=400)
"""Slots that pass from one frame to the next: a source may pause, and only slots with a frame are opened."""


def grown(memory: LongTermMemory, slot: int) -> list[int]:
    return memory.add(slot) if memory.takes(slot) else []


@pytest.mark.parametrize("capacity", [2, 6, 64])
def test_long_term_memory_is_bounded_and_even_over_ten_hours(capacity: int) -> None:
    """From the first slot on: multiples of the stride without a gap, up to the newest, at most `capacity` of them."""
    memory = LongTermMemory(capacity)
    for slot in range(TEN_HOURS):
        grown(memory, slot)
        assert memory.held == list(range(0, slot + 1, memory.stride))
        assert len(memory.held) <= capacity
        assert slot < capacity or len(memory.held) > capacity // 2
    assert memory.stride >= TEN_HOURS / capacity


@pytest.mark.parametrize("count", [1, 2, 3, 31, 32, 64])
def test_recalled_slots_are_the_nearest_to_an_even_spread(count: int) -> None:
    memory = LongTermMemory(64)
    for slot in range(5000):
        grown(memory, slot)
        recalled = memory.recalled(count)
        assert len(recalled) == min(count, len(memory.held))
        assert recalled == sorted(set(recalled) & set(memory.held))
        if count > 1:
            assert (recalled[0], recalled[-1]) == (memory.held[0], memory.held[-1])
            ideal = np.linspace(memory.held[0], memory.held[-1], len(recalled))
            assert np.abs(np.array(recalled) - ideal).max() <= memory.stride / 2 + 1e-9


@given(gaps, st.sampled_from([2, 8, 64]))
def test_long_term_memory_is_bounded_whatever_comes(steps: list[int], capacity: int) -> None:
    memory, held, slot = LongTermMemory(capacity), set[int](), -1
    for gap in steps:
        slot += gap
        if memory.takes(slot):
            held.add(slot)
            dropped = memory.add(slot)
            assert set(dropped) <= held
            held -= set(dropped)
        assert memory.held == sorted(held)  # what it says that it dropped is what it dropped
        assert len(held) <= capacity


@given(gaps, st.sampled_from([2, 8, 64]))
def test_long_term_memory_never_forgets_everything(steps: list[int], capacity: int) -> None:
    memory, slot = LongTermMemory(capacity), -1
    for gap in steps:
        slot += gap
        grown(memory, slot)
        assert memory.held
        assert memory.recalled(32)


@pytest.mark.parametrize("phase", [0, 1, 3])
@pytest.mark.parametrize("every", [2, 3, 4])
def test_a_source_slower_than_the_grid_is_remembered_evenly_too(every: int, phase: int) -> None:
    """A frame every second, on even or on odd slots: half an hour of it fills at least half of the memory."""
    memory = LongTermMemory(64)
    for slot in range(phase, 3600, every):
        grown(memory, slot)
        assert memory.held
    assert len(memory.held) >= 16
    assert max(np.diff(memory.held)) <= 3600 / 8


@given(gaps, st.integers(1, 60))
def test_the_window_holds_the_newest_slots_each_with_its_frame(steps: list[int], capacity: int) -> None:
    window, frames, slot, seen = ShortTermWindow(capacity), [], 7, []
    for gap in steps:
        slot += gap
        seen.append(slot)
        order = window.open(slot)
        assert len([place for place in order if place is None]) == 1
        frames = [slot if place is None else frames[place] for place in order]
        assert window.places == frames
        assert window.newest == slot
        assert sorted(frames) == [s for s in seen if s > slot - capacity]
        assert len(frames) <= capacity


@given(gaps, st.integers(1, 60))
def test_as_few_frames_move_as_can_be(steps: list[int], capacity: int) -> None:
    """Places in use stay a prefix, so only frames from behind its end have to move, and they fill the holes."""
    window, slot = ShortTermWindow(capacity), 0
    for gap in steps:
        slot += gap
        kept = [place for place, held in enumerate(window.places) if held > slot - capacity]
        order = window.open(slot)
        moved = [place for place, old in enumerate(order) if old is not None and old != place]
        assert len(moved) == sum(place >= len(order) for place in kept)


def test_a_full_window_replaces_exactly_its_oldest() -> None:
    window = ShortTermWindow(20)
    for slot in range(200):
        before = list(window.places)
        order = window.open(slot)
        changed = [place for place, old in enumerate(order) if old != place]
        assert len(changed) == 1
        if len(before) == 20:
            assert before[changed[0]] == slot - 20


def test_a_forgotten_window_starts_again() -> None:
    window = ShortTermWindow(3)
    for slot in range(5):
        window.open(slot)
    window.forget()
    assert window.newest is None
    assert window.open(5) == [None]
    assert window.places == [5]
