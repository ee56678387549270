"""A video file as the engine sees it: what it is, and its frames with the time each is shown.

Times are seconds from the first frame that is shown, whatever the file's own clock says, and come from the
file's presentation times, so that a variable frame rate needs no special case. Frames are decoded one by one;
only those that the caller wants are converted. A damaged file gives its frames up to the damage.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from engine.errors import MediaError
from engine.media.pixels import Scaler, is_sideways, orientation
from engine.media.source import audio_stream, open_input, video_stream
from engine.media.timeline import Extent, declared_s, frame_rate, packets, scan, video_end_s

Wanted = Callable[[int, float], bool]
"""Whether the frame with this index and time in seconds is to be converted."""

VIDEO_ENDINGS = (
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".ts",
    ".mts",
    ".m2ts",
    ".3gp",
    ".vob",
    ".flv",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".ogv",
)
LIVE_FRAMES_PER_S = 10
"""Frames of a file that are shown to a live stream: about what a camera client sends."""

# A file whose frames stop this much before the end that it declares has been cut off.
_MISSING_S = 0.5

# Of a tick: a time in floats, 0.58 s, is seldom the whole number of ticks that it stands for: times 50 it is 28.999999999999996.
_ROUNDING = 1e-6

# FFmpeg's names for what reads one picture of a file: image2, png_pipe, webp_pipe.
_PICTURES = ("image2", "_pipe")


def ticks(time_s: float, rate: float) -> int:
    """Whole parts of 1/rate s that have passed by then."""
    return floor(time_s * rate + _ROUNDING)


def ticks_until(end_s: float, rate: float) -> int:
    """Parts of 1/rate s that it takes to get there."""
    return ceil(end_s * rate - _ROUNDING)


@dataclass(slots=True)
class EveryNth:
    """Wants the first frame of each 1/rate seconds."""

    rate: int
    due: int = 0

    def __call__(self, _index: int, time_s: float) -> bool:
        passed = ticks(time_s, self.rate)
        if wanted := passed >= self.due:
            self.due = passed + 1
        return wanted


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video file is."""

    path: Path
    width: int  # as displayed, after rotation
    height: int
    start_s: float  # the first frame's time on the file's own clock
    duration_s: float
    declared_s: float  # what the file says that it lasts, 0 where it does not; one that was cut off has less
    file_s: float  # the same of the whole file, its sound included
    frame_rate: float  # frames per second, on average
    frame_count: int
    has_audio: bool
    codec: str
    pixel_format: str


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One frame, scaled for the model."""

    index: int  # counts every decoded frame, wanted or not
    time_s: float  # from the first frame, rising
    pixels: npt.NDArray[np.uint8]  # [size, size, 3] RGB


def probe(path: Path) -> VideoInfo:
    """Look at a video: decodes its first frame, counts packets only where the container states no count.

    What the container states is taken as it is: a file that was cut off may have less.

    MediaError if the file cannot be read, is a picture, has no video track, or not one frame of it can be decoded.
    """
    with open_input(path) as container:
        stream = video_stream(container, path)
        if _is_picture(container, stream):
            raise MediaError(f"{path}: is a picture, not a video")
        first = _first_frame(container, stream, path)
        start_s, stated_s = first.time or 0.0, declared_s(container, stream)
        stated = Extent(start_s, start_s + stated_s, stream.frames)
        extent = stated if stated_s and stream.frames else scan(path)
        sideways = is_sideways(orientation(first))
        return VideoInfo(
            path=path,
            width=first.height if sideways else first.width,
            height=first.width if sideways else first.height,
            start_s=start_s,
            duration_s=extent.end_s - start_s,
            declared_s=stated_s,
            file_s=(container.duration or 0) / av.time_base,
            frame_rate=float(frame_rate(stream)),
            frame_count=extent.packets,
            has_audio=audio_stream(container) is not None,
            codec=stream.codec_context.codec.canonical_name,
            pixel_format=first.format.name,
        )


def _is_picture(container: InputContainer, stream: VideoStream) -> bool:
    """A file that is read as one, or holds one frame of no length, as AVIF and HEIC hold a picture."""
    one = stream.frames == 1 and container.duration is None
    return one or container.format.name.endswith(_PICTURES)


class VideoReader:
    """Reads the frames of one video file, and remembers how far it got and whether the file was damaged."""

    def __init__(self, path: Path, size: int, wanted: Wanted | None = None) -> None:
        """size: pixels along each side of the square. wanted: asked before the conversion; None wants all."""
        self._path = path
        self._scaler = Scaler(size)
        self._wanted = wanted
        self.damaged = False
        """True once a packet or frame was unreadable, or the file ended before the time it declares."""
        self.decoded = 0
        """Frames decoded so far, wanted or not."""
        self.end_s = 0.0
        """When the last decoded frame stops being shown, in seconds from the first."""

    def __iter__(self) -> Iterator[VideoFrame]:
        """MediaError if the file cannot be opened, has no video, or not a single frame can be decoded."""
        self.damaged, self.decoded, self.end_s = False, 0, 0.0
        with open_input(self._path) as container:
            stream = video_stream(container, self._path)
            stream.thread_type = "AUTO"
            clock = _Clock(frame_rate(stream))
            for frame in self._decode(container, stream):
                index, time_s = self.decoded, clock.time_s(frame)
                self.decoded, self.end_s = index + 1, clock.end_s(frame)
                if self._wanted is None or self._wanted(index, time_s):
                    yield VideoFrame(index, time_s, self._scaler.square(frame))
            self._check_end(video_end_s(container, stream))

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
        """Frames as they come. A bad packet is skipped: what it broke is up to the next key frame."""
        for packet in packets(container, stream):
            self.damaged |= packet.is_corrupt
            try:
                frames = [] if packet.is_corrupt else packet.decode()
            except FFmpegError:
                self.damaged = True
                continue
            for frame in frames:
                self.damaged |= frame.is_corrupt
                yield frame

    def _check_end(self, declared_s: float) -> None:
        if not self.decoded:
            raise MediaError(f"{self._path}: expected a video, found none of its frames readable")
        self.damaged |= self.end_s + _MISSING_S < declared_s


class _Clock:
    """Presentation times in seconds from the first frame; mends those that are missing or run backwards. Counted in fractions, so
    that the same frames have the same times wherever the file's own clock begins."""

    def __init__(self, rate: Fraction) -> None:
        self._frame_s = 1 / rate
        self._first_s: Fraction | None = None
        self._last_s = Fraction(0)

    def time_s(self, frame: av.VideoFrame) -> float:
        stated = _seconds(frame.pts, frame)
        if self._first_s is None:
            self._first_s = stated or Fraction(0)
            return 0.0
        after = self._last_s + self._frame_s
        shown_s = after if stated is None else stated - self._first_s
        self._last_s = shown_s if shown_s > self._last_s else after
        return float(self._last_s)

    def end_s(self, frame: av.VideoFrame) -> float:
        return float(self._last_s + (_seconds(frame.duration, frame) or self._frame_s))


def _seconds(time: int | None, frame: av.VideoFrame) -> Fraction | None:
    """None where the frame does not say."""
    return None if time is None or not frame.time_base else time * frame.time_base


def _first_frame(container: InputContainer, stream: VideoStream, path: Path) -> av.VideoFrame:
    for packet in packets(container, stream):
        try:
            frames = packet.decode()
        except FFmpegError:
            continue
        if frames:
            return frames[0]
    raise MediaError(f"{path}: expected a video, found none of its frames readable")
