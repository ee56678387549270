"""The music while it is being made: a float WAV that is readable at every moment, also after a kill.

FFmpeg's muxer leaves the length open in the header until the file is closed, which its reader takes as "up to
the end of the file", and turns the file into RF64 when it passes 4 GB.
"""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.error import FFmpegError

from engine.errors import MediaError
from engine.media.source import absolute, reason

# Each packet reaches the operating system at once, so that a killed run loses nothing that was appended.
_OPTIONS = {"rf64": "auto", "flush_packets": "1"}
_LAYOUTS = {1: "mono", 2: "stereo"}


class WavWriter:
    """Appends float32 sound to a WAV file. Any error of the disk is a MediaError."""

    def __init__(self, path: Path, sample_rate: int = 32_000, channels: int = 1) -> None:
        """channels: 1 or 2. The file is made with the first append, or on closing."""
        if channels not in _LAYOUTS:
            raise ValueError(f"expected 1 or 2 channels, found {channels}")
        self.path = path
        self.sample_rate = sample_rate
        self.channels = channels
        self.samples = 0
        """Samples appended so far, for each channel."""
        try:
            self._file = av.open(absolute(path), "w", format="wav", options=_OPTIONS)
            self._stream = self._file.add_stream("pcm_f32le", rate=sample_rate, layout=_LAYOUTS[channels])
            self._file.start_encoding()
        except (FFmpegError, OSError) as error:
            raise MediaError(f"{path}: cannot be written: {reason(error)}") from error

    def append(self, samples: npt.NDArray[np.float32]) -> None:
        """samples: float32 [n] for mono or [channels, n], full scale = 1; nothing is clipped."""
        block = np.atleast_2d(samples)
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(f"expected [{self.channels}, n] samples, found {samples.shape}")
        if block.shape[1]:
            self._write(self._frame(block))
            self.samples += block.shape[1]

    def close(self) -> None:
        """Write the header's lengths. May be called again."""
        try:
            self._file.close()
        except (FFmpegError, OSError) as error:
            raise MediaError(f"{self.path}: cannot be written: {reason(error)}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _frame(self, block: npt.NDArray[np.float32]) -> AudioFrame:
        interleaved = np.ascontiguousarray(block.T, np.float32).reshape(1, -1)
        frame = AudioFrame.from_ndarray(interleaved, format="flt", layout=_LAYOUTS[self.channels])
        frame.sample_rate, frame.pts = self.sample_rate, self.samples
        frame.time_base = Fraction(1, self.sample_rate)
        return frame

    def _write(self, frame: AudioFrame) -> None:
        try:
            self._file.mux(self._stream.encode(frame))
        except (FFmpegError, OSError) as error:
            raise MediaError(f"{self.path}: cannot be written: {reason(error)}") from error
