"""Delivery: the placed samples that this client has not got yet, in order, as far as its credit goes.

The cursor moves through the ring of placed samples, apart from the playout clock: a client that comes back is served from
where it stopped hearing. A client that falls too far behind is moved to the present by one marked crossfade.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from engine.frames import F32
from server.core.errors import SessionError
from server.core.mixing import crossfade
from server.core.playout import Placed, Playout


class AudioOut(msgspec.Struct, frozen=True, gc=False):
    """samples: float32 [n], mono. first_sample: counted from the session's beginning; each is delivered once in an attachment.

    take: of which stream the music is. newest_step: the newest picture that it knows. age_steps: how old that is when the music
    sounds. discontinuity: samples before it were left out.
    """

    first_sample: int
    samples: F32
    due_s: float | None
    newest_step: int
    age_steps: int
    segment: int
    seed: int
    take: int
    policy_revision: int
    mix_revision: int
    concealed: bool
    crossfade: bool
    discontinuity: bool


@dataclass(frozen=True, slots=True)
class Patience:
    """In samples. credit: what may be on its way without a report, None without limit (transports that have none)."""

    credit: int | None = 16000
    burst: int = 16000
    """So far ahead of the position a client that comes back is served."""
    skip_behind: int = 64000
    """A client further behind the position (2 s) is moved to the present."""
    give_up_behind: int = 320000
    """And one that is further behind (10 s) is let go."""


class Delivery:
    """One attachment of a client, from sample `first` on. counts: where what it leaves out is counted, if anywhere."""

    def __init__(self, patience: Patience, first: int, counts: Counter[str] | None = None) -> None:
        self.patience, self.cursor, self.acknowledged = patience, first, first
        self._counts = Counter() if counts is None else counts
        self._moved_from: int | None = None

    def report(self, played_through: int) -> None:
        """The client played the samples before this one. Raises SessionError when it cannot have."""
        if not 0 <= played_through <= self.cursor:
            raise SessionError(
                "bad_request", f"played through {played_through}, but only {self.cursor} were sent"
            )
        self.acknowledged = max(self.acknowledged, played_through)

    def behind(self, playout: Playout, now_s: float) -> int:
        """Samples that sounded already and were not sent."""
        return self._behind(playout, playout.position(now_s))

    def _behind(self, playout: Playout, position: int) -> int:
        return min(position, playout.ring.end) - self.cursor if playout.clock else 0

    def move_to(self, sample: int) -> None:
        """Leave out what is before `sample`; the next chunk is faded in from where the client was."""
        self._moved_from = self.cursor if self._moved_from is None else self._moved_from
        self._counts["skipped_samples"] += sample - self.cursor
        self.acknowledged += sample - self.cursor
        self.cursor = sample

    def take(self, playout: Playout, now_s: float) -> Iterator[AudioOut]:
        """What may be sent now. Raises SessionError when the client is too far behind to be served."""
        position = playout.position(now_s)
        behind = self._behind(playout, position)
        if behind > self.patience.give_up_behind:
            raise SessionError("slow_consumer", f"the client is {behind} samples behind; it may come back")
        while (span := self._next(playout, position)) is not None:
            yield self._chunk(playout, span)

    def _next(self, playout: Playout, position: int) -> Placed | None:
        """The span that holds the cursor, if it is placed and may be sent. position: the sample that sounds."""
        chunk = playout.limits.chunk
        if self.cursor >= playout.ring.end or self._has_no_credit(chunk):
            return None
        if self.cursor < playout.ring.first or self._behind(playout, position) > self.patience.skip_behind:
            self.move_to(playout.ring.end - chunk)
        if self.cursor > position + self.patience.burst:
            return None
        return playout.spans[(self.cursor - playout.spans[0].first) // chunk]

    def _has_no_credit(self, chunk: int) -> bool:
        """With less credit than for a chunk there is still one at a time."""
        credit = self.patience.credit
        return credit is not None and self.cursor + chunk - self.acknowledged > max(credit, chunk)

    def _chunk(self, playout: Playout, span: Placed) -> AudioOut:
        first, about = self.cursor, span.about
        end = span.first + playout.limits.chunk
        samples = playout.ring.read(first, end - first)
        moved, self._moved_from = self._moved_from, None
        if moved is not None and (old := max(moved, playout.ring.first)) < first:
            samples = crossfade(playout.ring.read(old, len(samples)), samples)
        self.cursor = end
        return AudioOut(
            first,
            samples,
            playout.clock.due_s(first) if playout.clock else None,
            about.newest_step,
            about.age_steps,
            about.segment,
            about.seed,
            about.take,
            about.revision,
            span.mix_revision,
            span.concealed,
            span.crossfade or moved is not None,
            moved is not None,
        )
