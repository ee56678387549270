"""The composer as a stream: frames in as they come, audio out in chunks. No look-ahead; it knows steps, not clocks.

push(frame) ─► Extractor: attributes
advance()   ─► Composer: the notes of one step, written into the score
take()      ─► SoundFont: the score's next steps ─► AudioChunk

The score is the truth, sound is derived: a restored stream plays the last seconds of it again, unheard, to a new synthesiser.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import PackageError
from engine.frames import F32, Frame
from engine.motion import livened
from engine.spec import KEYS, StreamPolicy
from engine.stream import MAX_UNTAKEN_STEPS, AudioChunk
from engine.written import WrittenStream
from training.composer import snapshot
from training.composer.attributes import Attributes, Extractor
from training.composer.composer import Composer, Note
from training.composer.soundfont import HOP, SoundFont, digest

SIDE = 64
"""S: pixels of a frame on each side; its thumbnail has 32."""
REPLAY_STEPS = 1000
"""Steps of the score that are kept after they were played: 20 s, longer than any note rings."""


@dataclass(frozen=True, slots=True)
class Written:
    """One step of the score. newest: the capture step of the newest frame known then. phrase: counted from 0."""

    notes: tuple[Note, ...]
    newest: int
    phrase: int


class ProceduralStream(WrittenStream):
    """Music for one video, by rules. `policy` gives seed, rule for cuts, energy and chunks; the rest is for models."""

    def __init__(self, policy: StreamPolicy | None = None, sound_font: Path | None = None) -> None:
        """Takes a second to open the sound font. Raises MissingRuntime when it or tinysoundfont is not installed."""
        super().__init__()
        self.policy = policy or StreamPolicy()
        self.extractor, self.composer = Extractor(self.policy), Composer(self.policy.seed)
        if self.policy.key in KEYS:
            self.composer.signatures = (KEYS.index(self.policy.key),)
        self.counts: Counter[str] = Counter()
        self.cuts: list[int] = []
        """Steps at which cuts were answered since the caller last emptied it."""
        self.newest_step = 0
        """The capture step of the newest frame."""
        self._sound_font = SoundFont(sound_font)
        self._digest = digest(sound_font)
        self._known: Attributes | None = None
        self._fresh = False  # whether the newest frame waits for its first step
        self._score: deque[Written] = deque()  # bound: REPLAY_STEPS played, MAX_UNTAKEN_STEPS to play

    @property
    def now(self) -> int:
        """Steps taken."""
        return self.composer.step

    def push(self, pixels: NDArray[np.uint8], step: int | None = None) -> None:
        """Show a frame, uint8 [S, S, 3], captured at `step` (default: now). It is heard from the next `advance` on;
        the array may be filled again."""
        if pixels.shape != (SIDE, SIDE, 3) or pixels.dtype != np.uint8:
            found = f"{pixels.dtype} {list(pixels.shape)}"
            raise ValueError(f"a frame for the composer is uint8 [{SIDE}, {SIDE}, 3], not {found}")
        seen = self.extractor.show(Frame(pixels.copy(), self.now if step is None else step))
        if seen.cut and self.policy.on_cut == "gentle":
            self._note_cut()
            seen = replace(seen, cut=False)
        waiting = self._known is not None and self._known.cut  # a cut is not lost when a newer frame comes
        self._known = replace(seen, cut=seen.cut or waiting)
        self.newest_step = self.now if step is None else step
        self.counts["pushed"] += 1
        self.counts["replaced"] += self._fresh
        self._fresh = True

    def set_policy(self, policy: StreamPolicy) -> None:
        """Play by another policy from the next step on; another seed is heard from the next phrase on.

        Raises ValueError for another named key: the composer keeps the one that it began with.
        """
        if policy.key != self.policy.key and not {policy.key, self.policy.key}.isdisjoint(KEYS):
            raise ValueError(f"the composer keeps its key; open a new stream for {policy.key}")
        self.policy = self.extractor.policy = policy
        self.composer.seed = policy.seed

    def turn(self) -> None:
        """Begin a new phrase at the next step, as at a cut."""
        if self._known is not None:
            self._known = replace(self._known, cut=True)

    def _note_cut(self) -> None:
        self.counts["cuts"] += 1
        self.cuts.append(self.now)

    def advance(self) -> None:
        """Write 20 ms of music. Raises ValueError before the first frame, and when nobody takes audio."""
        if self._closed:
            raise ValueError("the stream is closed; nothing plays after its end")
        if self.now - self._taken >= MAX_UNTAKEN_STEPS:
            raise ValueError(f"{MAX_UNTAKEN_STEPS} steps of music wait to be taken; call take()")
        if self._known is None:
            raise ValueError("a stream needs a frame before it can play; push one first")
        if self._known.cut:
            self._note_cut()
        heard = replace(self._known, motion=float(livened(self._known.motion, self.policy.energy)))
        notes = tuple(self.composer.advance(heard))
        self._score.append(Written(notes, self.newest_step, self.composer.phrases - 1))
        self._known, self._fresh = replace(self._known, cut=False), False

    def _play(self, end: int) -> AudioChunk:
        """The audio of the steps from the last one that was taken up to `end`."""
        first, written = self._taken, list(self._written(self._taken, end))
        samples: F32 = np.concatenate([self._sound_font.play(step.notes) for step in written])
        self._taken = end
        while len(self._score) > self.now - end + REPLAY_STEPS:
            self._score.popleft()
        newest, phrase = written[-1].newest, written[-1].phrase
        return AudioChunk(samples, first * HOP, newest, end - newest, phrase, self.policy.seed)

    def _written(self, first: int, end: int) -> Iterator[Written]:
        held_from = self.now - len(self._score)
        return islice(self._score, first - held_from, end - held_from)

    def snapshot(self, caches: bool = True) -> bytes:
        """The stream as one safetensors blob of some tens of kB; it has no caches."""
        seen, arrays = snapshot.extractor_state(self.extractor)
        arrays |= snapshot.score_arrays([(step.notes, step.newest, step.phrase) for step in self._score])
        state = {
            "policy": asdict(self.policy),
            "composer": snapshot.composer_state(self.composer),
            "extractor": seen,
            "known": None if self._known is None else asdict(self._known),
            "fresh": self._fresh,
            "newest": self.newest_step,
            "taken": self._taken,
            "counts": dict(self.counts),
            "cuts": self.cuts,
            "closed": self._closed,
        }
        return snapshot.pack(self._digest, state, arrays)

    @classmethod
    def restore(cls, blob: bytes, sound_font: Path | None = None) -> ProceduralStream:
        """Raises PackageError when the blob is damaged, another model's, or was played with another sound font."""
        state, arrays = snapshot.unpack(digest(sound_font), blob)
        try:
            stream = cls(StreamPolicy(**state["policy"]), sound_font)
            stream._take_over(state, arrays)
        except snapshot.DAMAGE as error:
            raise PackageError(f"expected the state of a procedural stream: {error!r}") from error
        return stream

    def _take_over(self, state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        self.composer = snapshot.composer_of(state["composer"])
        self.extractor = snapshot.extractor_of(self.policy, state["extractor"], arrays)
        self._known = None if state["known"] is None else Attributes(**state["known"])
        self._fresh, self.newest_step = state["fresh"], state["newest"]
        self.counts, self.cuts = Counter(state["counts"]), list(state["cuts"])
        self._score = deque(Written(*step) for step in snapshot.score_of(arrays))
        self._taken, self._closed = state["taken"], state["closed"]
        for step in self._written(self.now - len(self._score), self._taken):
            self._sound_font.play(step.notes)
