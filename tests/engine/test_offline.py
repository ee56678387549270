"""The published protocol: its windows, fault and all, the corrected ones, and the frames that its reader takes."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from streams import advance

from engine.generate import Window, generate
from engine.offline import (
    Span,
    compose,
    encode,
    global_indices,
    local_times,
    published_local_indices,
    schedule,
)
from engine.segments import Segments
from engine.spec import StreamPolicy
from export.random_model import published_spec

SPEC = published_spec("medium")
SCHEDULE = json.loads((Path(__file__).parents[1] / "fixtures" / "schedule.json").read_text())
CASES = [(case["duration"], case["extend_stride"]) for case in SCHEDULE]


@pytest.mark.parametrize("case", SCHEDULE, ids=lambda c: f"{c['duration']} s, stride {c['extend_stride']} s")
def test_the_published_schedule_is_reproduced(case: dict[str, Any]) -> None:
    spans = schedule(SPEC, case["duration"], case["extend_stride"], as_published=True)
    expected = [
        Span(s["audio_start_token"], s["prompt_tokens"], s["max_gen_len"], s["first_local"], s["n_local"])
        for s in case["segments"]
    ]
    assert spans == expected
    assert all(s["last_local"] == s["first_local"] + s["n_local"] - 1 for s in case["segments"])
    assert sum(s.total - s.prompt for s in spans) == case["total_tokens"]


def test_the_table_has_all_of_its_schedules() -> None:
    assert len(SCHEDULE) == len(set(CASES)) == 56


@pytest.mark.parametrize(("duration", "stride"), CASES)
def test_every_corrected_window_sees_the_frames_under_its_audio(duration: int, stride: float) -> None:
    spans = schedule(SPEC, duration, stride)
    published = schedule(SPEC, duration, stride, as_published=True)
    assert [(s.start, s.prompt, s.total) for s in spans] == [(s.start, s.prompt, s.total) for s in published]
    for span in spans:
        seen = range(span.first_frame * 25, (span.first_frame + span.frames) * 25)
        assert seen.start <= span.start < seen.start + 25
        assert abs(seen.stop - (span.start + span.total)) < 25
        assert 0 < span.frames <= 60
        assert span.first_frame + span.frames <= 2 * duration
    assert spans[:-1] == published[:-1]  # only the last window of the published reader is wrong


def test_the_published_last_window_sees_frames_from_too_early() -> None:
    """31 s: its music is 29.5 s to 31 s, its pictures 1 s to 2.5 s (B1)."""
    published, corrected = (schedule(SPEC, 31, as_published=flag)[-1] for flag in (True, False))
    assert (published.first_frame, published.frames) == (2, 3)
    assert (corrected.first_frame, corrected.frames) == (59, 3)


def test_a_model_with_short_windows_goes_on_by_half_a_window() -> None:
    short = replace(SPEC, decoder=replace(SPEC.decoder, trained_s=15.0))
    spans = schedule(short, 40)
    assert [(s.start, s.prompt, s.total) for s in spans] == [
        (0, 0, 750),
        (375, 375, 750),
        (750, 375, 750),
        (1125, 375, 750),
        (1500, 375, 500),
    ]
    assert [(s.first_frame, s.frames) for s in spans[:2]] == [(0, 30), (15, 30)]


@pytest.mark.parametrize("duration", [0.1, 0.51, 3.3, 29.99, 30.0, 30.01, 61.2345, 599.98])
def test_the_corrected_schedule_covers_any_duration_to_a_step(duration: float) -> None:
    spans = schedule(SPEC, duration)
    assert sum(s.total - s.prompt for s in spans) == round(50 * duration)
    assert spans[-1].start + spans[-1].total == round(50 * duration)
    assert all(b.start == a.start + 1475 and b.prompt == a.total - 1475 for a, b in pairwise(spans))
    assert max(s.first_frame + s.frames for s in spans) <= len(local_times(SPEC, duration))


@pytest.mark.parametrize("stride", [0, -1, 0.01, 30, 31])
def test_a_stride_without_overlap_or_advance_is_refused(stride: float) -> None:
    with pytest.raises(ValueError, match=f"above 0 and below 30.0 s, not {stride}"):
        schedule(SPEC, 60, stride)


# --- which frames the published reader takes


@pytest.mark.parametrize(
    ("rate", "interval"), [(24, 12), (30, 15), (50, 25), (60, 30), (29.97, 15), (23.976, 12), (25, 13)]
)
def test_local_frames_lie_a_rounded_up_half_second_apart(rate: float, interval: int) -> None:
    count = int(30 * rate)
    taken = published_local_indices(SPEC, rate, count, 30)
    real = list(range(0, count, interval))[:60]
    assert taken == real + [real[-1]] * (60 - len(real))


def test_at_25_frames_a_second_the_published_reader_drifts_and_pads() -> None:
    """58 frames in 30 s, 1.923 a second, then two copies of the last: a frame's index and its time part by 4 %."""
    taken = published_local_indices(SPEC, 25, 750, 30)
    assert taken[:58] == list(range(0, 750, 13))
    assert taken[57:] == [741] * 3
    assert taken[50] / 25 == 26.0  # the frame that stands for 25 s


