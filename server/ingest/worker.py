"""`python -m server.ingest.worker`: reads one video for the server, which started it, and gives it small pictures.

It has a process of its own because demuxers and decoders read what strangers wrote. It reads a Job from its input, writes records
to its output (pipe.py), and is gone when its input ends. The operating system bounds its memory and its time; it writes no file.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import time
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, NoReturn

import av
import msgspec
import numpy as np
from av.error import FFmpegError
from av.stream import Stream
from av.video.reformatter import Interpolation, VideoReformatter

from engine.errors import MediaError
from engine.media.pixels import orientation, upright
from engine.media.source import audio_stream, reason, video_stream
from server.ingest.address import Forbidden
from server.ingest.checking import FILE
from server.ingest.outlet import Outlet
from server.ingest.pacing import Pace, Thin
from server.ingest.pipe import Job, Kind, Note, Record, note
from server.ingest.sounding import Sounding
from server.ingest.sources import Source, open_source
from server.ingest.words import PUBLISHER_LEFT, words
from server.system.confinement import confine
from server.system.environment import end_after, end_all_of, step_back

OUT = 1
NICE = 5
"""The music goes first."""
MOST_BROKEN = 256
"""Packets in a row that cannot be decoded; then it is given up."""
SLICE_S = 1.0
"""How often the server hears that a picture stands on purpose."""
BEHIND_S, CAUGHT_UP_S = 1.0, 0.3
"""A decoder that is so late decodes keyframes alone, until it is only so late."""


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    step_back(NICE)
    confine(job.memory_bytes)
    end_after(job.cpu_s)
    load_all_of_pyav()
    outlet = Outlet(OUT, leave)
    Thread(target=_leave_with_the_server, daemon=True).start()

    def refuse(error: Forbidden) -> NoReturn:
        outlet.tell(note(Note("forbidden", str(error))))
        os._exit(0)

    final = job.url.startswith(FILE)  # a file is the same the next time
    try:
        source = open_source(job, refuse, partial(outlet.tell, note(Note("listening"))))
        Showing(source, job, outlet).run()
        end = Note("ended", PUBLISHER_LEFT if job.listen else "", source.ends)
    except Forbidden as error:
        refuse(error)
    except MemoryError:
        end = Note("failed", f"it needs more than {job.memory_bytes >> 20} MiB", final)
    except (FFmpegError, MediaError, OSError, ValueError) as error:
        end = Note("failed", words(error, job), final)
    outlet.tell(note(end))
    os._exit(0)  # whatever FFmpeg still does


def load_all_of_pyav() -> None:
    """It imports some of itself when it first meets a stream of a kind; nothing can be opened any more then (see Relay)."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _leave_with_the_server() -> None:
    sys.stdin.buffer.read()
    leave()


def leave() -> None:
    """Now, with every process that was started here."""
    if sys.platform == "win32" or os.getpgrp() == os.getpid():
        end_all_of(os.getpid())
    os._exit(1)


class Showing:
    """Packets of a source in, pictures and sound out."""

    def __init__(self, source: Source, job: Job, outlet: Outlet) -> None:
        self._source, self._job, self._outlet = source, job, outlet
        self._video = video_stream(source.container, Path("the video"))
        self._sound = audio_stream(source.container)
        self._check(self._video.width, self._video.height)
        self._video.codec_context.thread_count = 1
        self._video.codec_context.options = {"max_pixels": str(job.image_pixels), "flags": "low_delay"}
        self._pace, self._pictures = Pace(source.lives), Thin(job.fps)
        self._sounding, self._scaler = Sounding(), VideoReformatter()
        self._broken = self._shown = 0
        self._frame_s = float(1 / (self._video.average_rate or 25))
        self._time_s = 0.0

    def run(self) -> None:
        """To the end of the video. Raises FFmpegError, OSError, ValueError."""
        size = f"{self._video.width} x {self._video.height}"
        self._outlet.tell(note(Note("opened", f"{self._video.codec_context.name}, {size}")))
        streams: list[Stream] = [self._video, *([self._sound] if self._sound else [])]
        for packet in self._source.container.demux(streams):
            if packet.size > self._job.packet_bytes:
                raise ValueError(f"a packet has at most {self._job.packet_bytes} bytes, not {packet.size}")
            self._decode(packet)
        if not self._shown:
            raise ValueError("none of its pictures could be read")

    def _decode(self, packet: av.Packet[Any]) -> None:
        try:
            frames = packet.decode()
        except FFmpegError as error:
            self._broken += 1
            if self._broken >= MOST_BROKEN:
                raise ValueError(
                    f"{MOST_BROKEN} packets in a row cannot be decoded: {reason(error)}"
                ) from None
            return
        self._broken = 0 if frames else self._broken
        for frame in frames:
            if isinstance(frame, av.VideoFrame):
                self._see(frame)
            elif isinstance(frame, av.AudioFrame):
                self._hear(frame)

    def _see(self, frame: av.VideoFrame) -> None:
        self._check(frame.width, frame.height)
        self._time_s = self._time_s + self._frame_s if frame.time is None else frame.time
        wait_s = self._pace.wait_s(self._time_s, time.perf_counter())
        while wait_s > 0:
            time.sleep(min(wait_s, SLICE_S))
            wait_s -= SLICE_S
            if wait_s > 0:
                self._outlet.put(Record(Kind.ALIVE, 0, 0, 0, b""))
        self._hurry()
        if self._pictures.wants(now_s := time.perf_counter()):
            self._shown += 1
            end_after(self._job.cpu_s)
            self._outlet.put(self._picture(frame, int(1e6 * now_s)))

    def _hurry(self) -> None:
        context, behind_s = self._video.codec_context, self._pace.behind_s
        if behind_s > BEHIND_S:
            context.skip_frame = "NONKEY"
        elif behind_s < CAUGHT_UP_S:
            context.skip_frame = "DEFAULT"

    def _picture(self, frame: av.VideoFrame, time_us: int) -> Record:
        """As it is displayed, with even sides of `edge` at most."""
        sides = (frame.width * float(self._video.sample_aspect_ratio or 1), frame.height)
        share = min(1.0, self._job.edge / max(sides))
        width, height = (max(2, int(side * share) // 2 * 2) for side in sides)
        small = self._scaler.reformat(
            frame, width, height, "rgb24", interpolation=Interpolation.BILINEAR, threads=1
        )
        pixels = np.ascontiguousarray(upright(small.to_ndarray().view(np.uint8), orientation(frame)))
        return Record(Kind.PICTURE, pixels.shape[1], pixels.shape[0], time_us, pixels.tobytes())

    def _hear(self, frame: av.AudioFrame) -> None:
        """From the first picture on: before it nobody knows when the sound belongs."""
        if (zero_s := self._pace.zero_s) is not None:
            for record in self._sounding.records(frame, zero_s):
                self._outlet.put(record)

    def _check(self, width: int, height: int) -> None:
        if width * height > self._job.image_pixels:
            raise ValueError(
                f"its pictures, {width} x {height}, are larger than {self._job.image_pixels} pixels"
            )


if __name__ == "__main__":
    main()
