"""What a session needs to go on in another process: the stream's blob and where the session stood, as one blob of bytes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from msgspec import structs
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engine.errors import PackageError
from engine.frames import F32
from engine.spec import StreamPolicy
from server.core.mixing import Ducking, Mix, Ramp
from server.core.playout import NONE, Music, Placed

FORMAT, BEFORE = 3, 2
"""Of those before, spans also say where they lie in the music, which nobody asked for."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """music: made and not placed, in order; the stream's blob is from right after it.

    sounded, spans: the newest placed samples, for a client that had not heard all of them.
    """

    state: Literal["created", "waiting", "paused", "stopped"]
    """waiting: it plays."""
    stream: bytes
    policy: StreamPolicy
    placed: int
    """The index of the next sample to be placed."""
    take: int
    played: int
    """Samples of the take that were placed."""
    music: tuple[Music, ...]
    sounded: F32
    spans: tuple[Placed, ...]
    mix: Mix
    mix_revision: int
    policy_revision: int

    @property
    def taken(self) -> int:
        """Samples of the take that the engine had given."""
        return self.played + sum(len(piece.samples) for piece in self.music)

    def to_bytes(self) -> bytes:
        meta = {name: getattr(self, name) for name in _PLAIN} | {"format": FORMAT}
        meta["state"], meta["policy"] = self.state, asdict(self.policy)
        meta["mix"] = asdict(self.mix)
        meta["music"] = [_about(piece) for piece in self.music]
        arrays = {f"music_{i}": piece.samples for i, piece in enumerate(self.music)}
        meta["spans"] = [{**structs.asdict(span), "about": _about(span.about)} for span in self.spans]
        arrays |= {"stream": np.frombuffer(self.stream, np.uint8), "sounded": self.sounded}
        return bytes(save(arrays, {"checkpoint": json.dumps(meta)}))

    @classmethod
    def from_bytes(cls, blob: bytes) -> Checkpoint:
        """Raises PackageError when the blob is damaged or of another format."""
        try:
            arrays = load(blob)
            header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
            meta = json.loads(header["__metadata__"]["checkpoint"])
            if meta["format"] not in (BEFORE, FORMAT):
                raise ValueError(f"format {meta['format']!r}, not {FORMAT}")
            plain: dict[str, Any] = {name: int(meta[name]) for name in _PLAIN}
            return cls(
                state=meta["state"],
                stream=arrays["stream"].tobytes(),
                policy=StreamPolicy(**meta["policy"]),
                music=tuple(Music(arrays[f"music_{i}"], **about) for i, about in enumerate(meta["music"])),
                sounded=arrays["sounded"],
                spans=tuple(_span(span) for span in meta["spans"]),
                mix=_mix(meta["mix"]),
                **plain,
            )
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
            reason = " ".join(f"{type(error).__name__} {error}".split())
            raise PackageError(f"expected a session's checkpoint, found another thing: {reason}") from error


_PLAIN = ("placed", "take", "played", "mix_revision", "policy_revision")


def _mix(meta: dict[str, Any]) -> Mix:
    ducking = meta.pop("ducking")
    ramps = {name: Ramp(**ramp) for name, ramp in meta.items()}
    return Mix(**ramps, ducking=Ducking(**ducking) if ducking else None)


def _span(meta: dict[str, Any]) -> Placed:
    about = Music(NONE, **meta.pop("about"))
    meta.pop("music_first", None)
    return Placed(about=about, **meta)


def _about(piece: Music) -> dict[str, int]:
    return {name: value for name, value in structs.asdict(piece).items() if name != "samples"}
