"""Who is to be looked after, and when: the soonest first, each known once."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

SPARE = 64
"""So many notes that hold no more may lie about before they are cleared away, beside one for each who is known."""


class Agenda:
    """Moments by key. To put a key again moves it."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._notes: list[tuple[float, str]] = []  # bound: two for each key, and SPARE

    def put(self, key: str, at_s: float) -> None:
        self._at[key] = at_s
        heappush(self._notes, (at_s, key))
        if len(self._notes) > 2 * len(self._at) + SPARE:
            self._notes = [(at_s, key) for key, at_s in self._at.items()]
            heapify(self._notes)

    def drop(self, key: str) -> None:
        self._at.pop(key, None)

    def take(self, now_s: float) -> list[str]:
        """The keys that are due by now, which are forgotten until they are put again."""
        due = []
        while self._notes and self._notes[0][0] <= now_s:
            at_s, key = heappop(self._notes)
            if self._at.get(key) == at_s:
                del self._at[key]
                due.append(key)
        return due

    @property
    def next_s(self) -> float | None:
        """When the next one is due."""
        while self._notes and self._at.get(self._notes[0][1]) != self._notes[0][0]:
            heappop(self._notes)
        return self._notes[0][0] if self._notes else None
