"""From frames of a program to pictures on the wire: not more often than the server asks for, not larger, as JPEG.

A frame that comes too early is dropped before anything is computed; the newest wins.
"""

from __future__ import annotations

import threading
from fractions import Fraction
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from cuestream_client.errors import MissingExtra
from cuestream_client.media import Kind, Size
from cuestream_client.messages import VideoFormat
from cuestream_client.session import Picture

Pixels: TypeAlias = npt.NDArray[Any]
"""uint8 [H, W, 3], red first. Looked at when it is encoded: what makes frames seldom has a type that says so much."""
Frame: TypeAlias = Pixels | bytes
"""Pixels; or a file's content: JPEG, WebP or PNG."""

Form: TypeAlias = Literal["jpeg", "rgb24", "i420"]
FORMATS = {"rgb24": "rgb24", "i420": "yuv420p"}
"""PyAV's names."""

MAX_EDGE = 448
"""Pixels of the longer edge, whatever more the server takes: the model sees 224."""
QUANTIZER = 3
"""Of 2 to 31, the best to the worst: 448 pixels are 13 to 40 KB."""
MAGIC = {b"\xff\xd8\xff": Kind.JPEG, b"RIFF": Kind.WEBP, b"\x89PNG": Kind.PNG}
BEFORE_SESSION = VideoFormat(("jpeg",), 4.0, MAX_EDGE)


class Gate:
    """Lets through at most so many pictures a second, by absolute deadlines, so that the average is exact."""

    def __init__(self) -> None:
        self._next_us = 0.0
        self.dropped = 0

    def passes(self, at_us: int, fps: float) -> bool:
        interval = 1e6 / fps
        if at_us < self._next_us:
            self.dropped += 1
            return False
        self._next_us = max(self._next_us + interval, at_us + interval / 2)
        return True


class Pictures:
    """The gate and the encoder of one client; threads may share it. form: how frames travel; bytes stay what they are.
    Raises ValueError for a form that there is not."""

    def __init__(self, form: Form = "jpeg") -> None:
        if form not in get_args(Form):
            raise ValueError(f"pictures is one of {', '.join(get_args(Form))}; this one is {form!r}")
        self.gate, self._form = Gate(), form
        self._lock = threading.Lock()

    def passes(self, at_us: int, video: VideoFormat | None) -> bool:
        """Whether a frame of this moment is wanted."""
        with self._lock:
            return self.gate.passes(at_us, (video or BEFORE_SESSION).fps)

    def prepare(self, frame: Frame, at_us: int, video: VideoFormat | None) -> Picture:
        """Takes milliseconds. Raises ValueError for what is not a frame or not wanted, MissingExtra without PyAV."""
        wanted = video or BEFORE_SESSION
        if isinstance(frame, bytes):
            return Picture(_kind_of(frame, wanted), frame, at_us)
        if self._form not in wanted.codecs:
            hint = "" if self._form == "jpeg" else "; raw pictures it takes with --raw-video"
            raise ValueError(f"the server takes {', '.join(wanted.codecs)}, not {self._form}{hint}")
        edge = edge_of(wanted)
        if self._form == "jpeg":
            return Picture(Kind.JPEG, encode_jpeg(frame, edge), at_us)
        data, size = encode_raw(frame, self._form, edge)
        return Picture(Kind[self._form.upper()], data, at_us, size)


def edge_of(video: VideoFormat | None) -> int:
    """The longest that is sent to a server that wants pictures so."""
    return min(MAX_EDGE, (video or BEFORE_SESSION).max_edge)


def encode_raw(frame: Pixels, form: Form, max_edge: int = MAX_EDGE) -> tuple[bytes, Size]:
    """The same as planes or pixels, and their size. RGB24 that is small enough is sent as it is, without PyAV."""
    _check(frame)
    width, height = fitted(frame.shape[1], frame.shape[0], max_edge)
    if form == "rgb24" and (height, width) == frame.shape[:2]:
        return frame.tobytes(), Size(width, height)
    if form == "i420":
        width, height = max(2, width & ~1), max(2, height & ~1)
    picture = _av().VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    made = picture.reformat(width, height, FORMATS[form], interpolation="AREA").to_ndarray()
    return made.tobytes(), Size(width, height)


def encode_jpeg(frame: Pixels, max_edge: int = MAX_EDGE) -> bytes:
    """frame: uint8 [H, W, 3], red first. The longer edge becomes at most max_edge pixels, and the shape stays."""
    _check(frame)
    av = _av()
    width, height = fitted(frame.shape[1], frame.shape[0], max_edge)
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    picture = picture.reformat(width, height, "yuvj420p", dst_color_range=2, interpolation="AREA")
    picture.pts = 0
    codec: Any = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt, codec.color_range = width, height, "yuvj420p", 2
    codec.time_base, codec.qmin, codec.qmax = Fraction(1, 1000), QUANTIZER, QUANTIZER
    return b"".join(bytes(packet) for packet in [*codec.encode(picture), *codec.encode(None)])


def _check(frame: Pixels) -> None:
    if not isinstance(frame, np.ndarray):
        what = type(frame).__name__
        raise ValueError(
            f"a frame is uint8 [H, W, 3], or the bytes of a JPEG, WebP or PNG; this one is a {what}"
        )
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
        raise ValueError(f"a frame is uint8 [H, W, 3]; this one is {frame.dtype} {list(frame.shape)}")


def fitted(width: int, height: int, max_edge: int) -> tuple[int, int]:
    scale = min(1.0, max_edge / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _kind_of(data: bytes, wanted: VideoFormat) -> Kind:
    kind = next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), None)
    if kind is None or kind.name.lower() not in wanted.codecs:
        found = "unknown" if kind is None else kind.name.lower()
        raise ValueError(f"a picture as bytes is one of {', '.join(wanted.codecs)}; this one is {found}")
    return kind


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtra("to encode frames PyAV is needed", "video") from error
    return av
