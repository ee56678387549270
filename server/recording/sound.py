"""Music into a file, block by block: FLAC, WAV or Opus. What is on the disk can be played, also when nobody finished it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np

from engine.frames import F32
from engine.media.output import TARGETS
from server.audio.packing import frame_of
from server.audio.resampling import WIRE_RATE, pcm16
from server.protocol.values import RecordedAudio
from server.system.written_file import Written

CHANNELS = 2
UNFINISHED = {"wav": {}, "flac": {}, "opus": {"page_duration": "200000"}}
"""Options that keep little back: Ogg's pages are a fifth of a second."""


class Sound:
    """Stereo at 48 kHz, 16 bits. Raises FFmpegError and OSError when the disk does."""

    def __init__(self, path: Path, form: RecordedAudio) -> None:
        target = TARGETS[f".{form}"]
        options = {**target.options, **UNFINISHED[form], "flush_packets": "1"}
        self._file = Written(path, "w")
        self._container = av.open(self._file, "w", format=target.format, options=options)
        stream: Any = self._container.add_stream(target.codec, rate=WIRE_RATE, layout="stereo")
        if target.bit_rate:
            stream.bit_rate = target.bit_rate
        self._stream = stream
        self.samples = 0

    def write(self, samples: F32) -> None:
        """samples: [n], mono."""
        if not len(samples):  # FFmpeg takes no empty frame
            return
        with self._file.part():
            self._container.mux(self._stream.encode(block(samples, self.samples)))
        self.samples += len(samples)

    def close(self) -> None:
        if self._file.closed:
            return
        with self._file, self._file.part():
            self._container.mux(self._stream.encode(None))
            self._container.close()


def block(samples: F32, first: int) -> av.AudioFrame:
    """The sixteen bits that are sent, as FFmpeg takes them. samples: [n] or [n, 2]. first: the index of the first sample."""
    whole = pcm16(samples, CHANNELS) if samples.ndim == 1 else np.hstack([pcm16(s, 1) for s in samples.T])
    return frame_of(whole, first)
