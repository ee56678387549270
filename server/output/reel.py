"""Music and pictures as packets of one container, the pictures a constant delay behind the music that sounded when they came.

    picture came at sample s ─► held back ─► shown with sample s + delay, whose music knows it
    original sound of sample s ────────────► mixed with sample s + delay

H.264 is copied from its first keyframe on. Everything else is encoded at a constant rate, the newest picture again where none
came, so that a stream never dries up. With pictures the result begins where the first one is shown. Original sound may come
`late`; where that is more than the delay, everything waits for the difference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np

from engine.frames import F32
from server.audio.original_sound import Sound, Source
from server.audio.resampling import WIRE_RATE
from server.output.original import Original, limited
from server.output.wire import Job
from server.pictures.imaging import CHAINED, Eyes
from server.protocol.limits import Limits
from server.protocol.media import Flag, Kind, Media
from server.recording.film import APART, BROKEN, KEYFRAME_S, PRESET, Canvas, Copied, placed
from server.recording.film import Track as FilmTrack
from server.recording.sound import block
from server.system.written_file import Written


class Reel:
    """open: gives the container, when everything is known that its header says, and the file that it writes to, if it is one.

    Raises what FFmpeg and the disk do.
    """

    def __init__(self, job: Job, open: Callable[[], tuple[Any, Written | None]]) -> None:
        self._job, self._open = job, open
        self._limits = Limits(image_pixels=job.image_pixels)
        self.left_out = 0
        """Pictures that are broken, before a keyframe, of another kind than copied video, or too many to be held back."""
        self._held: deque[tuple[int, Media]] = deque()
        """Bound: held_pictures, held_bytes; then the oldest goes."""
        self._held_bytes = 0
        self._wait = max(0, job.late - (job.delay or 0)) if job.original is not None else 0
        self._music: deque[tuple[int, F32]] = deque()  # bound: what `_wait` says, and one block
        self._originals: dict[Source, Original] = {}  # bound: one of each kind
        self._sounded = 0  # what is mixed next
        self._began = -1  # the output's sample that is time 0; -1 before it is open
        self._container: Any = None
        self._file: Written | None = None
        self._sound: Any = None
        self._track: Track | None = None

    @property
    def original_samples(self) -> int:
        """Of the original sound, that are in the result."""
        return sum(each.samples for each in self._originals.values())

    @property
    def lost_original(self) -> int:
        """And those that came too late, too early or twice."""
        return sum(each.lost for each in self._originals.values())

    def heard(self, first: int, samples: F32) -> None:
        """samples: [n], from `first` on. Pictures that are due by their end are shown."""
        if self._container is None and self._job.delay is None:
            self._begin(first, None)
        if self._container is None:
            return
        self._music.append((first, samples))
        self._play(first + len(samples) - self._wait)

    def sounded(self, sample: int, sound: Sound) -> None:
        """sample: of the output, that sounded when the first one of the original sound was captured."""
        if self._track is None or self._job.delay is None or self._job.original is None:
            return
        if sound.source not in self._originals:
            line = Original(self._job.original, self._sounded, self._job.held_sound)
            self._originals[sound.source] = line
        self._originals[sound.source].put(sample + self._job.delay, sound)

    def pictured(self, sample: int, media: Media) -> None:
        """sample: of the output, that sounded when the picture came."""
        if self._job.delay is None:
            return
        due = sample + self._job.delay
        if self._track is None:
            try:
                track: Track = (CopiedTrack if media.kind is Kind.H264 else Painted)(
                    media, self._limits, self._job
                )
            except BROKEN:
                self.left_out += 1
                return
            self._begin(due, track)
        self._held.append((due, media))
        self._held_bytes += len(media.payload)
        while len(self._held) > self._job.held_pictures or self._held_bytes > self._job.held_bytes:
            self._drop()

    def close(self) -> None:
        """What is due after the last music is shown no more."""
        if self._container is None:
            return
        self._play(None)
        self._mux(self._sound.encode(None))
        if self._track:
            self._mux(self._track.finish())
        with self._part():
            self._container.close()
        if self._file:
            self._file.close()

    def _begin(self, began: int, track: Track | None) -> None:
        target = self._job.target
        container, self._file = self._open()
        if track:
            track.join(container)
        self._sound = container.add_stream(target.codec, rate=WIRE_RATE, layout="stereo")
        if target.bit_rate:
            self._sound.bit_rate = target.bit_rate
        container.start_encoding()
        self._container, self._track, self._began = container, track, began
        self._sounded = began

    def _play(self, until: int | None) -> None:
        """The music that ends by then; None: all of it."""
        while self._music:
            first, samples = self._music[0]
            end = first + len(samples)
            if until is not None and end > until:
                return
            self._music.popleft()
            skipped = max(0, self._began - first)
            if len(samples) > skipped:
                mixed = self._mixed(first + skipped, samples[skipped:])
                self._sounded = end
                self._mux(self._sound.encode(block(mixed, first + skipped - self._began)))
            self._show(end)

    def _mixed(self, first: int, samples: F32) -> F32:
        """[n], or [n, 2] where the original sound is heard."""
        taken = [each.take(first, len(samples)) for each in self._originals.values()]
        heard = [original for original in taken if original is not None]
        return limited(sum(heard, samples[:, None])) if heard else samples

    def _show(self, until: int) -> None:
        while self._track and self._held and self._held[0][0] < until:
            due, media = self._held.popleft()
            self._held_bytes -= len(media.payload)
            at = max(0, due - self._began)
            self._mux(self._track.until(at))
            self._mux(self._packets(self._track, media, at))
        if self._track:
            self._mux(self._track.until(until - self._began))

    def _packets(self, track: Track, media: Media, at: int) -> list[Any]:
        try:
            if track.takes(media):
                return track.packets(media, at)
        except BROKEN:
            pass
        self.left_out += 1
        return []

    def _drop(self) -> None:
        self._held_bytes -= len(self._held.popleft()[1].payload)
        self.left_out += 1

    def _mux(self, packets: list[Any]) -> None:
        with self._part():
            for packet in packets:
                self._container.mux(packet)

    def _part(self) -> AbstractContextManager[None]:
        return self._file.part() if self._file else nullcontext()


class Track(FilmTrack, Protocol):
    """Times are samples of the result. `packets` shows a picture from `at` on, `until` goes on with what was shown last."""

    def until(self, at: int) -> list[Any]: ...


class CopiedTrack(Copied):
    """H.264 as it came, each picture later than the one before. Raises ValueError for what does not begin with a keyframe."""

    def __init__(self, first: Media, limits: Limits, job: Job) -> None:
        if Flag.KEYFRAME not in first.flags:
            raise ValueError("video begins with a keyframe")
        super().__init__(first, limits)
        self._last = -APART

    def packets(self, media: Media, at: int) -> list[Any]:
        self._last = placed(at, self._last)
        return super().packets(media, self._last)

    def until(self, at: int) -> list[Any]:
        return []


class Painted:
    """Pictures of any kind as H.264 at a constant rate, as large as the first one."""

    def __init__(self, first: Media, limits: Limits, job: Job) -> None:
        frame = Eyes(1, limits).frame(first)
        if frame is None:
            raise ValueError("no picture in it")
        self._eyes, self._canvas = Eyes(1, limits), Canvas(frame)
        self._fps, self._kbps = job.fps, job.video_kbps
        self._next_seq: int | None = None  # of video; None until a keyframe
        self._shown: av.VideoFrame | None = None
        self._count = 0
        self._stream: Any = None

    def join(self, container: Any) -> None:
        cap = {"maxrate": f"{self._kbps}k", "bufsize": f"{2 * self._kbps}k", "g": str(KEYFRAME_S * self._fps)}
        stream = container.add_stream("libx264", rate=self._fps, options=PRESET | cap)
        stream.width, stream.height = self._canvas.width, self._canvas.height
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, self._fps)
        stream.codec_context.thread_count = 1  # the other cores are the engine's
        self._stream = stream

    def takes(self, media: Media) -> bool:
        """Of video that lost something nothing, until a keyframe."""
        if media.kind not in CHAINED:
            return True
        if media.seq != self._next_seq and Flag.KEYFRAME not in media.flags:
            self._next_seq = None
            return False
        self._next_seq = (media.seq + 1) % 2**32
        return True

    def packets(self, media: Media, at: int) -> list[Any]:
        frame = self._eyes.frame(media)
        if frame is not None:
            self._shown = self._canvas.painted(frame)
        return []

    def until(self, at: int) -> list[Any]:
        packets: list[Any] = []
        while self._shown is not None and self._count * WIRE_RATE < at * self._fps:
            self._shown.pts, self._shown.time_base = self._count, Fraction(1, self._fps)
            packets += self._stream.encode(self._shown)
            self._count += 1
        return packets

    def finish(self) -> list[Any]:
        return list(self._stream.encode(None))


def samples_of(data: bytes) -> F32:
    return np.frombuffer(data, np.float32)
