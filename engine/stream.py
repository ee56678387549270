"""A stream: push frames when they come, advance step by step, take audio. Deterministic; it knows steps, not clocks.

push(frame) ─► Sight: mailbox, window, memory ─► condition
advance()   ─► Segments: one column ─► code frames
take()      ─► codec, in chunks ─► AudioChunk
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engine import codec
from engine.asking import Asking, done
from engine.backends.base import F32, I64, Backend, DrawCall, DrawsItself, HasPlaces
from engine.errors import PackageError
from engine.frames import Frame
from engine.keys import Keys
from engine.sampling import draw_all
from engine.segments import Segments
from engine.sight import Sight
from engine.spec import StreamPolicy

STATE_FORMAT = 6
DAMAGE = (KeyError, ValueError, TypeError, IndexError, AttributeError)
"""What reading a damaged description raises."""
MAX_UNTAKEN_STEPS = 1500
"""Steps that may be taken ahead of the audio that was taken: 30 s."""


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """samples: float32 [n], mono, at the codec's rate. Steps count code frames of 20 ms."""

    samples: F32
    first_sample: int
    newest_step: int
    """When the newest frame that conditioned the chunk's last code frame was captured."""
    age_steps: int
    """How old that frame's picture is at the end of the chunk."""
    segment: int
    seed: int


