"""Playing without an end: two overlapping segments of the decoder.

A segment is a stretch of columns with its own origin and cache; the decoder was trained on `trained_steps` positions, no
more. The leading segment is the one whose logits are sampled. When it has `context` columns left, a following segment starts
at position 0 and reads the same columns, one a step, in the same batch; when the leading one is full, the following one takes
over between two steps. No prompt is read again and no step costs more than two segments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backends.base import I64, Backend, DrawCall, StepCall
from engine.generate import pattern_of
from engine.keys import Keys, allowed_in, signature_of
from engine.spec import ModelSpec, StreamPolicy


@dataclass(frozen=True, slots=True)
class Segment:
    """`slot`: which half of the caches it uses. `origin`: the stream's column that it reads at position 0."""

    slot: int
    origin: int
    ordinal: int


def context_steps(spec: ModelSpec, policy: StreamPolicy) -> int:
    """Columns that a following segment holds when it takes over: at most half a segment, so that two are always enough."""
    return min(round(policy.context_s * spec.code_rate), spec.trained_steps // 2)


class Segments:
    """The columns of one stream, and the segments that read them."""

    def __init__(self, backend: Backend[Any, Any], policy: StreamPolicy, keys: Keys | None = None) -> None:
        """Raises ValueError for a key that the model cannot be held to."""
        self.backend, self.policy, self.keys = backend, policy, keys
        self._hold_to(signature_of(keys, policy.key, policy.seed))
        self.pattern = pattern_of(backend)
        self.length = backend.spec.trained_steps
        self.context = context_steps(backend.spec, policy)
        self.caches = backend.new_caches(2, policy.guided, self.length)
        self.leading = Segment(0, 0, 0)
        self.following: Segment | None = None
        self.first = 0
        """The stream's column that `columns[0]` is: older ones no segment will read again."""
        self.columns: list[I64] = [self.pattern.first_column()]

    def check_change(self, policy: StreamPolicy) -> None:
        """Raises ValueError when the caches would need other rows, and for a key that the model cannot be held to."""
        if policy.guided != self.policy.guided:
            raise ValueError(
                "guidance of 1 needs no null rows and any other does: a running stream cannot go from"
                f" {self.policy.guidance:g} to {policy.guidance:g}; open a new one"
            )
        signature_of(self.keys, policy.key, policy.seed)

    def set_policy(self, policy: StreamPolicy) -> None:
        """Play by another policy from the next column on; a following segment that has begun reads on. Another seed alone
        leaves the key as it is."""
        self.check_change(policy)
        if policy.key != self.policy.key:
            self._hold_to(signature_of(self.keys, policy.key, policy.seed))
        self.policy, self.context = policy, context_steps(self.backend.spec, policy)

    def _hold_to(self, signature: int | None) -> None:
        self.signature, self._allowed = signature, allowed_in(self.keys, signature)

    @property
    def known(self) -> int:
        """Columns known so far, the special one included."""
        return self.first + len(self.columns)

    def ask(self, condition: Any, frames: int, steps: int = 1) -> DrawCall[Any, Any]:
        """To read the newest column in every segment, in the order of their slots, and draw what follows; `hear` goes on with
        the answer. It may ask for fewer than `steps`: none of them begins or ends a segment but the first and the last one."""
        newest = self.known - 1
        ends = self.leading.origin + self.length - newest
        begins = ends - self.context
        if self.following is None and begins <= 0:
            self.following = Segment(1 - self.leading.slot, newest, self.leading.ordinal + 1)
        active = self._active
        position = [newest - s.origin for s in active]
        tokens = np.array([self.pattern.begin(self.columns[-1], p) for p in position])[:, None]
        call = StepCall(self.caches, active[0].slot, condition, frames, tokens, np.array(position))
        most = min(steps, ends, begins if self.following is None else ends)
        return DrawCall(call, active.index(self.leading), self.policy, newest + 1, self._allowed, most)

    @property
    def _active(self) -> list[Segment]:
        """In the order of their slots."""
        if self.following is None:
            return [self.leading]
        return [self.leading, self.following][:: 1 if self.leading.slot == 0 else -1]

    def hear(self, columns: I64) -> None:
        """The columns [n, K] that were drawn; when the leading segment is full, the following one takes over."""
        self.columns.extend(columns)
        if self.known - 1 - self.leading.origin == self.length:
            self._hand_over()

    def _hand_over(self) -> None:
        self.leading = self.following or Segment(
            1 - self.leading.slot, self.known - 1, self.leading.ordinal + 1
        )
        self.following = None

    def release(self, played: int) -> None:
        """Forget columns that no segment reads again and that belong to the first `played` code frames only."""
        before = min(self.leading.origin, played)
        del self.columns[: max(0, before - self.first)]
        self.first = max(self.first, before)

    def codes(self, start: int, end: int) -> I64:
        """Code frames [K, end - start]; their columns must still be held."""
        if start == end:
            return np.zeros((self.pattern.codebooks, 0), np.int64)
        first = start - self.first
        return self.pattern.codes(
            np.array(self.columns[first : first + end - start + self.pattern.codebooks])
        )

    @property
    def frames(self) -> int:
        """Code frames that are complete."""
        return max(0, self.known - self.pattern.codebooks)

    def state(self) -> tuple[dict[str, Any], I64]:
        """Where the segments stand, and the columns [n, K] that they read."""
        following = self.following
        meta = {
            "first": self.first,
            "signature": self.signature,
            "leading": [self.leading.slot, self.leading.origin, self.leading.ordinal],
            "following": [following.slot, following.origin, following.ordinal] if following else None,
        }
        return meta, np.stack(self.columns)

    def restore(self, meta: dict[str, Any], columns: I64) -> None:
        """Take over a state; the caller puts the caches back, or calls `reread`."""
        self.first, self.columns = meta["first"], list(columns)
        self._hold_to(meta["signature"])
        self.leading = Segment(*meta["leading"])
        self.following = Segment(*meta["following"]) if meta["following"] else None

    def held_positions(self, segment: Segment) -> int:
        """Columns that a segment has read; the newest column is not read yet."""
        return self.known - 1 - segment.origin

    def reread(self, condition: Any, frames: int) -> None:
        """Fill the caches from the columns, for a state that came without them."""
        for segment in (self.leading, self.following):
            if segment is None or not self.held_positions(segment):
                continue
            columns = self.columns[segment.origin - self.first : -1]
            read = np.stack([self.pattern.begin(c, p) for p, c in enumerate(columns)])[None]
            self.backend.step(self.caches, segment.slot, condition, frames, read, np.zeros(1, np.int64))
