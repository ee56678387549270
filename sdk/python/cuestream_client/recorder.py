"""Music into a file instead of a sound card: WAV or FLAC of 16 bits, through PyAV. Each sample lies where its index says."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from cuestream_client.errors import ClientError, MissingExtra
from cuestream_client.messages import AudioFormat
from cuestream_client.music import F32, Chunk
from cuestream_client.session import Playout

CODECS = {".wav": "pcm_s16le", ".flac": "flac"}
OPTIONS = {".wav": {"rf64": "auto"}, ".flac": {}}
"""WAV of more than 4 GiB, 6.2 hours, is RF64: its own lengths have 32 bits."""
MOST_SILENCE_S = 60
"""A longer gap is not filled: what follows is appended."""


class Recorder:
    """`with Recorder(path, audio) as recorder: recorder.put(chunk)`. What is written counts as heard.

    Without any music no file stays: FLAC of no samples cannot be read.
    """

    def __init__(self, path: str | Path, audio: AudioFormat) -> None:
        """Raises ClientError where `check_place` does."""
        path = Path(path)
        check_place(path)
        self.path, self.audio = path, audio
        self.samples = 0
        self.peak = 0.0
        self.playout = Playout(0, 0)
        self._next = 0
        self._session = 0

    def __enter__(self) -> Self:
        av = _av()
        layout = "stereo" if self.audio.channels == 2 else "mono"
        ending = self.path.suffix.lower()
        try:
            self._file: Any = av.open(str(self.path), "w", options=dict(OPTIONS[ending]))
            self._stream: Any = self._file.add_stream(
                CODECS[ending], rate=self.audio.sample_rate, layout=layout
            )
            self._stream.format = "s16"
            self._file.start_encoding()  # the file is opened here
        except OSError as error:
            raise ClientError(f"{self.path} cannot be written: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.mux(self._stream.encode(None))
        self._file.close()
        if not self.samples:
            self.path.unlink(missing_ok=True)

    def put(self, chunk: Chunk) -> None:
        gap = chunk.first_sample - self._next if chunk.session == self._session else 0
        if 0 < gap <= MOST_SILENCE_S * self.audio.sample_rate:
            self._write(np.zeros((gap, self.audio.channels), np.float32))
        self._write(chunk.samples)
        self._next, self._session = chunk.end, chunk.session
        self.peak = float(np.abs(chunk.samples).max(initial=0.0))
        self.playout = Playout(chunk.session, chunk.end)

    def expect(self, more: bool) -> None:
        """A file waits for whatever comes."""

    def _write(self, samples: F32) -> None:
        av = _av()
        values = np.clip(np.round(samples * 32_768), -32_768, 32_767).astype(np.int16)
        layout = "stereo" if self.audio.channels == 2 else "mono"
        frame = av.AudioFrame.from_ndarray(values.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate, frame.pts = self.audio.sample_rate, self.samples
        self._file.mux(self._stream.encode(frame))
        self.samples += len(samples)


def check_place(path: Path) -> None:
    """Raises ClientError for other endings, and where there is no folder for it."""
    if path.suffix.lower() not in CODECS:
        raise ClientError(f"{path}: the ending says what is written, one of {', '.join(CODECS)}")
    if not path.parent.is_dir():
        raise ClientError(f"{path} cannot be written: there is no folder {path.parent}")


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtra("to write music PyAV is needed", "video") from error
    return av