class ScoreStream:
    """Music for one video. `policy` changes by `set_policy` alone; frames are [S, S, 3] as the model's eyes want them."""

    def __init__(
        self,
        backend: Backend[Any, Any],
        policy: StreamPolicy | None = None,
        window_room: int | None = None,
        keys: Keys | None = None,
    ) -> None:
        """window_room: slots to which the window may be lengthened later, by default those of `policy`. keys: of the model.

        Raises PackageError when the model has no codec, ValueError for a key that it cannot be held to.
        """
        self.backend, self.policy = backend, policy or StreamPolicy()
        self.codec_spec = codec.codec_of(backend.spec)
        self.sight = Sight(backend, self.policy, window_room)
        self.segments = Segments(backend, self.policy, keys)
        self._look_ahead = codec.look_ahead(self.codec_spec)
        self._tail = codec.start(self.codec_spec, backend.spec.decoder.codebooks)
        self._decoded = 0  # code frames given to the codec
        self._conditions: deque[tuple[int, int, int]] = (
            deque()
        )  # (newest frame, segment, seed) of each unplayed step; bound: MAX_UNTAKEN_STEPS, then ValueError
        self.at_once = backend.most_steps if isinstance(backend, DrawsItself) else 1
        """Steps that its backend takes in one call."""
        self._about = (0, 0, 0)  # what the step that is asked for is conditioned on
        self._closed = False

    @property
    def now(self) -> int:
        """Steps taken: the code frame whose first codebook the next step writes."""
        return self.segments.known - 1

    @property
    def frames(self) -> int:
        """Code frames that are complete."""
        return self.segments.frames

    @property
    def lacks(self) -> int:
        """Steps until `take` has a chunk: to its end, and what the codec looks ahead."""
        return max(0, self.segments.pattern.columns_for(self._known_at_take) - self.segments.known)

    @property
    def _known_at_take(self) -> int:
        """Code frames that are complete when the next chunk is."""
        return self._tail.emitted + self.policy.chunk_steps + self._look_ahead

    def push(self, picture: NDArray[np.uint8] | Frame, step: int | None = None) -> None:
        """Show a frame, uint8 [S, S, 3], captured at `step` (default: now), whatever a `Frame` says of that. It is looked at by
        the next `advance`. An array is copied and may be filled again; who makes the `Frame`, in a thread of its own perhaps, may
        know its thumbnail already, and leaves its pixels alone."""
        frame = picture if isinstance(picture, Frame) else Frame(np.array(picture), 0)
        self.sight.push(frame.at(self.now if step is None else step))

    def set_policy(self, policy: StreamPolicy) -> None:
        """Play by another policy from the next step on.

        Raises ValueError, and changes nothing, when what is allocated does not fit it: a longer window than there is room for,
        guidance that goes from 1 to another value or back, or a key that the model cannot be held to.
        """
        self.sight.check_change(policy)
        self.segments.check_change(policy)
        self.policy = policy
        self.sight.set_policy(policy)
        self.segments.set_policy(policy)

    def turn(self) -> None:
        """Turn to the newest frame now, as at a cut: what was seen before leaves the window at the next step."""
        self.sight.turn(self.now)

    def rest(self, resting: bool) -> None:
        """It takes no steps until it rests no more, and then goes on as if it had never rested; where places are few, others have
        its place meanwhile. Frames, policies and snapshots are taken all the time. Raises NoRoom when it finds no place again."""
        if isinstance(self.backend, HasPlaces):
            self.backend.rest((self.sight.condition, self.segments.caches), resting)

    def advance(self) -> None:
        """Take one decoder step, 20 ms of music. Raises ValueError before the first frame, and when nobody takes audio."""
        self.hear(draw_all(self.backend, [self.ask()])[0])

    def looking(self) -> Asking[None] | None:
        """What `ask` begins with, the look at what was pushed, as what it asks of the backend; None when nothing is due. Who does
        that work first finds nothing due in `ask`. Raises what `ask` raises of a stream that cannot go on."""
        if self._closed:
            raise ValueError("the stream is closed; nothing plays after its end")
        if len(self._conditions) >= MAX_UNTAKEN_STEPS:
            raise ValueError(f"{MAX_UNTAKEN_STEPS} steps of music wait to be taken; call take()")
        return self.sight.ask(self.now)

    def ask(self, steps: int = 1) -> DrawCall[Any, Any]:
        """The first half of `advance`, `hear` being the second: what to ask the backend, alone or with other streams. steps: at
        most so many; it asks for fewer when something is to be looked at in between."""
        if (looking := self.looking()) is not None:
            done(self.backend, looking)
        if not self.sight.frames:
            raise ValueError("a stream needs a frame before it can play; push one first")
        self._about = (self.sight.newest_step, self.segments.leading.ordinal, self.policy.seed)
        if steps > 1:
            steps = min(steps, 1 + self.sight.idle_steps(self.segments.known))
        return self.segments.ask(self.sight.condition, self.sight.frames, steps)

    def hear(self, columns: I64) -> None:
        """What was drawn, [n, K]."""
        self._conditions.extend(repeat(self._about, len(columns)))
        self.segments.hear(columns)

    def take(self) -> AudioChunk | None:
        """The next chunk, as soon as the frames that the codec looks ahead are known."""
        taking = self.taking()
        return None if taking is None else done(self.backend, taking)

    def taking(self) -> Asking[AudioChunk] | None:
        """`take` as what it asks of the backend; None when no chunk is due."""
        known = self._known_at_take
        return None if self._closed or self.frames < known else self._decode(known, last=False)

    def close(self, frames: int | None = None) -> AudioChunk | None:
        """End the music after `frames` code frames (default: all complete ones) and return what was not taken yet: nothing where
        the codec sounds of more frames than there are."""
        end = self.frames if frames is None else min(frames, self.frames)
        closed, self._closed = self._closed, True
        known = max(end, self._decoded, codec.shortest(self.codec_spec))
        if closed or end <= self._tail.emitted or known > self.frames:
            return None
        return done(self.backend, self._decode(known, last=True, keep=end))

    def _decode(self, end: int, last: bool, keep: int | None = None) -> Asking[AudioChunk]:
        """Give the codec the code frames up to `end`; of what becomes final, frames from `keep` on are dropped."""
        first, hop = self._tail.emitted, self.codec_spec.hop
        codes = self.segments.codes(self._decoded, end)
        samples, self._tail = yield from codec.decoding(self.codec_spec, self._tail, codes, last=last)
        self._decoded = end
        self.segments.release(end)
        played = self._tail.emitted if keep is None else keep
        newest, segment, seed = self._conditions[played - first - 1]
        for _ in range(played - first):
            self._conditions.popleft()
        kept = samples[: (played - first) * hop]
        return AudioChunk(kept, first * hop, newest, played - newest, segment, seed)

    def snapshot(self, caches: bool = True) -> bytes:
        """The stream as one safetensors blob. With caches it continues bit for bit on the same backend; without them it is
        a few MB, and the caches are computed again from the columns."""
        sight_meta, arrays = self.sight.state()
        segments_meta, columns = self.segments.state()
        arrays["columns"] = columns
        tail, tail_arrays = codec.pack(self._tail, self.backend.read)
        arrays |= {f"tail_{name}": array for name, array in tail_arrays.items()}
        if caches:
            arrays |= self._cache_arrays()
        meta = {
            "format": STATE_FORMAT,
            "spec_digest": self.backend.spec.digest,
            "policy": asdict(self.policy),
            "sight": sight_meta,
            "segments": segments_meta,
            "decoded": self._decoded,
            "tail": tail,
            "conditions": list(self._conditions),
            "closed": self._closed,
        }
        blob: bytes = save(
            {k: np.ascontiguousarray(v) for k, v in arrays.items()}, {"stream": json.dumps(meta)}
        )
        return blob

    def _cache_arrays(self) -> dict[str, NDArray[Any]]:
        segments = self.segments
        if not self.sight.frames:
            return {}
        arrays = {"condition": self.backend.read_condition(self.sight.condition, self.sight.frames)}
        for segment in (segments.leading, segments.following):
            if segment is not None:
                held = segments.held_positions(segment)
                arrays[f"cache_{segment.slot}"] = self.backend.read_caches(
                    segments.caches, segment.slot, held
                )
        return arrays

    @classmethod
    def restore(cls, backend: Backend[Any, Any], blob: bytes, keys: Keys | None = None) -> ScoreStream:
        """Raises PackageError when the blob is damaged or belongs to another model."""
        meta, arrays = _read(blob, backend.spec.digest)
        try:
            stream = cls(backend, StreamPolicy(**meta["policy"]), meta["sight"]["room"], keys)
            stream._take_over(meta, arrays)
        except DAMAGE as error:
            raise _damaged(error) from error
        return stream

    def _take_over(self, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        self.sight.restore(meta["sight"], arrays)
        self.segments.restore(meta["segments"], arrays["columns"])
        tail = {k.removeprefix("tail_"): array for k, array in arrays.items() if k.startswith("tail_")}
        self._tail = codec.unpack(self.codec_spec, meta["tail"], tail)
        self._decoded, self._closed = meta["decoded"], meta["closed"]
        self._conditions = deque((newest, segment, seed) for newest, segment, seed in meta["conditions"])
        if self.sight.frames:
            self._restore_caches(arrays)

    def _restore_caches(self, arrays: dict[str, NDArray[Any]]) -> None:
        segments = self.segments
        if "condition" not in arrays:
            self.sight.rewrite()
            segments.reread(self.sight.condition, self.sight.frames)
            return
        self.backend.write_held_condition(self.sight.condition, arrays["condition"])
        for segment in (segments.leading, segments.following):
            if segment is not None:
                self.backend.write_caches(segments.caches, segment.slot, arrays[f"cache_{segment.slot}"])


def _read(blob: bytes, digest: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        arrays = load(blob)
        header = int.from_bytes(blob[:8], "little")
        meta = json.loads(json.loads(blob[8 : 8 + header])["__metadata__"]["stream"])
        found, owner = meta["format"], meta["spec_digest"]
    except (SafetensorError, *DAMAGE) as error:
        raise _damaged(error) from error
    if owner != digest:
        raise PackageError(f"the snapshot belongs to the model {owner}, not to {digest}")
    if found != STATE_FORMAT:
        raise PackageError(f"expected snapshot format {STATE_FORMAT}, found {found!r}")
    return meta, arrays


def _damaged(error: Exception) -> PackageError:
    reason = " ".join(f"{type(error).__name__} {error}".split())
    return PackageError(f"expected a stream snapshot, found something else or a damaged one: {reason}")
