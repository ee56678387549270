"""Where frames come from: a camera, the screen, a file, an address. Through PyAV, as fast as they are meant to be seen."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from cuestream_client.errors import ClientError, MissingExtra

Place: TypeAlias = Literal["camera", "screen", "file", "url"]

DEVICES: dict[str, dict[str, tuple[str, str]]] = {
    "linux": {"camera": ("v4l2", "/dev/video{name}"), "screen": ("x11grab", "{name}")},
    "darwin": {
        "camera": ("avfoundation", "{name}:none"),
        "screen": ("avfoundation", "Capture screen {name}:none"),
    },
    "win32": {"camera": ("dshow", "video={name}"), "screen": ("gdigrab", "desktop")},
}
"""Format of FFmpeg and its name of the device, by system."""
FIRST = {"linux": ":0.0"}
"""The screen when none is named; elsewhere 0."""
JUMP_S = 5.0
"""Times further ahead are another clock, and not a reason to wait."""
PICTURES = ("image2", "_pipe")
"""How FFmpeg's names of what reads one picture of a file end."""
HELD_S = 0.1
"""So often a picture is shown that lasts."""


@dataclass(frozen=True, slots=True)
class Source:
    """What to look at. name: a camera's number or name, a display, a path, an address."""

    place: Place
    name: str = ""

    @property
    def opens_with(self) -> tuple[str, str | None]:
        """A name for FFmpeg and a format, None where it finds the format itself. Raises ClientError."""
        if self.place in ("file", "url"):
            return self.name, None
        devices = DEVICES.get(sys.platform, DEVICES["linux"])
        form, pattern = devices[self.place]
        name = self.name or (FIRST.get(sys.platform, "0") if self.place == "screen" else "0")
        if form == "dshow" and name.isdecimal():
            name = _camera(int(name))
        return name if name.startswith("/") else pattern.format(name=name), form


@dataclass(slots=True)
class Pace:
    """Waits until a frame is due, by its distance from the first one; late frames are not waited for."""

    wait: Callable[[float], object]
    clock: Callable[[], float] = time.perf_counter
    _start: tuple[float, float] | None = field(default=None, init=False)

    def until(self, at_s: float) -> None:
        now = self.clock()
        start_s, first_s = self._start or (now, at_s)
        ahead = start_s + at_s - first_s - now
        if self._start is None or abs(ahead) > JUMP_S:
            self._start, ahead = (now, at_s), 0.0
        if ahead > 0:
            self.wait(ahead)


def frames(
    source: Source, stop: threading.Event, pace: Pace | None = None, held: bool = False
) -> Generator[Any, None, None]:
    """Decoded frames (`av.VideoFrame`) when they are to be seen, until the source ends or `stop` is set. Raises ClientError.

    held: a source that is a picture lasts until `stop`; otherwise it is refused, for it has no end.
    """
    av = _av()
    name, form = source.opens_with
    pace = pace or Pace(stop.wait)
    try:
        with av.open(name, format=form) as container:
            if not container.streams.video:
                raise ClientError(f"{name}: there is no video in it")
            picture = container.format.name.endswith(PICTURES)
            if picture and not held:
                raise ClientError(
                    f"{name} is a picture, not a video: say with --seconds how long it is shown"
                )
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                if frame.time is not None:
                    pace.until(frame.time)
                if stop.is_set():
                    return
                yield frame
            while picture and not stop.is_set():
                pace.wait(HELD_S)
                yield frame
    except (av.FFmpegError, OSError, ValueError) as error:
        raise ClientError(f"{source.place} {name}: {error}") from error


def check(source: Source, held: bool = False) -> None:
    """Read a file's first frame. Raises ClientError; cameras, screens and addresses are not opened twice."""
    if source.place != "file":
        return
    with closing(frames(source, threading.Event(), held=held)) as some:
        next(some, None)


def _camera(number: int) -> str:
    """DirectShow, of Windows, knows cameras by their names alone."""
    av = _av()
    if not hasattr(av, "enumerate_input_devices"):
        raise ClientError("this PyAV does not number cameras; say the camera's name, as Windows shows it")
    try:
        cameras = [each for each in av.enumerate_input_devices("dshow") if "video" in each.media_types]
    except OSError:
        cameras = []
    if number >= len(cameras):
        there = ", ".join(each.description for each in cameras) or "none"
        raise ClientError(f"there is no camera {number}; cameras here: {there}")
    return str(cameras[number].name)


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtra("to read video PyAV is needed", "video") from error
    return av
