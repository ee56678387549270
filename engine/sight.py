"""Seeing: from frames that come when they like to the condition that the decoder attends to.

A mailbox of one takes frames, the newest wins. At each step the frame in it may be encoded and written into the open slot, a
new slot may open, a cut may empty the window, and held frames whose fused tokens went stale (long-term memory changed) are
fused again. What that asks of the backend is put as requests (`engine.asking`), so that many streams can look together.
Everything is counted; nothing here knows a clock.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.asking import Asking, done
from engine.backends.base import F32, Backend, Kept
from engine.backends.eyes import Ages, Encode, Fuse, Remember, Write
from engine.frames import U8, Frame, difference, is_cut
from engine.memory import LongTermMemory, ShortTermWindow
from engine.motion import MotionPicture
from engine.spec import ModelSpec, StreamPolicy

NEVER = 2**63 - 1
"""A step that does not come."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of a frame that was encoded."""

    step: int
    features: Kept
    """[P, E] from the vision tower."""
    short: Kept
    """[P, E] from the short-term branch."""
    tokens: Kept = None
    """[P, D], fused; None before, stale while its place waits for a refresh."""


def window_slots(spec: ModelSpec, policy: StreamPolicy) -> int:
    """Slots of the short-term window: what the policy asks for, at most what the decoder was trained with."""
    return max(1, min(spec.window_slots, round(policy.short_term_s * spec.long_short.frame_rate)))


