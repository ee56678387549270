"""A video that is read, opened by FFmpeg through PyAV with nothing allowed that it does not need. Only in a worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import av
from av.container import InputContainer
from av.logging import WARNING, Capture, set_level

from server.ingest.address import SRT, Forbidden, Place, connect, parse
from server.ingest.checking import FILE, find_file
from server.ingest.fetching import Fetcher
from server.ingest.pipe import Job
from server.ingest.relay import Relay, check_relayed, close_the_process
from server.ingest.srt import Received, command_of

CONTAINERS = "mov,mp4,matroska,webm,mpegts,mpeg,flv,live_flv,avi,ogg"
"""What a file, or what comes over HTTP, may be; no playlists, no picture sequences, nothing that names other files."""
PLAYLISTS = f"hls,{CONTAINERS},aac,mp3,webvtt"
RTMP = "flv"
MPEG_TS = "mpegts"
SOON = {"flags": "low_delay", "fpsprobesize": "0", "probesize": "262144", "analyzeduration": "500000"}
"""A live stream is shown as it comes. No pictures are looked at for its rate, which is not asked for, and what is looked at for
the rest is kept: it begins with the publisher's keyframe, and OBS makes the next one after 250 pictures."""
OTHERS_KEY = ("Unexpected stream", "App field don't match")
"""What FFmpeg warns of when a publisher says another name than the one waited for; it would let it in all the same."""


@dataclass(frozen=True, slots=True)
class Source:
    """lives: it comes in real time, and is shown as it comes; otherwise by its timestamps. ends: its end is not a failure."""

    container: InputContainer
    lives: bool
    ends: bool


def open_source(job: Job, refuse: Callable[[Forbidden], NoReturn], listening: Callable[[], object]) -> Source:
    """Raises Forbidden, OSError (FFmpeg's errors are some), ValueError. refuse: see Fetcher. listening: called when a
    publisher may come."""
    if job.url.startswith(FILE):
        path = find_file(job.url, Path(job.files) if job.files else None)
        return _file(path.open("rb"), job)
    place = parse(job.url)
    if place.scheme in ("http", "https"):
        return _web(place, job, refuse)
    if place.scheme == SRT:
        return _srt(place, job, listening)
    return _listener(place, job, listening) if job.listen else _relayed(place, job)


def _file(file: IO[bytes], job: Job) -> Source:
    container = _open(file, job, {"format_whitelist": CONTAINERS}, _nothing)
    close_the_process()
    return Source(container, lives=False, ends=True)


def _web(place: Place, job: Job, refuse: Callable[[Forbidden], NoReturn]) -> Source:
    fetcher = Fetcher(job.private, job.silence_s, refuse)
    options = {"format_whitelist": PLAYLISTS}
    if place.path.partition("?")[0].endswith(
        (".m3u8", ".m3u")
    ):  # the newest segment; each is asked for by `fetcher`
        options |= {"live_start_index": "-1", "http_persistent": "0", "seg_max_retry": "3"}
    container = _open(place.address, job, options, fetcher.open)
    return Source(container, lives=False, ends=container.duration is not None)


def _relayed(place: Place, job: Job) -> Source:
    check_relayed(place.scheme)
    relay = Relay(connect(place, job.private, job.connect_s))
    kind = place.scheme.removesuffix("s")
    login = f"{place.login}@" if place.login else ""
    url = f"{kind}://{login}127.0.0.1:{relay.port}{place.path}"
    options: dict[str, str] = SOON | {"protocol_whitelist": "tcp,rtmp,rtsp,rtp"}
    if kind == "rtsp":
        options |= {"rtsp_transport": "tcp", "format_whitelist": "rtsp", "reorder_queue_size": "0"}
    else:
        app = place.path.rpartition("/")[0] or place.path
        options |= {"format_whitelist": RTMP, "rtmp_live": "live", "rtmp_tcurl": place.origin + app}
    return Source(_open(url, job, options, form=kind if kind == "rtsp" else RTMP), lives=True, ends=False)


def _listener(place: Place, job: Job, listening: Callable[[], object]) -> Source:
    options = SOON | {"listen": "1", "protocol_whitelist": "tcp,rtmp", "format_whitelist": RTMP}
    set_level(WARNING)
    listening()  # as good as: FFmpeg waits at once, and says nothing of it
    with Capture(local=False) as said:
        container = _open(place.address, job, options, form=RTMP)
    set_level(None)
    if any(text.startswith(OTHERS_KEY) for _, _, text in said):
        container.close()
        raise OSError("a publisher came with another key")
    close_the_process()
    return Source(container, lives=True, ends=False)


def _srt(place: Place, job: Job, listening: Callable[[], object]) -> Source:
    first_s = None if job.listen else job.connect_s + job.silence_s
    received = Received(command_of(place, job), first_s, job.silence_s)
    if job.listen:
        received.wait_until_bound(place.port)
        listening()
    close_the_process()
    container = _open(received, job, SOON | {"format_whitelist": MPEG_TS}, _nothing, form=MPEG_TS)
    return Source(container, lives=True, ends=False)


def _open(
    what: Any,
    job: Job,
    options: dict[str, str],
    hook: Callable[..., Any] | None = None,
    form: str | None = None,
) -> InputContainer:
    """hook: opens what FFmpeg asks for, where it would do so by itself. form: what it is; None: looked for."""
    return av.open(
        what,
        "r",
        format=form,
        options=options,
        metadata_errors="replace",
        timeout=(None if job.listen else job.connect_s, job.silence_s),
        io_open=hook,
    )


def _nothing(url: str, flags: int, options: dict[str, Any]) -> Any:
    """For what may name no other file or address."""
    raise Forbidden("nothing else is opened")
