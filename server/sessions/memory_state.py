"""Which pictures the music knows, for people to look at: the stream's moments joined with when their pictures were captured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from server.core.orders import Remembered
from server.pictures.seeing import Stamps
from server.protocol.messages import HELD_CELLS, MemoryCell, MemoryState
from server.protocol.values import DAY_MS


@dataclass(frozen=True, slots=True)
class Known:
    """step: at which the picture was captured. at_us, picture: see `MemoryCell`."""

    step: int
    at_us: int
    picture: int


class Remembering:
    """A picture's stamp is looked up while it is new, in the window; long-term memory holds it for longer than stamps are kept.

    Bound: the cells that the stream holds.
    """

    def __init__(self, step_ms: float) -> None:
        self._step_ms = step_ms
        self._take = 0
        self._known: dict[int, Known] = {}
        self._told: tuple[tuple[int, str], ...] | None = None

    def forget_told(self) -> None:
        """Another client listens."""
        self._told = None

    def state(self, now: Remembered, stamps: Stamps, sounding: int) -> MemoryState | None:
        """What is held now, None when that was told. sounding: the step that sounds."""
        self._look_up(now, stamps)
        places: dict[int, Literal["window", "recalled", "memory"]] = dict.fromkeys(now.memory, "memory")
        places |= dict.fromkeys(now.recalled, "recalled")
        places |= dict.fromkeys((moment for moment, _ in now.window), "window")
        shown = [
            (self._known[moment], place) for moment, place in sorted(places.items()) if moment in self._known
        ]
        told = tuple((known.at_us, place) for known, place in shown)
        if told == self._told:
            return None
        self._told = told
        return MemoryState(tuple(self._cell(known, place, sounding) for known, place in shown[-HELD_CELLS:]))

    def _look_up(self, now: Remembered, stamps: Stamps) -> None:
        if now.take != self._take:
            self._take, self._known = now.take, {}
        for moment, step in now.window:
            if moment not in self._known or self._known[moment].step != step:
                self._known[moment] = Known(step, *stamps.of(now.take, step))
        held = {moment for moment, _ in now.window} | set(now.memory)
        self._known = {moment: known for moment, known in self._known.items() if moment in held}

    def _cell(
        self, known: Known, place: Literal["window", "recalled", "memory"], sounding: int
    ) -> MemoryCell:
        age_ms = min(DAY_MS, round(max(0, sounding - known.step) * self._step_ms))
        return MemoryCell(known.at_us, known.picture, place, age_ms)
