"""One window of music: read a prompt, then one column after another. The published protocol's inner loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import F32, I64, Backend, DrawCall, HasPlaces, StepCall
from engine.patterns import DelayPattern
from engine.sampling import draw_all, sample
from engine.spec import StreamPolicy

Choose = Callable[[F32, int], I64]
"""From the logits [R, K, card] of the next column and the step that keys its draw to tokens [K]."""


@dataclass(frozen=True, slots=True)
class Window:
    """What one window is generated from. `first_step` keys its draws."""

    condition: Any
    frames: int
    prompt: I64
    """[K, T]: code frames that the window continues; T may be 0."""
    total: int
    """Code frames at its end, prompt included."""
    first_step: int = 0


def pattern_of(backend: Backend[Any, Any]) -> DelayPattern:
    return DelayPattern(backend.spec.decoder.codebooks, backend.spec.decoder.special)


def generate(
    backend: Backend[Any, Any],
    window: Window,
    policy: StreamPolicy,
    allowed: NDArray[np.bool_] | None = None,
    choose: Choose | None = None,
) -> I64:
    """Codes [K, total]. The tail is flushed as published: empty cells of the last columns read the special token.

    allowed: see `DrawCall`. choose: how tokens are drawn, in place of the backend's or `sample`'s way with the policy.
    """
    pattern, known = pattern_of(backend), window.prompt.shape[1] + 1
    steps = pattern.columns_for(window.total)
    columns = pattern.sequence(window.prompt, steps)
    given = pattern.filled(steps, window.prompt.shape[1])
    empty = ~pattern.filled(steps, window.total)
    caches = backend.new_caches(1, policy.guided, _positions(backend, steps))
    read = 0
    for column in range(known, steps):
        fresh = columns[None, read:column]
        call = StepCall(caches, 0, window.condition, window.frames, fresh, np.array([read]))
        drawn = _drawn(backend, DrawCall(call, 0, policy, window.first_step + column, allowed), choose)
        read = column
        columns[column] = np.where(given[column] | empty[column], columns[column], drawn)
    return pattern.codes(columns)


def _positions(backend: Backend[Any, Any], steps: int) -> int:
    """Of the caches. Where there are places, windows of all lengths share them and what is captured over them."""
    return max(steps, backend.spec.max_positions) if isinstance(backend, HasPlaces) else steps


def _drawn(backend: Backend[Any, Any], call: DrawCall[Any, Any], choose: Choose | None) -> I64:
    """[K], where the logits are if that can be: behind a single column, and as the policy says."""
    if choose is None and call.step.tokens.shape[1] == 1:
        return draw_all(backend, [call])[0][0]
    logits = call.step.on(backend)[0]
    return choose(logits, call.column) if choose else sample(logits, call.policy, call.column, call.allowed)
