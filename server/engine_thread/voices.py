"""The engine's side of the sessions: one voice for each, all in one batcher. Called by one thread; it knows no loop, no client.

A tick follows the orders that came, lets every voice that is due take one step, and reports what was made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from engine.batcher import Batcher
from engine.errors import check_device
from engine.player import Player, Stream
from engine.spec import StreamPolicy
from engine.stream import AudioChunk
from engine.together import take_all
from server.core.checkpoint import Checkpoint
from server.core.orders import Orders, Remembered, Report, Shown
from server.core.playout import Music

T = TypeVar("T")


class Voice:
    """One session's stream."""

    def __init__(
        self,
        player: Player[Any],
        policy: StreamPolicy,
        room_s: float = 0.0,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """room_s: to how many seconds the short-term window may be lengthened.

        checkpoint: where a session was that goes on. Raises PackageError when its stream is damaged or another player's. `policy`
        is the one that was wanted: a degradation of the worker that was lost does not come along.
        """
        self.player, self.policy, self.revision = player, policy, 0
        self.room_s = max(room_s, policy.short_term_s)
        self.take, self.taken, self.wanted = 0, 0, 0
        self._hop = player.sample_rate // player.code_rate
        self._newest: Shown | None = None
        self._waits: Shown | None = None  # the newest, until it is pushed
        self._turned: int | None = None  # the step before which a cut was asked for that was not reported yet
        self.stream: Stream = self._open() if checkpoint is None else self._restored(checkpoint)

    def _open(self) -> Stream:
        stream: Stream = self.player.open(replace(self.policy, short_term_s=self.room_s))
        stream.set_policy(self.policy)
        return stream

    def _restored(self, checkpoint: Checkpoint) -> Stream:
        self.take, self.taken, self.revision = checkpoint.take, checkpoint.taken, checkpoint.policy_revision
        stream: Stream = self.player.restore(checkpoint.stream)
        stream.set_policy(self.policy)
        return stream

    def follow(self, orders: Orders) -> str | None:
        """Do what is to be done before the next step; returns why a policy was refused."""
        refused = self._set_policy(*orders.policy) if orders.policy else None
        if orders.reset is not None:
            self._reset(orders.reset)
        if orders.frame is not None:
            self._waits = orders.frame
        if orders.turn:
            self.show()
            self.stream.turn()
            self._turned = self.stream.now
        if orders.wanted is not None:
            self.wanted = orders.wanted
        return refused

    def _set_policy(self, policy: StreamPolicy, revision: int) -> str | None:
        try:
            self.stream.set_policy(policy)
        except ValueError as error:
            return str(error)
        self.policy, self.revision = policy, revision
        return None

    def _reset(self, take: int) -> None:
        self.take, self.taken, self.wanted, self._turned = take, 0, 0, None
        del self.stream  # the new one has its memory on a device
        self.stream = self._open()
        if self._newest is not None:
            self.stream.push(self._newest.pixels, 0)

    def due(self) -> int:
        """How many steps are wanted and may be taken, to the end of a piece at most; the frame that waited was shown."""
        may = self._newest is not None or self.stream.now > 0
        if not may or self.taken + self.policy.chunk_steps * self._hop > self.wanted:
            return 0
        return max(1, self.stream.lacks)

    @property
    def shows(self) -> bool:
        """Whether a frame waits."""
        return self._waits is not None

    def show(self) -> None:
        """Push it. No picture is from after what is made, though it was captured while another take sounded."""
        if self._waits is not None:
            self._newest, self._waits = self._waits, None
            self.stream.push(self._newest.pixels, min(self._newest.step, self.stream.now))

    def _music(self, chunk: AudioChunk) -> Music:
        self.taken = chunk.first_sample + len(chunk.samples)
        about = (chunk.newest_step, chunk.age_steps, chunk.segment, chunk.seed)
        return Music(chunk.samples, chunk.first_sample, *about, self.revision, self.take)

    def report(self, taken: Sequence[AudioChunk], refused: str | None, snapshot: bool) -> Report:
        """What was seen is told with the music that it is heard in."""
        music = tuple(map(self._music, taken))
        if not (music or snapshot or refused):
            return Report(take=self.take)
        held = self.player.held(self.stream)
        # with its caches it would take longer than a step; they are computed again from the columns, under the pictures of then
        blob = self.stream.snapshot(caches=False) if snapshot else None
        memory = Remembered(self.take, tuple(held.captured.items()), tuple(held.memory), tuple(held.recalled))
        cuts, asked = tuple(held.cuts), self._asked(held.cuts)
        return Report(music, cuts, asked, memory, blob, refused, take=self.take)

    def _asked(self, cuts: Sequence[int]) -> tuple[int, ...]:
        """The one of them that was asked for, if any: the first one since."""
        since = [] if self._turned is None else [step for step in cuts if step >= self._turned]
        if since:
            self._turned = None
        return tuple(since[:1])


class Voices:
    """All voices of a device. `open` and `tick` are called by the engine's thread alone."""

    def __init__(
        self, monotonic: Callable[[], float], ask_device: Callable[[], object] = lambda: None
    ) -> None:
        """ask_device: raises when the device that plays is lost; see `engine.errors.check_device`."""
        self.batcher, self._ask_device = Batcher[str](monotonic), ask_device
        self._voices: dict[str, Voice] = {}  # bound: `Runner.open`, NoRoom
        self._stepped: tuple[str, ...] = ()  # who took a step in the last tick

    def keys(self) -> tuple[str, ...]:
        return tuple(self._voices)

    def open(self, key: str, voice: Voice) -> None:
        """One that was admitted."""
        self.batcher.join(key, voice.stream)
        self._voices[key] = voice

    def make_room(self, orders: Mapping[str, Orders]) -> None:
        """Who leaves or rests does so before others come, who may need the memory; `tick` follows the other orders."""
        for key in [key for key in orders if key in self._voices]:
            if orders[key].leave:
                self._drop(key)
            elif orders[key].rest:
                self.batcher.rest(key, True)

    def tick(self, orders: Mapping[str, Orders]) -> dict[str, Report]:
        """Follow, step, report. A session is in the answer when it has something to hear."""
        reports: dict[str, Report] = {}
        refused = {
            key: self._follow(key, each, reports) for key, each in orders.items() if key in self._voices
        }
        # who neither heard anything nor took a step cannot have become due
        active = [key for key in dict.fromkeys((*self._stepped, *orders)) if key in self._voices]
        for key in [key for key in active if self._voices[key].shows]:
            self._guard(key, reports, self._voices[key].show)
        ticked = self.batcher.tick(lambda key: self._voices[key].due(), active)
        self._stepped = ticked.advanced
        for key, error in ticked.failed.items():
            self._fail(key, error, reports)
        asked = [key for key in refused if refused[key] or orders[key].snapshot]
        playing = [key for key in dict.fromkeys((*ticked.advanced, *asked)) if key in self._voices]
        for key, taken in self._take(playing, reports).items():
            snapshot = key in orders and orders[key].snapshot
            tell = partial(self._voices[key].report, taken, refused.get(key), snapshot)
            report = self._guard(key, reports, tell)
            reports |= {key: report} if report else {}
        return reports

    def _take(self, keys: Sequence[str], reports: dict[str, Report]) -> dict[str, list[AudioChunk]]:
        """What can be taken of each, together where that gains anything; of those that did not break."""
        taken: dict[str, list[AudioChunk]] = {key: [] for key in keys}
        while keys:
            chunks = dict(zip(keys, take_all([self._voices[key].stream for key in keys]), strict=True))
            keys = [key for key, chunk in chunks.items() if isinstance(chunk, AudioChunk)]
            for key, chunk in chunks.items():
                if isinstance(chunk, AudioChunk):
                    taken[key].append(chunk)
                elif chunk is not None:
                    del taken[key]
                    self._fail(key, chunk, reports)
        return taken

    def _follow(self, key: str, orders: Orders, reports: dict[str, Report]) -> str | None:
        voice = self._voices[key]
        if orders.leave:
            self._drop(key)
            return None
        if orders.reset is not None:
            self.batcher.release(key)
        refused = self._guard(key, reports, partial(voice.follow, orders))
        if orders.reset is not None and key in self._voices:
            self.batcher.swap(key, voice.stream)
        if orders.rest is not None and key in self._voices:
            self._guard(key, reports, partial(self.batcher.rest, key, orders.rest))
        return refused

    def _guard(self, key: str, reports: dict[str, Report], work: Callable[[], T]) -> T | None:
        """A stream that breaks ends its own session, which is told, and no other."""
        try:
            return work()
        except Exception as error:
            self._fail(key, error, reports)
            return None

    def _fail(self, key: str, error: Exception, reports: dict[str, Report]) -> None:
        """Raises DeviceLost when all others would fail, too."""
        check_device(error, self._ask_device)
        self._drop(key)
        reports[key] = Report(failed=f"{type(error).__name__}: {error}")

    def _drop(self, key: str) -> None:
        self.batcher.leave(key)
        del self._voices[key]
