"""The pictures that came in, with the music: video is copied, pictures are encoded. Its first picture is its beginning.

H.264 is copied into mp4 and VP8 into WebM, from the first keyframe on; stills and raw pictures become H.264 at the fastest
preset, as large as the first one. A picture lies where the music stood when it came, and those that came at once follow each
other quickly; so video with pictures out of order is not for it.
The files are fragmented: what is on the disk can be played, also when nobody finished it or the disk is full.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.error import InvalidDataError
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, VideoReformatter

from engine.frames import F32
from engine.media.mux import add_sound
from engine.media.output import TARGETS
from server.audio.resampling import WIRE_RATE
from server.pictures.headers import is_keyframe
from server.pictures.imaging import Eyes
from server.protocol.errors import ProtocolError
from server.protocol.limits import Limits
from server.protocol.media import Flag, Kind, Media
from server.recording.sound import block
from server.system.written_file import Written

TIME_BASE = Fraction(1, WIRE_RATE)
KEYFRAME_S = 2
UNIT = re.compile(rb"\x00\x00\x01[^\x00]")
"""What every unit of H.264 begins with, as it is sent."""
BROKEN = (ProtocolError, InvalidDataError, ValueError, struct.error)
"""What a picture raises that is none. The session tells its client."""
FRAGMENTS = {"movflags": "frag_keyframe+delay_moov+default_base_moof", "frag_duration": "1000000"}
"""A header that is written with the first second says that AAC's samples before the first one are not heard. One that came
before could not: all but the first picture lay 21 ms late."""
APART = WIRE_RATE // 120
"""Samples between pictures that came at once, as after a stall: less than between those of any video, so that they catch up."""
MOST_LATE = WIRE_RATE
"""Samples that a picture lies behind where it came, at most."""
MOST_KEPT = 60 * WIRE_RATE
"""Samples of sound behind the newest picture of VP8: FFmpeg keeps them until another comes, elsewhere for 10 s at most."""
MOST_SIDE = 16_384
"""Of x264."""
BLACK = (16, 128, 128)
"""The planes of 4:2:0."""
PRESET = {"preset": "ultrafast", "tune": "zerolatency", "crf": "27"}
"""Of x264: about a millisecond for a picture of 320 x 180."""
IVF = struct.Struct("<4sHH4sHHIIII")


class Film:
    """`name`: of the file, None before the first picture. Raises FFmpegError and OSError when the disk does."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self.name: str | None = None
        self.left_out = 0
        """Pictures that are broken, of another kind than the first one, or before a keyframe."""
        self._began = 0  # the recording's sample that is the film's first
        self._last = -APART  # time of the newest picture
        self._kept = False  # sound is kept in memory until the next picture
        self._container: Any = None
        self._sound: Any = None
        self._track: Track | None = None

    def picture(self, sample: int, media: Media) -> None:
        """sample: of the recording, that sounded when the picture came."""
        try:
            taken = self._take(sample, media)
        except (*BROKEN, MemoryError):
            taken = False
        self.left_out += not taken

    def _take(self, sample: int, media: Media) -> bool:
        if self._track is None and not self._begin(sample, media):
            return False
        assert self._track is not None
        if not self._track.takes(media):
            return False
        self._last = placed(sample - self._began, self._last)
        self._mux(self._track.packets(media, self._last))
        return True

    def sound(self, first: int, samples: F32) -> None:
        """samples: [n], of the recording from `first` on; those from before the first picture are left out, and of a film of VP8
        what is too far behind the newest one."""
        if self._kept and first - self._began - self._last > MOST_KEPT:
            return
        skipped = max(0, self._began - first)
        if self._track is not None and len(samples) > skipped:
            self._mux(self._sound.encode(block(samples[skipped:], first + skipped - self._began)))

    def close(self) -> None:
        if self._track is None:
            return
        with self._file:
            self._mux([*self._track.finish(), *self._sound.encode(None)])
            with self._file.part():
                self._container.close()

    def _mux(self, packets: list[Any]) -> None:
        with self._file.part():
            for packet in packets:
                self._container.mux(packet)

    def _begin(self, sample: int, media: Media) -> bool:
        if media.kind in COPIED and Flag.KEYFRAME not in media.flags:
            return False
        ending = ".webm" if media.kind is Kind.VP8 else ".mp4"
        target = TARGETS[ending]
        options = (FRAGMENTS if ending == ".mp4" else {"cluster_time_limit": "1000"}) | {"flush_packets": "1"}
        path = self._folder / f"film{ending}"
        make = Copied if media.kind in COPIED else Encoded
        track: Track = make(media, self._limits)
        self._file = Written(path, "w")
        self._container = av.open(self._file, "w", format=target.format, options=options)
        track.join(self._container)
        self._track = track
        self._sound = add_sound(self._container, target)
        self.name, self._began, self._kept = path.name, sample, media.kind is Kind.VP8
        return True


def placed(at: int, last: int) -> int:
    """Where a picture lies that came at a sample, behind one that lies at `last`."""
    return max(at, last + 1, min(last + APART, at + MOST_LATE))


class Track(Protocol):
    """The film's pictures as packets. Made from its first picture, which is given to `packets` as well."""

    def join(self, container: Any) -> None: ...

    def takes(self, media: Media) -> bool: ...

    def packets(self, media: Media, at: int) -> list[Any]: ...

    def finish(self) -> list[Any]: ...


