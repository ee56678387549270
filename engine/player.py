"""Who plays, and one stream of what is played: the seam between the shells and what makes the music.

A shell shows frames, advances step by step and takes audio; whether a model makes the music or rules do is not its affair.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine import codec
from engine.backends.base import Backend, OnDevice
from engine.keys import Keys, signature_of
from engine.spec import StreamPolicy
from engine.stream import AudioChunk, ScoreStream


class Stream(Protocol):
    """Music for one video: push frames when they come, advance step by step, take audio."""

    @property
    def policy(self) -> StreamPolicy: ...

    @property
    def now(self) -> int:
        """Steps taken."""

    @property
    def frames(self) -> int:
        """Code frames that are complete; audio can be taken up to here, or a little before."""

    @property
    def lacks(self) -> int:
        """Steps until `take` has a chunk."""

    def set_policy(self, policy: StreamPolicy) -> None:
        """From the next step on. Raises ValueError, and changes nothing, when a running stream cannot do that."""

    def turn(self) -> None:
        """Answer the newest frame now, as if a scene began with it."""

    def push(self, pixels: NDArray[np.uint8], step: int | None = None) -> None:
        """The array may be filled again."""

    def advance(self) -> None: ...

    def take(self) -> AudioChunk | None: ...

    def close(self, frames: int | None = None) -> AudioChunk | None: ...

    def snapshot(self, caches: bool = True) -> bytes:
        """Without caches it is small, quick, and slower to restore."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a stream knows of the video now, for timelines: moments in steps, counts of what happened so far."""

    window: list[int]
    memory: list[int]
    cuts: list[int]
    """Seen since the last time somebody asked."""
    counts: dict[str, int]
    recalled: list[int] = field(default_factory=list)
    """Of the memory, those that the music hears now."""
    captured: dict[int, int] = field(default_factory=dict)
    """When the frame at a moment of the window was captured, as a step."""


S = TypeVar("S", bound=Stream)


class Player(Protocol[S]):
    """Opens streams, and says what plays in them."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str:
        """Streams with the same digest, policy and frames play the same music."""

    @property
    def label(self) -> str:
        """What a listener ought to know of the music, empty when it is a trained model's."""

    @property
    def defaults(self) -> StreamPolicy: ...

    @property
    def follows(self) -> frozenset[str]:
        """The fields of a policy that change its music while it plays; the others mean nothing to it, or are refused."""

    @property
    def side(self) -> int:
        """S: frames are uint8 [S, S, 3]."""

    @property
    def code_rate(self) -> int:
        """Steps, and code frames, a second."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def fewest_frames(self) -> int:
        """Code frames that must be complete before there is any audio."""

    def check(self, policy: StreamPolicy) -> None:
        """Raises ValueError for a policy that it cannot play by."""

    def open(self, policy: StreamPolicy) -> S: ...

    def restore(self, blob: bytes) -> S:
        """Raises PackageError when the blob is damaged or belongs to another player."""

    def held(self, stream: S) -> Held: ...


def ask_device(player: Player[Any]) -> None:
    """Raises what the device answers that plays, if there is one and it does nothing any more."""
    if isinstance(player, ModelPlayer) and isinstance(player.backend, OnDevice):
        player.backend.ask_device()


FOLLOWED = frozenset({"seed", "temperature", "top_k", "top_p", "short_term_s", "on_cut"})
"""What every model's music follows, of a policy."""


@dataclass(frozen=True, slots=True)
class ModelPlayer:
    """An exported model on some backend. recommended: how its makers play it. keys: its tokens' pitches, if they have any."""

    backend: Backend[Any, Any]
    recommended: StreamPolicy | None = None
    keys: Keys | None = None

    @property
    def name(self) -> str:
        return self.backend.spec.name

    @property
    def digest(self) -> str:
        return self.backend.spec.digest

    @property
    def label(self) -> str:
        return "random weights, so this is noise and not music" if self.name.startswith("random-") else ""

    @property
    def defaults(self) -> StreamPolicy:
        return self.recommended or StreamPolicy(guidance=self.backend.spec.decoder.guidance)

    @property
    def follows(self) -> frozenset[str]:
        """Guidance where there is some: a running stream takes none on. A key where the tokens' pitches are known, energy where
        motion is seen."""
        also = {
            "guidance": self.defaults.guided,
            "key": self.keys is not None,
            "energy": self.backend.spec.vision.motion,
        }
        return FOLLOWED | {name for name, is_followed in also.items() if is_followed}

    @property
    def side(self) -> int:
        return self.backend.spec.vision.image_size

    @property
    def code_rate(self) -> int:
        return self.backend.spec.code_rate

    @property
    def sample_rate(self) -> int:
        return codec.codec_of(self.backend.spec).sample_rate

    @property
    def fewest_frames(self) -> int:
        return codec.shortest(codec.codec_of(self.backend.spec))

    def check(self, policy: StreamPolicy) -> None:
        signature_of(self.keys, policy.key, policy.seed)

    def open(self, policy: StreamPolicy) -> ScoreStream:
        return ScoreStream(self.backend, policy, keys=self.keys)

    def restore(self, blob: bytes) -> ScoreStream:
        return ScoreStream.restore(self.backend, blob, self.keys)

    def held(self, stream: ScoreStream) -> Held:
        sight, stride = stream.sight, self.backend.spec.steps_per_slot
        cuts, sight.cuts = sight.cuts, []
        window = sorted(slot * stride for slot in sight.window.places)
        memory = [slot * stride for slot in sight.memory_slots]
        recalled = [slot * stride for slot in sight.recalled_slots]
        captured = {slot * stride: step for slot, step in sight.captured.items()}
        return Held(window, memory, cuts, dict(sight.counts), recalled, captured)
