"""Which frames are held, as integer rules; what they hold is somebody else's.

A slot is a moment of half a second. `ShortTermWindow` says where in the condition the frame of a slot lies: the model sees a
set, so a new frame takes the place of the oldest, and frames in use are always a prefix. `LongTermMemory` keeps an even
spread over everything seen, in bounded room, for a stream of any length.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class ShortTermWindow:
    """The newest `capacity` slots. `places[i]` is the slot whose frame lies at place i of the condition."""

    capacity: int
    places: list[int] = field(default_factory=list)

    @property
    def newest(self) -> int | None:
        return max(self.places, default=None)

    def ages(self, classes: int) -> list[int]:
        """How many slots each place is behind the newest, the oldest class for all from there on."""
        newest = max(self.places, default=0)
        return [min(newest - slot, classes - 1) for slot in self.places]

    def open(self, slot: int) -> list[int | None]:
        """Make room for a slot and drop expired ones. Returns, for each place, the place its frame was at; None is the new one.

        As few frames move as can be: a window that is full loses exactly its oldest, and the new one takes that place.
        """
        kept = [i for i, held in enumerate(self.places) if held > slot - self.capacity]
        size = len(kept) + 1
        order: list[int | None] = [i if i in kept else None for i in range(size)]
        for late in (i for i in kept if i >= size):
            order[order.index(None)] = late
        self.places = [slot if i is None else self.places[i] for i in order]
        return order

    def forget(self) -> None:
        """Drop every slot."""
        self.places.clear()


@dataclass(slots=True)
class LongTermMemory:
    """Slots of everything seen, `stride` or more apart; the stride doubles when more than `capacity` would be held."""

    capacity: int
    stride: int = 1
    held: list[int] = field(default_factory=list)

    def takes(self, slot: int) -> bool:
        """Whether the frame of a new slot is to be remembered. The first one always is."""
        return not self.held or slot - self.held[-1] >= self.stride

    def add(self, slot: int) -> list[int]:
        """Remember a slot; returns those that are dropped for it, perhaps itself."""
        before = [*self.held, slot]
        self.held = before
        while len(self.held) > self.capacity:
            self.stride *= 2
            self.held = _apart(self.held, self.stride)
        return sorted(set(before) - set(self.held))

    def recalled(self, count: int) -> list[int]:
        """At most `count` held slots, nearest to an even spread from the first to the last."""
        last = len(self.held) - 1
        if last < count:
            return list(self.held)
        return (
            [self.held[round(i * last / (count - 1))] for i in range(count)] if count > 1 else [self.held[-1]]
        )


def _apart(slots: list[int], stride: int) -> list[int]:
    """The first slot, and each that is at least `stride` after the last one kept."""
    kept = slots[:1]
    for slot in slots[1:]:
        if slot - kept[-1] >= stride:
            kept.append(slot)
    return kept