class Copied:
    """Packets as they came. After one that was lost nothing is taken until a keyframe."""

    def __init__(self, first: Media, limits: Limits) -> None:
        form, wrap = COPIED[first.kind]
        most = {"max_pixels": str(limits.image_pixels)}  # it is for the decoder that looks at the keyframe
        self._like = av.open(io.BytesIO(wrap(first.payload)), format=form, options=most)
        like = self._like.streams.video[0]
        if not 0 < like.width * like.height <= limits.image_pixels:
            raise ValueError(f"a keyframe of {like.width} x {like.height} pixels")
        self._stream: Any = None
        self._kind, self._next = first.kind, first.seq

    def join(self, container: Any) -> None:
        with self._like:
            self._stream = container.add_stream_from_template(self._like.streams.video[0])
        self._stream.time_base = TIME_BASE

    def takes(self, media: Media) -> bool:
        if media.kind is not self._kind or (media.seq != self._next and Flag.KEYFRAME not in media.flags):
            return False
        self._next = (media.seq + 1) % 2**32
        return True

    def packets(self, media: Media, at: int) -> list[Any]:
        if self._kind is Kind.H264 and not UNIT.search(media.payload):
            raise ValueError("no unit of H.264")  # MP4 would hold an empty sample, which no reader takes
        packet: Any = av.Packet(media.payload)
        packet.pts = packet.dts = at
        packet.time_base, packet.stream = TIME_BASE, self._stream
        packet.is_keyframe = Flag.KEYFRAME in media.flags
        return [packet]

    def finish(self) -> list[Any]:
        return []


class Canvas:
    """Pictures of any shape and form as 4:2:0, as large as the first one; those of another shape stand between black bars."""

    def __init__(self, first: av.VideoFrame) -> None:
        """Raises ValueError for a picture that x264 does not take."""
        if max(first.width, first.height) > MOST_SIDE:
            raise ValueError(f"a film takes sides of {MOST_SIDE} at most, not {first.width} x {first.height}")
        self.width, self.height = _even(first.width), _even(first.height)
        self._reformatter = VideoReformatter()

    def painted(self, frame: av.VideoFrame) -> av.VideoFrame:
        share = min(self.width / frame.width, self.height / frame.height)
        width, height = (_even(round(side * share) + 1) for side in (frame.width, frame.height))
        width, height = min(width, self.width), min(height, self.height)
        fitted = self._reformatter.reformat(
            frame, width, height, "yuv420p", dst_color_range=ColorRange.MPEG, threads=1
        )
        return fitted if (width, height) == (self.width, self.height) else self._between_bars(fitted)

    def _between_bars(self, fitted: av.VideoFrame) -> av.VideoFrame:
        whole = av.VideoFrame(self.width, self.height, "yuv420p")
        whole.color_range = fitted.color_range
        left, top = (self.width - fitted.width) // 4 * 2, (self.height - fitted.height) // 4 * 2
        for plane, part, black in zip(whole.planes, fitted.planes, BLACK, strict=True):
            x, y = left * plane.width // self.width, top * plane.height // self.height
            pixels = np.full((plane.height, plane.line_size), black, np.uint8)
            shown = np.frombuffer(memoryview(part), np.uint8).reshape(part.height, part.line_size)[
                :, : part.width
            ]
            pixels[y : y + part.height, x : x + part.width] = shown
            plane.update(pixels.tobytes())
        return whole


def _even(side: int) -> int:
    """As 4:2:0 wants it."""
    return max(2, side & ~1)


class Encoded:
    """Stills and raw pictures as H.264."""

    def __init__(self, first: Media, limits: Limits) -> None:
        self._eyes = Eyes(1, limits)
        frame = self._eyes.frame(first)
        assert frame is not None
        self._canvas = Canvas(frame)
        self._stream: Any = None
        self._key = 0  # when the next keyframe is due

    def join(self, container: Any) -> None:
        stream = container.add_stream("libx264", options=PRESET)
        stream.width, stream.height = self._canvas.width, self._canvas.height
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = TIME_BASE
        stream.codec_context.thread_count = 1  # the other cores are the engine's
        self._stream = stream

    def takes(self, media: Media) -> bool:
        return media.kind not in COPIED

    def packets(self, media: Media, at: int) -> list[Any]:
        frame = self._eyes.frame(media)
        assert frame is not None
        frame = self._canvas.painted(frame)
        frame.pts, frame.time_base = at, TIME_BASE
        frame.pict_type = PictureType.I if at >= self._key else PictureType.NONE
        if at >= self._key:
            self._key = at + KEYFRAME_S * WIRE_RATE
        return list(self._stream.encode(frame))

    def finish(self) -> list[Any]:
        return list(self._stream.encode(None))


def _ivf(frame: bytes) -> bytes:
    """A VP8 keyframe as a file of its own. Raises ValueError for what is none."""
    if len(frame) < 10 or not is_keyframe(Kind.VP8, frame):
        raise ValueError("this does not begin as a keyframe of VP8 does")
    width, height = struct.unpack_from("<HH", frame, 6)
    head = IVF.pack(b"DKIF", 0, IVF.size, b"VP80", width & 0x3FFF, height & 0x3FFF, 1000, 1, 1, 0)
    return head + struct.pack("<IQ", len(frame), 0) + frame


COPIED: dict[Kind, tuple[str, Callable[[bytes], bytes]]] = {
    Kind.H264: ("h264", bytes),
    Kind.VP8: ("ivf", _ivf),
}
"""Codecs of video: a format of FFmpeg, and what makes a file of it from a keyframe."""