class Sight:
    """One stream's eyes and memory. `condition` and `frames` are what the decoder is given."""

    def __init__(self, backend: Backend[Any, Any], policy: StreamPolicy, room: int | None = None) -> None:
        """room: slots that the window may ever have, by default those that the policy asks for."""
        self.backend, self.policy, self.spec = backend, policy, backend.spec
        self.window = ShortTermWindow(window_slots(self.spec, policy))
        self.room = min(max(self.window.capacity, room or 0), max(1, self.spec.window_slots))
        self.long_term = LongTermMemory(policy.long_term_capacity)
        self.condition = backend.new_condition(self.room)
        self.counts: Counter[str] = Counter()
        self.cuts: list[int] = []
        """Steps at which cuts were seen since the caller last emptied it."""
        self._mail: Frame | None = None  # bound 1: a newer frame replaces the one that waits
        self._cut = False
        self._turn = False
        self._pushed: Frame | None = None
        self._encoded: Frame | None = None
        self._motion = MotionPicture()
        self._encoded_motion = 0.0  # mean of the motion picture that was encoded last
        self._last_encode = -policy.encode_every_steps
        self._held: list[Seen] = []
        self._newest_step = 0  # of those
        self._memories: dict[int, Kept] = {}
        self._recalled: list[int] = []
        nothing = np.zeros((0, 2, self.spec.vision.tokens, self.spec.vision.width), np.float32)
        self._memory: Kept = backend.keep(nothing)
        self._stale: deque[int] = deque()  # bound: the places of the window, each at most once
        self._rests_until = 0  # at no step before it is anything due; 0 when that is not known

    @property
    def frames(self) -> int:
        """Frames in the condition."""
        return len(self._held)

    @property
    def newest_step(self) -> int:
        """The capture step of the newest frame in the condition."""
        return self._newest_step

    @property
    def memory_slots(self) -> list[int]:
        """Slots that long-term memory holds now."""
        return list(self.long_term.held)

    @property
    def recalled_slots(self) -> list[int]:
        """Those of them that the condition knows."""
        return list(self._recalled)

    @property
    def captured(self) -> dict[int, int]:
        """Of each slot in the window, the step at which its frame was captured."""
        return {slot: seen.step for slot, seen in zip(self.window.places, self._held, strict=True)}

    def push(self, frame: Frame) -> None:
        """Put a frame into the mailbox. Raises ValueError when it is not as large as the model's eyes."""
        side = self.spec.vision.image_size
        if frame.pixels.shape != (side, side, 3) or frame.pixels.dtype != np.uint8:
            found = f"{frame.pixels.dtype} {list(frame.pixels.shape)}"
            raise ValueError(f"a frame for this model is uint8 [{side}, {side}, 3], not {found}")
        self.counts["pushed"] += 1
        self.counts["replaced"] += self._mail is not None
        cut = self._pushed is not None and is_cut(self._pushed, frame, self.policy)
        if self.spec.vision.motion:
            self._motion.show(frame, cut)
        self._cut |= cut
        self._mail = self._pushed = frame
        self._rests_until = 0

    def check_change(self, policy: StreamPolicy) -> None:
        """Raises ValueError when the window would outgrow the condition."""
        if (slots := window_slots(self.spec, policy)) > self.room:
            most = self.room / self.spec.long_short.frame_rate
            raise ValueError(f"this stream has room for a short_term_s of {most:g}, not for {slots} slots")

    def set_policy(self, policy: StreamPolicy) -> None:
        """See by another policy. A shorter window drops what is too old when its next slot opens; with another energy the newest
        frame is looked at again."""
        self.check_change(policy)
        if policy.energy != self.policy.energy:
            self._mail = self._mail or self._pushed
        self.policy, self._rests_until = policy, 0
        self.window.capacity = window_slots(self.spec, policy)
        self.long_term.capacity = policy.long_term_capacity

    def turn(self, now: int) -> None:
        """Take the next look as if the scene began with the newest frame, whatever the policy says of cuts."""
        if self._pushed is not None:
            self._mail = self._mail or replace(self._pushed, step=now)
            self._turn, self._rests_until = True, 0

    def look(self, now: int) -> None:
        """Bring the condition to the state of step `now`."""
        if (asking := self.ask(now)) is not None:
            done(self.backend, asking)

    def ask(self, now: int) -> Asking[None] | None:
        """`look` as what it asks of the backend; None when nothing is due. Steps go forward, and one that was looked at has
        nothing due until a frame comes."""
        if now < self._rests_until:
            return None
        due = self._due_from(now)
        if now < due:
            self._rests_until = due
            return None
        return self._looking(now)

    def idle_steps(self, now: int) -> int:
        """How many steps from `now` on have nothing due as long as no frame comes."""
        if now >= self._rests_until:
            self._rests_until = self._due_from(now)
        return self._rests_until - now

    def _due_from(self, now: int) -> int:
        """The first step from `now` on at which something is due."""
        due, newest = NEVER, self.window.newest
        opening = now if newest is None else max(now, (newest + 1) * self.spec.steps_per_slot)
        if self._mail is not None:
            due = min(opening, self._encodes_from(now))
        elif self._held and self.policy.hold_last_frame:
            due = opening
        if self._stale:
            every = 1 if self.policy.refresh == "exact" else self.policy.refresh_every_steps
            due = min(due, -(-now // every) * every)
        return due

    def _encodes_from(self, now: int) -> int:
        """The first step from `now` on at which a frame that waits is encoded, should no slot open before."""
        if self._cut or self._turn:
            return now
        waited = self._last_encode + self.policy.encode_every_steps
        return max(now, waited) if self.policy.open_slot else NEVER

    def _looking(self, now: int) -> Asking[None]:
        slot = now // self.spec.steps_per_slot
        opens = self.window.newest is None or slot > self.window.newest
        if self._mail is not None and (opens or self._encodes_from(now) == now):
            frame, self._mail = self._mail, None
            yield from self._see(frame, slot, opens, now)
        elif opens and self._held and self.policy.hold_last_frame:
            self.counts["held"] += 1
            yield from self._open(slot, self._held[self._newest_place()])
        yield from self._refresh(now)
        self._rests_until = now + 1
        self._newest_step = max((seen.step for seen in self._held), default=0)

    def _see(self, frame: Frame, slot: int, opens: bool, now: int) -> Asking[None]:
        forget = self._turn or (self._cut and self.policy.on_cut == "forget")
        cut, self._cut, self._turn = self._cut or self._turn, False, False
        if cut:
            self.counts["cuts"] += 1
            self.cuts.append(now)
        if not cut and self._is_similar(frame):
            self.counts["similar"] += 1
            yield from self._stay(frame, slot, opens)
            return
        self._last_encode, self._encoded = now, frame
        seen = yield from self._encode(frame)
        if forget:
            self.window.forget()
            self._held.clear()
            self._stale.clear()
        if forget or opens:
            yield from self._open(slot, seen)
        else:
            assert self.window.newest is not None
            yield from self._write(self.window.places.index(self.window.newest), seen)

    def _is_similar(self, frame: Frame) -> bool:
        policy = self.policy
        moved = abs(self._motion.level(policy.energy) - self._encoded_motion)
        return (
            self._encoded is not None
            and difference(self._encoded, frame) < policy.similar_below
            and (moved < policy.motion_similar_below or not self.spec.vision.motion)
        )

    def _stay(self, frame: Frame, slot: int, opens: bool) -> Asking[None]:
        """The picture is what it was: what is known of it is as old as the new frame."""
        newest = self._newest_place()
        again = replace(self._held[newest], step=frame.step)
        if opens:
            yield from self._open(slot, again)
        else:
            self._held[newest] = again

    def _newest_place(self) -> int:
        """Of the newest frame; where several are as new, of the one in the newest slot."""
        return max(range(len(self._held)), key=lambda at: (self._held[at].step, self.window.places[at]))

    def _encode(self, frame: Frame) -> Asking[Seen]:
        self.counts["encoded"] += 1
        self._encoded_motion = self._motion.level(self.policy.energy)
        features, short = yield Encode(self._planes(frame))
        return Seen(frame.step, features, short)

    def _planes(self, frame: Frame) -> U8:
        """[S, S, C]: the frame as it is encoded."""
        if not self.spec.vision.motion:
            return frame.pixels
        return self._motion.beside(frame, self.policy.energy)

    def _open(self, slot: int, seen: Seen) -> Asking[None]:
        if self.long_term.takes(slot):
            yield from self._remember(slot, seen)
        order = self.window.open(slot)
        self._stale = deque(order.index(old) for old in self._stale if old in order)
        self._held = [seen if old is None else self._held[old] for old in order]
        for place, old in enumerate(order):
            if old is None:
                yield from self._write(place, seen)
            elif old != place:
                yield Write(self.condition, place, self._held[place].tokens[None])
        yield from self._write_ages()

    def _write_ages(self) -> Asking[None]:
        if classes := self.spec.decoder.ages:
            yield Ages(self.condition, np.array(self.window.ages(classes)))

    def _remember(self, slot: int, seen: Seen) -> Asking[None]:
        self._memories[slot] = yield Remember(seen.features)
        for dropped in self.long_term.add(slot):
            del self._memories[dropped]
        recalled = self.long_term.recalled(self.policy.recalled)
        if recalled != self._recalled:
            self._recalled = recalled
            self._memory = self.backend.gather([self._memories[s] for s in recalled])
            self._stale.extend(p for p in range(len(self._held)) if p not in self._stale)

    def _write(self, place: int, seen: Seen) -> Asking[None]:
        """Fuse a frame with what is recalled now and put it in its place."""
        tokens = yield Fuse(seen.short[None], self._memory)
        self._held[place] = Seen(seen.step, seen.features, seen.short, tokens[0])
        if place in self._stale:
            self._stale.remove(place)
        yield Write(self.condition, place, tokens)

    def _refresh(self, now: int) -> Asking[None]:
        if not self._stale:
            return
        if self.policy.refresh == "exact":
            yield from self._refresh_all()
        elif now % self.policy.refresh_every_steps == 0:
            place = self._stale.popleft()
            self.counts["refreshed"] += 1
            yield from self._write(place, self._held[place])

    def _refresh_all(self) -> Asking[None]:
        self._stale.clear()
        self.counts["refreshed"] += len(self._held)
        tokens = yield Fuse(self.backend.gather([seen.short for seen in self._held]), self._memory)
        self._held = [replace(seen, tokens=fresh) for seen, fresh in zip(self._held, tokens, strict=True)]
        yield Write(self.condition, 0, tokens)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Everything that the next step depends on but the condition's arrays, as plain values and arrays."""
        meta = {
            "places": self.window.places,
            "stride": self.long_term.stride,
            "held": self.long_term.held,
            "recalled": self._recalled,
            "stale": list(self._stale),
            "room": self.room,
            "cut": self._cut,
            "turn": self._turn,
            "last_encode": self._last_encode,
            "steps": [seen.step for seen in self._held],
            "counts": dict(self.counts),
            "cuts": self.cuts,
        }
        arrays: dict[str, NDArray[Any]] = {}
        if self._held:
            for part in ("features", "short", "tokens"):
                arrays[part] = self._read([getattr(seen, part) for seen in self._held])
            arrays["memories"] = self._read([self._memories[slot] for slot in self.long_term.held])
        for name, frame in (("mail", self._mail), ("pushed", self._pushed), ("encoded", self._encoded)):
            if frame is not None:
                arrays[name] = frame.pixels
                meta[name] = frame.step
        if self.spec.vision.motion:
            meta["motion"] = [self._motion.weight, self._encoded_motion]
            if self._motion.before is not None:
                arrays["motion_before"], meta["motion_before"] = (
                    self._motion.before.pixels,
                    self._motion.before.step,
                )
            if self._motion.changes is not None:
                arrays["motion_changes"] = self._motion.changes
        return meta, arrays

    def _read(self, arrays: Sequence[Kept]) -> F32:
        return self.backend.read(self.backend.gather(arrays))

    def restore(self, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Take over a state; the caller puts the condition's arrays back, or calls `rewrite`."""
        self.window.places = list(meta["places"])
        self.long_term.stride, self.long_term.held = meta["stride"], list(meta["held"])
        self._recalled, self._stale = list(meta["recalled"]), deque(meta["stale"])
        self._rests_until = 0
        self._cut, self._turn, self._last_encode = meta["cut"], meta["turn"], meta["last_encode"]
        self.counts, self.cuts = Counter(meta["counts"]), list(meta["cuts"])
        if meta["steps"]:
            keep, gather = self.backend.keep, self.backend.gather
            self._memories = dict(zip(self.long_term.held, keep(arrays["memories"]), strict=True))
            self._memory = gather([self._memories[slot] for slot in self._recalled])
            parts = (keep(arrays[part]) for part in ("features", "short", "tokens"))
            self._held = [Seen(*values) for values in zip(meta["steps"], *parts, strict=True)]
            self._newest_step = max(meta["steps"])
        self._mail, self._pushed, self._encoded = (
            Frame(arrays[name], meta[name]) if name in meta else None
            for name in ("mail", "pushed", "encoded")
        )
        if "motion" in meta:
            weight, self._encoded_motion = meta["motion"]
            before = (
                Frame(arrays["motion_before"], meta["motion_before"]) if "motion_before" in meta else None
            )
            self._motion = MotionPicture(before, arrays.get("motion_changes"), weight)
        if self.spec.decoder.ages and self._held:
            self.rewrite()  # a backend may have to write a frame again when its age changes
            done(self.backend, self._write_ages())

    def rewrite(self) -> None:
        """Project the held tokens again, for a state that came without the condition's arrays."""
        tokens = self.backend.gather([seen.tokens for seen in self._held])
        self.backend.write_condition(self.condition, 0, tokens)
