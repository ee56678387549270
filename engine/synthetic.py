"""A player without a model, for measuring everything around one: its sound says which picture it has seen.

    dark picture ─► one tone      bright picture ─► another      brightness jumps ─► a click, at the next step

A step costs next to nothing, nothing is looked ahead, and the tones are those of the seed. It is no music and says so.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import PackageError
from engine.frames import F32
from engine.keys import check_unheld
from engine.player import Held
from engine.spec import StreamPolicy
from engine.stream import DAMAGE, MAX_UNTAKEN_STEPS, AudioChunk
from engine.written import WrittenStream

NAME = "synthetic"
LABEL = "synthetic test tones (for measuring, neither music nor a model)"
SAMPLE_RATE, CODE_RATE = 32_000, 50
HOP = SAMPLE_RATE // CODE_RATE
SIDE = 32
"""S: pixels of a frame on each side."""
BRIGHT = 0.5
"""Mean of a picture, of full scale, from which it is bright."""
JUMP = 0.25
"""So much brighter or darker than the picture before begins a click."""
TONES = 8
"""Seeds with the same rest play the same tones."""
LOWEST_HZ, APART_HZ, BRIGHTER_HZ = 200, 50, 1000
"""Multiples of the code rate: a tone has whole periods in a step, so that steps join without a seam."""
LEVEL, CLICK_LEVEL = 0.2, 0.6
CLICK_SAMPLES = 64
MOST_LONG_SOUNDS = 64
STATE_FORMAT = 1


def tone_hz(seed: int, bright: bool) -> int:
    """What a picture sounds like."""
    return LOWEST_HZ + APART_HZ * (seed % TONES) + BRIGHTER_HZ * bright


@cache  # bound: TONES x 2 x 2
def sound(tone: int, click: bool) -> F32:
    """One step, [HOP], of a tone in Hz."""
    samples = LEVEL * np.sin(2 * np.pi * tone / SAMPLE_RATE * np.arange(HOP))
    if click:
        at = np.arange(CLICK_SAMPLES)
        samples[:CLICK_SAMPLES] += CLICK_LEVEL * np.where(at % 4 < 2, 1, -1) * np.exp(-at / 16)
    return samples.astype(np.float32)


@lru_cache(MOST_LONG_SOUNDS)
def long_sound(tone: int, steps: int) -> F32:
    """Some steps of one tone, [steps * HOP], which are one for everybody: not to be written to."""
    samples = np.tile(sound(tone, False), steps)
    samples.flags.writeable = False
    return samples


class Step(NamedTuple):
    """What sounds in a step, and the capture step of the newest frame known then."""

    tone: int
    click: bool
    newest: int
    seed: int


class SyntheticStream(WrittenStream):
    """Follows `engine.player.Stream`. `policy` gives the seed, the chunks and whether jumps click (`on_cut`)."""

    def __init__(self, policy: StreamPolicy) -> None:
        super().__init__()
        self.policy = policy
        self.newest_step = 0
        self.counts: Counter[str] = Counter()
        self.cuts: list[int] = []
        """Steps that began with a click, since the caller last emptied it."""
        self._brightness: float | None = None
        self._clicks = False
        self._now = 0
        self._steps: deque[Step] = deque()  # not taken yet; bound: MAX_UNTAKEN_STEPS, then ValueError

    @property
    def now(self) -> int:
        """Steps taken."""
        return self._now

    def set_policy(self, policy: StreamPolicy) -> None:
        """From the next step on."""
        self.policy = policy

    def turn(self) -> None:
        """Click at the next step."""
        self._clicks = True

    def push(self, pixels: NDArray[np.uint8], step: int | None = None) -> None:
        """Show a frame, uint8 [S, S, 3], captured at `step` (default: now). It is heard from the next `advance` on."""
        if pixels.shape != (SIDE, SIDE, 3) or pixels.dtype != np.uint8:
            found = f"{pixels.dtype} {list(pixels.shape)}"
            raise ValueError(f"a synthetic frame is uint8 [{SIDE}, {SIDE}, 3], not {found}")
        before, self._brightness = self._brightness, int(pixels.sum(dtype=np.int64)) / (pixels.size * 255)
        if before is not None and abs(self._brightness - before) > JUMP and self.policy.on_cut != "ignore":
            self._clicks = True
        self.newest_step = self.now if step is None else step
        self.counts["pushed"] += 1

    def advance(self) -> None:
        """Write 20 ms. Raises ValueError before the first frame, and when nobody takes audio."""
        if self._closed:
            raise ValueError("the stream is closed; nothing plays after its end")
        if len(self._steps) >= MAX_UNTAKEN_STEPS:
            raise ValueError(f"{MAX_UNTAKEN_STEPS} steps of sound wait to be taken; call take()")
        if self._brightness is None:
            raise ValueError("a stream needs a frame before it can play; push one first")
        if self._clicks:
            self.counts["cuts"] += 1
            self.cuts.append(self.now)
        seed = self.policy.seed
        tone = tone_hz(seed, self._brightness >= BRIGHT)
        self._steps.append(Step(tone, self._clicks, self.newest_step, seed))
        self._clicks = False
        self._now += 1

    def _play(self, end: int) -> AudioChunk:
        first, self._taken = self._taken, end
        steps = [self._steps.popleft() for _ in range(end - first)]
        newest = steps[-1].newest
        if len({(step.tone, step.click) for step in steps}) == 1 and not steps[0].click:
            samples = long_sound(steps[0].tone, len(steps))
        else:
            samples = np.concatenate([sound(step.tone, step.click) for step in steps])
        return AudioChunk(samples, first * HOP, newest, end - newest, 0, steps[-1].seed)

    def snapshot(self, caches: bool = True) -> bytes:
        """Some kB; it has no caches."""
        state = {
            "policy": asdict(self.policy),
            "now": self.now,
            "newest": self.newest_step,
            "counts": dict(self.counts),
            "cuts": self.cuts,
            "brightness": self._brightness,
            "clicks": self._clicks,
            "taken": self._taken,
            "steps": [step._asdict() for step in self._steps],
            "closed": self._closed,
        }
        text = json.dumps({"format": STATE_FORMAT, "player": SyntheticPlayer().digest, "state": state})
        return f"{hashlib.sha256(text.encode()).hexdigest()} {text}".encode()

    @classmethod
    def restore(cls, blob: bytes) -> SyntheticStream:
        """Raises PackageError when the blob is damaged or another player's."""
        checksum, _, text = blob.partition(b" ")
        if hashlib.sha256(text).hexdigest().encode() != checksum:
            raise PackageError(
                "expected the state of a synthetic stream, found something else or a damaged one"
            )
        try:
            return cls._of(json.loads(text))
        except DAMAGE as error:
            raise PackageError(f"expected the state of a synthetic stream: {error!r}") from error

    @classmethod
    def _of(cls, found: dict[str, Any]) -> SyntheticStream:
        if (found["format"], found["player"]) != (STATE_FORMAT, SyntheticPlayer().digest):
            raise ValueError(f"format {found['format']} of {found['player']}")
        state = found["state"]
        stream = cls(StreamPolicy(**state["policy"]))
        stream._now, stream.newest_step, stream.cuts = state["now"], state["newest"], state["cuts"]
        stream.counts, stream._closed = Counter(state["counts"]), state["closed"]
        stream._brightness, stream._clicks, stream._taken = (
            state["brightness"],
            state["clicks"],
            state["taken"],
        )
        stream._steps = deque(Step(**step) for step in state["steps"])
        return stream


@dataclass(frozen=True, slots=True)
class SyntheticPlayer:
    """Needs nothing installed and nothing loaded."""

    name: str = NAME
    digest: str = f"{NAME}-1"
    label: str = LABEL
    side: int = SIDE
    code_rate: int = CODE_RATE
    sample_rate: int = SAMPLE_RATE
    fewest_frames: int = 1
    defaults: StreamPolicy = field(default_factory=StreamPolicy)
    follows: frozenset[str] = frozenset({"seed", "on_cut"})

    def check(self, policy: StreamPolicy) -> None:
        check_unheld(NAME, policy)

    def open(self, policy: StreamPolicy) -> SyntheticStream:
        return SyntheticStream(policy)

    def restore(self, blob: bytes) -> SyntheticStream:
        return SyntheticStream.restore(blob)

    def held(self, stream: SyntheticStream) -> Held:
        """It knows the newest frame alone."""
        cuts, stream.cuts = stream.cuts, []
        return Held(
            [stream.newest_step],
            [],
            cuts,
            dict(stream.counts),
            captured={stream.newest_step: stream.newest_step},
        )
