"""One output in a thread of its own: it takes what the loop puts, feeds the process, connects again and keeps the limits.

`put` never waits. A connection that breaks is made anew with growing pauses, and begins with what is new then; what was lost
meanwhile is counted. A file that breaks has failed, with what was written.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from threading import Condition, Thread
from typing import Any, Literal, TypeAlias

from engine.media import source
from server.audio.resampling import WIRE_RATE
from server.output.child import Broken, Child
from server.output.limits import OutputLimits
from server.output.wire import Heard, Job, Pictured, Report, Sounded
from server.protocol.values import EndReason
from server.system.backoff import Backoff
from server.system.disk import Room

State: TypeAlias = Literal["connecting", "sending", "waiting", "finished", "failed"]
BYTES = 4
"""Of a sample in the pipe."""
FULL = {
    "quota": "the folder of outputs is full",
    "disk": "too little is free on the disk of the outputs",
}
NOTHING = "there was nothing to send"
Item: TypeAlias = Heard | Pictured | Sounded
FETCH_S = 0.2
"""How often the process is heard when there is nothing to say to it."""


@dataclass(frozen=True, slots=True)
class Told:
    """How an output stands. samples: given to the process. lost_samples: not sent to anybody, at least. error: the newest.

    original_s: seconds of original sound that are in it.
    """

    state: State = "connecting"
    reason: EndReason | None = None
    samples: int = 0
    lost_samples: int = 0
    left_out_pictures: int = 0
    original_s: int = 0
    lost_original_samples: int = 0
    reconnects: int = 0
    error: str = ""


class Sender:
    """folder: of a file, None for a server. tell: called in the thread, once at the end."""

    def __init__(
        self, job: Job, limits: OutputLimits, folder: Room | None, tell: Callable[[Told], None]
    ) -> None:
        self._job, self._limits, self._folder, self._tell = job, limits, folder, tell
        self._waiting: deque[Item] = deque()  # bound: waiting_s of music, `_is_too_much` of the others
        self._most = {Pictured: limits.waiting_pictures, Sounded: limits.waiting_sounds}
        self._waiting_samples = self._waiting_bytes = 0  # bytes: of pictures
        self._waiting_others = Counter[type[Item]]()
        self._change = Condition()
        self._takes, self._slow = True, False
        self._reason: EndReason | None = None
        self._due_s = float("inf")
        self._told = Told()
        self._taken: deque[Item] = deque()  # out of it, not yet sent
        self._past = Report("")  # what was left out here, and all that processes counted that are gone
        self._thread = Thread(target=self._run, name="output", daemon=True)

    @property
    def told(self) -> Told:
        """How it stands now."""
        with self._change:
            return self._told

    def start(self) -> None:
        self._thread.start()

    def put(self, item: Item) -> None:
        """Nothing is taken any more once it is finishing, or while there is no connection."""
        with self._change:
            if self._reason is not None:
                return
            if not self._takes:
                self._lose((item,))
                return
            self._waiting.append(item)
            if isinstance(item, Heard):
                self._waiting_samples += len(item.samples) // BYTES
                self._slow = self._slow or self._waiting_samples > self._limits.waiting_s * WIRE_RATE
            else:
                self._weigh(item, 1)
                while self._is_too_much(type(item)):
                    self._drop_oldest(type(item))
            self._change.notify()

    def finish(self, reason: EndReason) -> None:
        """Send what waits, then end."""
        with self._change:
            if self._reason is None:
                self._reason, self._due_s = reason, time.perf_counter() + self._limits.finish_s
            self._change.notify()

    def join(self, timeout_s: float) -> bool:
        """Whether it ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # --- the thread

    def _run(self) -> None:
        try:
            reason, error = self._work()
        except Exception as broken:
            reason, error = "failed", type(broken).__name__
            raise
        finally:
            with self._change:
                self._reason = self._reason or reason
                self._waiting.clear()
            state: State = "failed" if error else "finished"
            self._note(state=state, reason=reason, error=error, **_counts(self._past))
            self._tell(self.told)

    def _work(self) -> tuple[EndReason, str]:
        """Connect until it is to end: why, and what went wrong."""
        backoff = Backoff(self._limits.retry_s, self._limits.retry_most_s)
        well_s = time.perf_counter()
        while True:
            child: Child | None = None
            try:
                if self._folder and (full := self._folder.lack()):
                    return full, FULL[full]
                child = Child(self._job, self._limits, lambda: self._due_s)
                ended = self._feed(child)
                return ended, "" if child.began else NOTHING
            except (Broken, OSError) as broken:
                error = source.reason(broken)
            finally:
                if child:
                    child.end()
                    self._count_past(child.told)
            if child and child.opened:
                well_s = time.perf_counter()
            self._break_off()
            if not self._job.target.stays or time.perf_counter() - well_s > self._limits.give_up_s:
                return "failed", error
            if reason := self._pause(backoff.after(child.open_for_s if child else 0.0), error):
                return reason, ""

    def _feed(self, child: Child) -> EndReason:
        """Until it is to end. Raises Broken."""
        looked = self._told.samples
        while True:
            reason = self._fetch()
            while self._taken:
                item = self._taken[0]
                if self._told.samples >= self._limits.length_s * WIRE_RATE:
                    reason = "length"
                    break
                child.send(item)
                self._taken.popleft()
                self._count(item, child)
            child.look()
            self._count(None, child)
            if self._folder and not reason and self._told.samples - looked >= WIRE_RATE:
                looked, reason = self._told.samples, self._folder.lack()
            if reason:
                self.finish(reason)
                child.finish()
                self._count(None, child)
                return reason

    def _fetch(self) -> EndReason | None:
        """Take what waits, and say whether it is to end. Raises Broken when too much waits."""
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._reason, FETCH_S)
            if self._slow:
                raise Broken(f"the target is more than {self._limits.waiting_s:g} s behind the music")
            self._empty_into(self._taken)
            return self._reason

    def _empty_into(self, taken: deque[Item]) -> None:
        """Called with the lock."""
        taken.extend(self._waiting)
        self._waiting.clear()
        self._waiting_samples = self._waiting_bytes = 0
        self._waiting_others.clear()

    def _break_off(self) -> None:
        """Nothing is taken until the next try."""
        with self._change:
            self._empty_into(self._taken)
            self._lose(self._taken)
            self._taken.clear()
            self._takes = self._slow = False

    def _pause(self, pause_s: float, error: str) -> EndReason | None:
        """Wait for the next try; the reason to end instead."""
        self._note(state="waiting", error=error, **_counts(self._past))
        with self._change:
            if self._change.wait_for(lambda: self._reason, pause_s):
                return self._reason
            self._takes = True
        self._note(state="connecting", reconnects=self._told.reconnects + 1)
        return None

    def _count(self, item: Item | None, child: Child) -> None:
        samples = len(item.samples) // BYTES if isinstance(item, Heard) else 0
        state: State = "sending" if child.opened else "connecting"
        error = "" if child.opened else self._told.error
        counts = _counts(_sum(self._past, child.told))
        self._note(state=state, error=error, samples=self._told.samples + samples, **counts)

    def _lose(self, items: Iterable[Item]) -> None:
        """They are sent to nobody. Called with the lock."""
        samples = pictures = original = 0
        for item in items:
            samples += len(item.samples) // BYTES if isinstance(item, Heard) else 0
            pictures += isinstance(item, Pictured)
            original += int(item.sound.seconds * WIRE_RATE) if isinstance(item, Sounded) else 0
        self._count_past(Report("", pictures, 0, original))
        self._told = replace(self._told, lost_samples=self._told.lost_samples + samples)

    def _count_past(self, report: Report) -> None:
        with self._change:
            self._past = _sum(self._past, report)

    def _drop_oldest(self, kind: type[Item]) -> None:
        """Called with the lock."""
        place = next(n for n, item in enumerate(self._waiting) if isinstance(item, kind))
        self._lose((self._waiting[place],))
        self._weigh(self._waiting[place], -1)
        del self._waiting[place]

    def _weigh(self, item: Item, sign: int) -> None:
        self._waiting_others[type(item)] += sign
        if isinstance(item, Pictured):
            self._waiting_bytes += sign * len(item.media.payload)

    def _is_too_much(self, kind: type[Item]) -> bool:
        heavy = kind is Pictured and self._waiting_bytes > self._limits.waiting_picture_bytes
        return heavy or self._waiting_others[kind] > self._most[kind]

    def _note(self, **changes: Any) -> None:
        with self._change:
            self._told = replace(self._told, **changes)


def _sum(one: Report, other: Report) -> Report:
    """Of the counts alone."""
    original_s, lost = one.original_s + other.original_s, one.lost_original + other.lost_original
    return Report("", one.left_out + other.left_out, original_s, lost)


def _counts(report: Report) -> dict[str, int]:
    """By their names here."""
    return {
        "left_out_pictures": report.left_out,
        "original_s": report.original_s,
        "lost_original_samples": report.lost_original,
    }