def test_a_video_that_ends_early_is_padded_with_its_last_frame() -> None:
    assert published_local_indices(SPEC, 30, 40, 3) == [0, 15, 30, 30, 30, 30]


def test_global_frames_are_the_truncated_even_spread_of_float32() -> None:
    for count in (*range(1, 400), 750, 899, 1800, 5393, 107_892):
        expected = torch.linspace(0, count - 1, 32).long().tolist()
        assert global_indices(SPEC, count) == expected
        assert (expected[0], expected[-1]) == (0, count - 1)


# --- composing


POLICY = StreamPolicy(seed=3, top_k=50)


def shown(backend: Any, pictures: Any) -> tuple[Any, Any]:
    return encode(backend, pictures(12, 1)), encode(backend, pictures(4, 2), long_term=True)


def test_frames_are_encoded_in_batches_of_any_size_alike(short_backend: Any, pictures: Any) -> None:
    frames = pictures(19, 1)
    for long_term, branch in ((False, short_backend.look), (True, short_backend.remember)):
        alone = np.concatenate([branch(short_backend.encode_frames(f[None])) for f in frames])
        assert np.abs(encode(short_backend, frames, long_term) - alone).max() <= 5e-6  # seen: 1e-6


def test_a_window_continues_the_one_before_it(short_backend: Any, pictures: Any) -> None:
    """Windows of 2 s with an overlap of half a second: each is what `generate` makes of the overlap as its prompt."""
    spec = short_backend.spec
    short, memory = shown(short_backend, pictures)
    spans = schedule(spec, 4.2, stride_s=1.5)
    assert [(s.start, s.prompt, s.total) for s in spans] == [(0, 0, 100), (75, 25, 100), (150, 25, 60)]
    parts = list(compose(short_backend, short, memory, spans, POLICY))
    assert [p.shape for p in parts] == [(4, 100), (4, 75), (4, 35)]
    codes = np.concatenate(parts, axis=1)
    for span in spans:
        condition = short_backend.new_condition(spec.window_slots)
        tokens = short_backend.fuse(short[span.first_frame : span.first_frame + span.frames], memory)
        short_backend.write_condition(condition, 0, tokens)
        prompt = codes[:, span.start : span.start + span.prompt]
        window = Window(condition, len(tokens), prompt, span.total, span.start)
        expected = generate(short_backend, window, POLICY)
        assert np.array_equal(expected, codes[:, span.start : span.start + span.total])
        assert np.array_equal(expected[:, : span.prompt], prompt)


def test_as_published_every_window_draws_from_the_same_random_stream(
    short_torch_backend: Any, pictures: Any
) -> None:
    """B4; by default draws go on. Two windows that start from nothing and see the same play the same, or not."""
    short, memory = shown(short_torch_backend, pictures)
    spans = [Span(0, 0, 40, 0, 3), Span(40, 0, 40, 0, 3)]
    published = list(compose(short_torch_backend, short, memory, spans, POLICY, as_published=True))
    corrected = list(compose(short_torch_backend, short, memory, spans, POLICY))
    assert np.array_equal(published[0], published[1])
    assert np.array_equal(published[0], corrected[0])
    assert (corrected[0] != corrected[1]).mean() > 0.5


@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_streaming_generation_equals_offline_generation(
    short_backend: Any, pictures: Any, guidance: float
) -> None:
    """Under one condition a stream's first segment is a window: the same columns, up to the flush that a stream never does."""
    policy = StreamPolicy(seed=3, guidance=guidance, context_s=0.8)
    short, memory = shown(short_backend, pictures)
    condition = short_backend.new_condition(3)
    short_backend.write_condition(condition, 0, short_backend.fuse(short[:3], memory))
    window = Window(condition, 3, np.zeros((4, 0), np.int64), 96)
    offline = generate(short_backend, window, policy)
    segments = Segments(short_backend, policy)
    for _ in range(100):
        advance(segments, condition, 3)
    assert np.array_equal(segments.codes(0, 94), offline[:, :94])
