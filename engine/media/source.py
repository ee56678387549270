"""Opening a media file, and saying in one line why it cannot be opened.

Every other module of this package comes through here, so that a missing file, a directory and a text file
named .mp4 read the same wherever they are met. It knows nothing of what is done with the streams.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from engine.errors import MediaError

# Missing presentation times are worked out from the decoding times (AVI, raw H.264).
# A file may name other files and hosts to read (playlists); only the file itself is read.
_OPTIONS = {"fflags": "+genpts", "protocol_whitelist": "file"}
_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails


@contextmanager
def open_input(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading. MediaError names the file and what was found in its place."""
    check_readable(path)
    try:
        container = av.open(absolute(path), "r", options=_OPTIONS, metadata_errors="replace")
    except (FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{path}: expected a video or audio file, found {_found(path, error)}") from error
    with container:
        yield container


def check_readable(path: Path) -> None:
    """MediaError unless path is a regular file with something in it that we may read."""
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise MediaError(f"{path}: expected a file, found a directory")
        if not stat.S_ISREG(found.st_mode):
            raise MediaError(f"{path}: expected a file, found a device or pipe")
        if found.st_size == 0:
            raise MediaError(f"{path}: expected a video or audio file, found an empty file")
        path.open("rb").close()
    except FileNotFoundError as error:
        made = (
            "; of numbered pictures make a video first: ffmpeg -i PATTERN clip.mp4"
            if "%" in path.name
            else ""
        )
        raise MediaError(f"{path}: no such file{made}") from error
    except (OSError, ValueError) as error:
        raise MediaError(f"{path}: cannot be read: {reason(error)}") from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The moving picture of a file; cover pictures do not count. MediaError if there is none."""
    moving = [stream for stream in container.streams.video if not stream.disposition & _PICTURES]
    if not moving:
        raise MediaError(f"{path}: expected a video track, found {_tracks(container)}")
    best = container.streams.best("video")
    stream = next((each for each in moving if each is best), moving[0])
    if not has_decoder(stream):
        raise MediaError(f"{path}: expected a video that can be decoded, found an unknown or damaged one")
    return stream


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The main sound of a file that can be decoded, or None."""
    sound = [stream for stream in container.streams.audio if has_decoder(stream)]
    best = container.streams.best("audio")
    return next((each for each in sound if each is best), sound[0] if sound else None)


def has_decoder(stream: VideoStream | AudioStream) -> bool:
    """PyAV gives a stream no codec context when FFmpeg has no decoder for it, whatever its type stubs say."""
    context: object = stream.codec_context
    return context is not None


def absolute(path: Path) -> str:
    """The name for FFmpeg, which takes what precedes a colon in a relative name for a protocol."""
    return os.path.abspath(path)


NUMBERED = "Error number "
IN_USE = "Address already in use"
WINDOWS = {
    100: IN_USE,
    107: "Connection refused",
    108: "Connection reset by peer",
    110: "No route to host",
    118: "Network is unreachable",
    138: "Connection timed out",
    10013: IN_USE,  # by a program that shares it with nobody
    10048: IN_USE,
    10051: "Network is unreachable",
    10054: "Connection reset by peer",
    10065: "No route to host",
}
"""What FFmpeg has numbers for alone there: those of C, and of its sockets. Source: Microsoft, "errno constants", "Windows Sockets
Error Codes"."""


def reason(error: BaseException) -> str:
    """What went wrong, on one line, without the error's number."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if str(text).startswith(NUMBERED):
        text = WINDOWS.get(getattr(error, "errno", 0), text)
    return " ".join(str(text).split())


def _found(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        head = file.read(512)
    if b"\0" not in head and head.isascii():
        return "text"
    return f"something else or a damaged file ({reason(error)})"


def _tracks(container: InputContainer) -> str:
    counts: dict[str, int] = {}
    for stream in container.streams:
        kind = "picture" if stream.type == "video" else stream.type
        counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "no tracks"
