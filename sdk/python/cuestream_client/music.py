"""Music as it arrives: messages to chunks of samples, each index once and in order.

An index names one moment of the music. After a resume the server may begin before what was received already: the overlap is cut
off, so no sample comes twice. Where it begins later, the gap is counted and seen in the index of the next chunk.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cuestream_client.errors import ProtocolError
from cuestream_client.media import Flag, Kind, Media, Source, StreamId, newer
from cuestream_client.messages import AudioFormat

F32: TypeAlias = npt.NDArray[np.float32]

SCALES: dict[Kind, tuple[str, float]] = {Kind.PCM_S16: ("<i2", 2.0**-15), Kind.PCM_F32: ("<f4", 1.0)}


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of music. samples: float32 [F, C], full scale 1. first_sample: index of the first one in this session.

    session: 1, 2, ...; another number is a new session, whose indices begin again. source: what made it, None when unknown.
    crossfade: the server faded from what was heard before. concealed: it was looped because the music was late.
    """

    first_sample: int
    samples: F32
    session: int = 1
    source: Source | None = None
    window: int = 0
    crossfade: bool = False
    concealed: bool = False

    @property
    def end(self) -> int:
        """One after the last sample."""
        return self.first_sample + len(self.samples)


class Music:
    """The music of one session over all its connections. received_through: one after the last sample received."""

    def __init__(self, session: int, audio: AudioFormat) -> None:
        """Raises ProtocolError when the sound is not PCM: this client decodes nothing else."""
        if audio.codec not in ("pcm_s16", "pcm_f32"):
            raise ProtocolError("unsupported_codec", f"asked for PCM, the server sends {audio.codec}")
        self.session, self.audio = session, audio
        self.received_through = 0
        self.ended = False
        self.counts: Counter[str] = Counter()
        self._source: Source | None = None
        self._seq: int | None = None

    def reconnected(self) -> None:
        """The next message may have any sequence number."""
        self._seq = None

    def add(self, media: Media) -> Chunk | None:
        """What is new in a message, None when nothing is. Raises ProtocolError."""
        if media.stream is not StreamId.MUSIC:
            raise ProtocolError("invalid_media", f"stream {media.stream.value} goes the other way")
        if self._seq is not None and not newer(media.seq, self._seq):
            self.counts["stale_messages"] += 1
            return None
        self._seq = media.seq
        self._source = media.source or self._source
        self.ended = self.ended or Flag.END in media.flags
        return self._place(media, self._samples(media)) if media.payload else None

    def _samples(self, media: Media) -> F32:
        if media.kind not in SCALES:
            raise ProtocolError("unsupported_codec", f"{media.kind.name} was not agreed on")
        letters, scale = SCALES[media.kind]
        values = np.frombuffer(media.payload, letters).reshape(media.dur, -1)
        if values.shape[1] != self.audio.channels:
            raise ProtocolError("invalid_media", f"{values.shape[1]} channels, not {self.audio.channels}")
        return values.astype(np.float32) * np.float32(scale)

    def _place(self, media: Media, samples: F32) -> Chunk | None:
        known = max(0, self.received_through - media.ts)
        self.counts["repeated_samples"] += min(known, len(samples))
        if known >= len(samples):
            return None
        first = media.ts + known
        self.counts["skipped_samples"] += first - self.received_through
        self.received_through = media.ts + len(samples)
        crossfade, concealed = Flag.CROSSFADE in media.flags, Flag.CONCEALED in media.flags
        self.counts["concealed_samples"] += concealed * (len(samples) - known)
        return Chunk(first, samples[known:], self.session, self._source, media.window, crossfade, concealed)
