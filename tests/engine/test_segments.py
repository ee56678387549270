"""Playing without an end: a following segment is a prefilled one, no position is beyond training, context never runs out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from streams import advance

from engine.patterns import DelayPattern
from engine.segments import Segments, context_steps
from engine.spec import StreamPolicy

LOGITS_TOLERANCE = 1e-5
"""Of logits and caches that reach 6. Seen: at most 3e-6."""


def conditioned(backend: Any, seed: int = 0, frames: int = 3) -> Any:
    spec = backend.spec
    shape = (frames, spec.vision.tokens, spec.decoder.width)
    condition = backend.new_condition(frames)
    backend.write_condition(
        condition, 0, np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    )
    return condition


def short_policy(**changes: Any) -> StreamPolicy:
    """Segments of 101 columns of which the following one has heard 40 when it takes over."""
    return StreamPolicy(context_s=0.8, **changes)


@pytest.mark.parametrize("guidance", [3.0, 1.0])
@pytest.mark.parametrize("heard", [1, 2, 20, 40])
def test_a_following_segment_equals_one_that_read_its_columns_as_a_prompt(
    short_backend: Any, heard: int, guidance: float
) -> None:
    """After `heard` columns, at the hand-over too: the same caches, and the same logits for the column that comes next."""
    policy = short_policy(guidance=guidance)
    segments, condition = Segments(short_backend, policy), conditioned(short_backend)
    while segments.following is None or segments.held_positions(segments.following) < heard:
        advance(segments, condition, 3)
        if segments.leading.ordinal == 1:
            break
    segment = segments.following or segments.leading
    assert segment.ordinal == 1
    assert (segments.following is None) == (heard == 40)
    assert segments.held_positions(segment) == heard

    pattern = DelayPattern(4, 128)
    columns = segments.columns[segment.origin - segments.first :]
    read = np.stack([pattern.begin(c, p) for p, c in enumerate(columns)])[None]
    assert read.shape[1] == heard + 1
    fresh = short_backend.new_caches(1, guidance != 1.0, segments.length)
    short_backend.step(fresh, 0, condition, 3, read[:, :heard], np.zeros(1, np.int64))
    held = short_backend.read_caches(segments.caches, segment.slot, heard)
    assert np.abs(short_backend.read_caches(fresh, 0, heard) - held).max() <= LOGITS_TOLERANCE

    at = (read[:, heard:], np.array([heard]))
    expected = short_backend.step(fresh, 0, condition, 3, *at)
    got = short_backend.step(segments.caches, segment.slot, condition, 3, *at)
    assert np.abs(got - expected).max() <= LOGITS_TOLERANCE
    assert np.abs(expected).max() > 1


def test_a_following_segment_does_not_change_what_the_leading_one_plays(short_backend: Any) -> None:
    """Up to the hand-over the codes are those of a stream that never starts one."""
    condition, plays = conditioned(short_backend), []
    for context_s in (0.0, 0.8):
        segments = Segments(short_backend, StreamPolicy(context_s=context_s, temperature=0))
        for _ in range(100):
            advance(segments, condition, 3)
        plays.append(np.stack(segments.columns))
    assert np.array_equal(*plays)


@pytest.mark.parametrize("context_s", [0.0, 0.02, 0.5, 1.0])
def test_no_position_is_beyond_training_and_context_never_falls_below_the_policy(
    short_torch_backend: Any, context_s: float
) -> None:
    check_positions(short_torch_backend, context_s)


@pytest.mark.parametrize("context_s", [1.02, 1.4, 2.0])
def test_context_longer_than_half_a_segment_is_kept_too_or_cut_to_half(
    short_torch_backend: Any, context_s: float
) -> None:
    check_positions(short_torch_backend, context_s)


def check_positions(backend: Any, context_s: float) -> None:
    policy = StreamPolicy(context_s=context_s, guidance=1.0)
    segments, condition = Segments(backend, policy), conditioned(backend)
    promised = context_steps(backend.spec, policy)
    assert promised == segments.context
    ordinal, handed_over = 0, 0
    for _ in range(520):
        following = segments.following
        advance(segments, condition, 3)
        leading = segments.leading
        assert segments.held_positions(leading) < backend.spec.trained_steps
        assert segments.following is None or segments.following.slot != leading.slot
        assert segments.following is None or segments.following.origin > leading.origin
        if leading.ordinal != ordinal:
            handed_over += 1
            assert leading.ordinal == ordinal + 1
            assert following is None or leading == following
            assert segments.held_positions(leading) == promised
            ordinal = leading.ordinal
    assert handed_over >= 5


def test_every_segment_is_used_to_its_last_trained_position(short_torch_backend: Any) -> None:
    policy = StreamPolicy(context_s=0.5, guidance=1.0)
    segments, condition = Segments(short_torch_backend, policy), conditioned(short_torch_backend)
    for _ in range(300):
        before, newest = segments.leading, segments.known - 1
        advance(segments, condition, 3)
        if segments.leading != before:
            assert newest - before.origin == short_torch_backend.spec.trained_steps - 1


def test_released_columns_are_never_asked_for_again(short_torch_backend: Any) -> None:
    """Holding only what is needed changes no code, and what is held stays bounded."""
    condition, plays = conditioned(short_torch_backend), []
    for releases in (False, True):
        segments = Segments(short_torch_backend, short_policy())
        sampled = []
        for _ in range(450):
            advance(segments, condition, 3)
            sampled.append(segments.columns[-1])
            if releases and segments.frames >= 10:
                played = segments.frames - 10
                assert segments.codes(played, segments.frames).shape == (4, 10)
                segments.release(played)
                assert len(segments.columns) <= short_torch_backend.spec.trained_steps + 1
        plays.append(np.stack(sampled))
    assert np.array_equal(*plays)


def test_codes_are_the_columns_without_their_delay(short_torch_backend: Any) -> None:
    segments, condition = Segments(short_torch_backend, short_policy()), conditioned(short_torch_backend)
    for _ in range(60):
        advance(segments, condition, 3)
    expected = DelayPattern(4, 128).codes(np.stack(segments.columns))
    assert segments.frames == expected.shape[1] == 57
    assert np.array_equal(segments.codes(0, 57), expected)
    assert np.array_equal(segments.codes(20, 31), expected[:, 20:31])


def test_the_special_token_is_never_sampled(short_torch_backend: Any) -> None:
    segments, condition = (
        Segments(short_torch_backend, short_policy(top_k=0)),
        conditioned(short_torch_backend),
    )
    for _ in range(120):
        advance(segments, condition, 3)
    assert np.stack(segments.columns[1:]).max() < 128
