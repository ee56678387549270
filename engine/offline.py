"""A whole file by the published protocol: windows of 30 s, a stride, and the overlap as a prompt.

`as_published=True` keeps two faults of the published reader so that its results can be reproduced: the last window is given
frames from too early in the video (B1 in the notes), and every window draws from the same random stream (B4). By default the
last window sees the frames that its music plays over, and draws go on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backends.base import I64, U8, Backend, Kept
from engine.generate import Window, generate
from engine.keys import Keys, allowed_in, signature_of
from engine.spec import ModelSpec, StreamPolicy

STRIDE_S = 29.5
"""As published. A model with shorter windows than that goes on by half a window."""
ENCODE_AT_ONCE = 8
"""Frames that go through the vision tower together."""
MAX_OFFLINE_S = 3600.0
"""Whole-file scoring holds every frame's features, 0.3 MB for a second of video; longer videos are scored live."""


@dataclass(frozen=True, slots=True)
class Span:
    """One window of the schedule, in code frames and local video frames."""

    start: int
    """The code frame at which the window begins, its prompt included."""
    prompt: int
    total: int
    first_frame: int
    frames: int


def schedule(
    spec: ModelSpec, duration_s: float, stride_s: float | None = None, as_published: bool = False
) -> list[Span]:
    """The windows that cover `duration_s`. Raises ValueError when windows would not overlap or not advance.

    stride_s: from the beginning of a window to that of the next one; by default see `STRIDE_S`.
    """
    longest = spec.trained_steps - 1
    if stride_s is None:
        stride_s = STRIDE_S if STRIDE_S * spec.code_rate < longest else longest / spec.code_rate / 2
    stride = int(spec.code_rate * stride_s)
    if not 0 < stride < longest:
        raise ValueError(f"the stride must be above 0 and below {longest / spec.code_rate} s, not {stride_s}")
    total = int(spec.code_rate * duration_s) if as_published else round(spec.code_rate * duration_s)
    windows = _published_frames if as_published else _aligned_frames
    return list(windows(spec, total, stride, stride_s, duration_s))


def _spans(spec: ModelSpec, total: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """(start, prompt, length) of each window."""
    start = prompt = 0
    while start + prompt < total:
        length = min(total - start, spec.trained_steps - 1)
        yield start, prompt, length
        prompt = max(0, length - stride)
        start += stride


def _aligned_frames(
    spec: ModelSpec, total: int, stride: int, _stride_s: float, _duration_s: float
) -> Iterator[Span]:
    for start, prompt, length in _spans(spec, total, stride):
        first = start // spec.steps_per_slot
        end = math.ceil((start + length) / spec.steps_per_slot)
        yield Span(start, prompt, length, first, min(end - first, spec.window_slots))


def _published_frames(
    spec: ModelSpec, total: int, stride: int, stride_s: float, duration_s: float
) -> Iterator[Span]:
    """The published loop drops a stride of frames, or keeps the last window's worth; then takes the first ones of those."""
    rate, full = spec.long_short.frame_rate, spec.window_slots
    first, end = 0, int(rate * duration_s)
    for start, prompt, length in _spans(spec, total, stride):
        wanted = int(rate * min(duration_s - start / spec.code_rate, spec.decoder.trained_s))
        yield Span(start, prompt, length, first, min(wanted, end - first))
        dropped = int(rate * stride_s)
        first = max(0, end - full) if end - first - dropped < full else first + dropped


def local_times(spec: ModelSpec, duration_s: float) -> list[float]:
    """When each local frame is due: the middle of no slot, but its beginning, as published."""
    rate = spec.long_short.frame_rate
    return [i / rate for i in range(max(1, math.ceil(duration_s * rate)))]


def published_local_indices(
    spec: ModelSpec, frame_rate: float, frame_count: int, duration_s: int
) -> list[int]:
    """Source frames as the published reader takes them, drift of odd frame rates included; the last one pads."""
    rate = spec.long_short.frame_rate
    interval = math.ceil(frame_rate / rate)
    wanted = rate * duration_s
    taken = list(range(0, min(frame_count, interval * wanted), interval))[:wanted]
    return taken + [taken[-1]] * (wanted - len(taken))


def global_indices(spec: ModelSpec, frame_count: int) -> list[int]:
    """Evenly spread source frames over the whole video, rounded down."""
    spread = np.linspace(0, frame_count - 1, spec.long_short.recalled, dtype=np.float32)
    return [int(i) for i in spread]


def encode(backend: Backend[Any, Any], frames: U8, long_term: bool = False) -> Kept:
    """What the frames [F, S, S, 3] contribute: short-term features [F, P, E], or long-term memory [F, 2, P, E]."""
    branch = backend.remember if long_term else backend.look
    parts = range(0, len(frames), ENCODE_AT_ONCE)
    return backend.gather(
        [row for i in parts for row in branch(backend.encode_frames(frames[i : i + ENCODE_AT_ONCE]))]
    )


def _ages(spec: ModelSpec, frames: int) -> I64:
    """Of the frames of a window, a slot apart, the last one the newest."""
    return np.minimum(np.arange(frames)[::-1], spec.decoder.ages - 1)


def compose(
    backend: Backend[Any, Any],
    short: Kept,
    memory: Kept,
    spans: Sequence[Span],
    policy: StreamPolicy,
    as_published: bool = False,
    keys: Keys | None = None,
) -> Iterator[I64]:
    """The code frames [K, t] that each window adds, in order. Raises ValueError for a key that the model cannot be held to.

    short: features [L, P, E] of all local frames; memory: [M, 2, P, E] of the global ones.
    """
    spec = backend.spec
    condition = backend.new_condition(spec.window_slots)
    codes = np.zeros((spec.decoder.codebooks, 0), np.int64)
    allowed = allowed_in(keys, signature_of(keys, policy.key, policy.seed))
    for span in spans:
        tokens = backend.fuse(short[span.first_frame : span.first_frame + span.frames], memory)
        backend.write_condition(condition, 0, tokens)
        if spec.decoder.ages:
            backend.write_ages(condition, _ages(spec, len(tokens)))
        prompt = codes[:, codes.shape[1] - span.prompt :]
        first_step = 0 if as_published else span.start
        window = Window(condition, len(tokens), prompt, span.total, first_step)
        codes = generate(backend, window, policy, allowed)
        yield codes[:, span.prompt :]
