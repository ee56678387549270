"""The original sound of the video as it comes: how loud it is, for ducking, and the stretches that an output mixes in.

Nothing of it is stored.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np

from engine.frames import F32
from server.protocol.errors import ErrorCode, ProtocolError
from server.protocol.media import SAMPLE_BYTES, Flag, Kind, Media
from server.protocol.messages import AudioFormat

SILENCE_DB = -100.0
KINDS: dict[Kind, tuple[np.dtype[Any], float]] = {
    Kind.PCM_S16: (np.dtype("<i2"), 32768.0),
    Kind.PCM_F32: (np.dtype("<f4"), 1.0),
}
"""How samples are laid down, and full scale."""
MOST_LEVELS = 1024
Source: TypeAlias = Literal["websocket", "offer", "whip", "ingest"]
"""Ways by which it comes; each has at most one at a time, and their sound is added up."""


class Sound(msgspec.Struct, frozen=True, gc=False):
    """A stretch. samples: interleaved. goes_on: it begins where the one before it ended."""

    source: Source
    kind: Kind
    rate: int
    channels: int
    samples: bytes
    goes_on: bool = False

    @property
    def count(self) -> int:
        """Samples of each channel."""
        return len(self.samples) // (SAMPLE_BYTES[self.kind] * self.channels)

    @property
    def seconds(self) -> float:
        return self.count / self.rate

    def floats(self) -> F32:
        """[n, channels], full scale 1; what is no number is silence."""
        form, full = KINDS[self.kind]
        raw = np.frombuffer(self.samples, form).reshape(-1, self.channels)
        return np.nan_to_num(raw.astype(np.float32) / np.float32(full), posinf=1.0, neginf=-1.0)


class Ear:
    """One connection's: it knows where the last stretch ended."""

    def __init__(self) -> None:
        self._next = -1

    def hear(self, media: Media, rate: int) -> Sound:
        """rate: as the client said. Raises ProtocolError for a codec that is not listened to."""
        if media.kind not in KINDS:
            said = f"original sound is not heard as {media.kind.name}"
            raise ProtocolError(ErrorCode.UNSUPPORTED_CODEC, said)
        goes_on = media.ts == self._next and Flag.DISCONTINUITY not in media.flags
        self._next = media.ts + media.dur
        channels = len(media.payload) // (media.dur * SAMPLE_BYTES[media.kind])
        return Sound("websocket", media.kind, rate, channels, media.payload, goes_on)


class Loudest:
    """The loudest level of late, for music that steps back now under what is heard later somewhere."""

    def __init__(self) -> None:
        self._levels: deque[tuple[float, float]] = deque(maxlen=MOST_LEVELS)  # full: the oldest goes

    def of(self, now_s: float, level_db: float, span_s: float) -> float:
        """This level is heard now; the loudest one of the last `span_s` seconds."""
        while self._levels and self._levels[-1][1] <= level_db:
            self._levels.pop()
        self._levels.append((now_s, level_db))
        while self._levels[0][0] < now_s - span_s:
            self._levels.popleft()
        return self._levels[0][1]


def check_original(form: AudioFormat) -> None:
    """Raises ProtocolError for a codec that is not listened to."""
    if form.codec not in ("pcm_s16", "pcm_f32"):
        said = f"original sound is heard as pcm_s16 or pcm_f32, not as {form.codec}"
        raise ProtocolError(ErrorCode.UNSUPPORTED_CODEC, said, "original.codec")


def level_db(sound: Sound) -> float:
    """Root mean square over all channels, dB of full scale."""
    form, full = KINDS[sound.kind]
    samples = np.frombuffer(sound.samples, form).astype(np.float64)
    power = float(np.mean(np.square(samples / full))) if len(samples) else 0.0
    return max(SILENCE_DB, 10 * float(np.log10(power))) if np.isfinite(power) and power > 0 else SILENCE_DB
