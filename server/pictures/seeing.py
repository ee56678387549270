"""A session's incoming pictures: counted, thinned, decoded, shown to the core; and which step each belongs to."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterable
from functools import partial

from engine.frames import U8
from server.access.limiting import Bucket
from server.pictures.decoders import Decoders
from server.pictures.imaging import CHAINED
from server.pictures.mailbox import Mailbox
from server.protocol.errors import ProtocolError
from server.protocol.limits import Limits
from server.protocol.media import Media

MOST_STAMPS = 2048
LOOKS_AT_ONCE = 2
"""So that a camera of just the rate that is wanted is looked at each time, though its pictures come unevenly."""


class Watching:
    """Pictures that come by one way: of a video each needs those before it. All of them are decoded then, and so many looked at
    as the player wants; of a few that come together the newest is always.

    show: takes (when it came, pixels, capture time); refuse: takes (when it came, why not). Both are called on the loop.
    Bound: a mailbox and one picture of each way at the decoders.
    """

    def __init__(
        self,
        name: str,
        limits: Limits,
        looks_per_s: float,
        decoders: Decoders,
        show: Callable[[float, U8, int], None],
        refuse: Callable[[float, ProtocolError], None],
        counts: Counter[str],
    ) -> None:
        """name: of the way. counts: of its session, by all ways."""
        self.counts = counts
        self._name, self._mailbox, self._decoders = name, Mailbox(counts), decoders
        self._rate, self._looks = Bucket(limits.fps, limits.fps), Bucket(looks_per_s, LOOKS_AT_ONCE)
        self._show, self._refuse = show, refuse
        self._stopped = False
        self._busy = False  # one is being decoded
        self._passed: tuple[float, int] | None = None
        """When the newest came and was captured, if it is not looked at."""

    @property
    def needs_key(self) -> bool:
        """Whether video that goes on is seen again from a keyframe on."""
        return self._mailbox.needs_key

    def picture(self, now_s: float, media: Media) -> None:
        """To be decoded when its turn comes, if no newer one comes before."""
        if not self._rate.allows(now_s):
            self.counts["too_many"] += 1
            return
        self._mailbox.put(now_s, media)
        if not self._busy:
            self._next()

    def tick(self, now_s: float) -> None:
        """Look at what was passed over, when nothing came after it."""
        if self._passed and not self._busy and not self._stopped and self._looks.allows(now_s):
            (came_s, at_us), self._passed, self._busy = self._passed, None, True
            self._decoders.look_back(self._name, partial(self._decoded, came_s, at_us))

    def stop(self) -> None:
        """What is being decoded is shown to nobody."""
        self._stopped = True
        self._decoders.forget(self._name)

    def _next(self) -> None:
        item = None if self._stopped else self._mailbox.take()
        self._busy = item is not None
        if item:
            came_s, media = item
            looked_at = media.kind not in CHAINED or self._looks.allows(came_s)
            self._passed = None if looked_at else (came_s, media.ts)
            self._decoders.see(self._name, media, partial(self._decoded, came_s, media.ts), looked_at)

    def _decoded(self, came_s: float, at_us: int, seen: U8 | ProtocolError | None) -> None:
        try:
            if isinstance(seen, ProtocolError):
                self._mailbox.broken()
                self._passed = None
                self.counts["refused"] += 1
                self._refuse(came_s, seen)
            elif seen is not None and not self._stopped:
                self.counts["shown"] += 1
                self._show(came_s, seen, at_us)
        finally:
            self._next()


class Stamps:
    """Capture times by the take and the step at which a picture came. A take begins with the newest picture from before it."""

    def __init__(self, take: int = 0, newest: Iterable[tuple[int, int]] = ()) -> None:
        self._moments: deque[tuple[int, int]] = deque(maxlen=MOST_STAMPS)  # full: the oldest is forgotten
        self._times_us: deque[int] = deque(maxlen=MOST_STAMPS)
        self._count = 0  # of all, those too that are forgotten
        for step, at_us in newest:
            self.add(take, step, at_us)

    def newest(self, take: int, count: int) -> tuple[tuple[int, int], ...]:
        """Step and capture time of the newest pictures; one from before the take was there at its beginning."""
        steps = [step if of == take else 0 for of, step in self._moments]
        return tuple(zip(steps, self._times_us, strict=True))[-count:]

    @property
    def newest_us(self) -> int:
        """Before any picture -1."""
        return self._times_us[-1] if self._times_us else -1

    def add(self, take: int, step: int, at_us: int) -> None:
        """Steps stand still while a client that came back hears again what it missed, as the core's do."""
        moment = (take, step)
        self._moments.append(max(moment, self._moments[-1]) if self._moments else moment)
        self._times_us.append(at_us)
        self._count += 1

    def at_us(self, take: int, step: int) -> int:
        """Of the newest picture that came at this step or before; of the oldest known one when it is older; 0 before any."""
        return self.of(take, step)[0]

    def of(self, take: int, step: int) -> tuple[int, int]:
        """The same, and how many pictures came before it."""
        place = max(0, bisect_right(self._moments, (take, step)) - 1)
        if not self._times_us:
            return 0, 0
        return self._times_us[place], self._count - len(self._times_us) + place
