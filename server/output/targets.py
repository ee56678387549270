"""What an address stands for: `rtmp(s)://` and `srt://` for servers, `hls:NAME` and `file:NAME` for what lies below one folder.

Pure, but for the question whether a name is taken. Nothing is looked up: servers are allowed by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from engine.media.output import TARGETS
from engine.media.reserved import device_of
from server.core.errors import SessionError
from server.ingest.address import Forbidden, parse
from server.ingest.srt import read_options
from server.recording.film import FRAGMENTS
from server.system.srt import OPTIONS

What: TypeAlias = Literal["music", "mixed"]
LONGEST_URL = 1024
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
PRINTED = re.compile(r"[!-~]+")
AUTHORITY = re.compile(r"(?:[^@/\\?#]*@)?(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
"""Of which FFmpeg takes the same host as we do."""
ANY_HOST = "*"
PLAYLIST = "index.m3u8"
SEGMENT_S = 2
FLV, MPEGTS, HLS = "flv", "mpegts", "hls"
ENDINGS = tuple(ending for ending in TARGETS if ending not in (".webm", ".mov", ".m4v"))
"""Of files; video is H.264, which WebM does not hold."""


class Target(msgspec.Struct, frozen=True):
    """Where an output goes and how it is written. address: as FFmpeg takes it. shown: without keys and passwords."""

    address: str
    shown: str
    form: str
    codec: str
    bit_rate: int
    options: dict[str, str]
    stays: bool
    """Whether a broken connection is made anew."""
    creates: bool = False
    """Whether it is a file or a folder that must not be there before."""
    srt: dict[str, str] | None = None
    """What the program that sends it is told beside the address; None where it is not SRT."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What an operator lets be done. hosts: names of servers, `*` for all of them. folder: None where no files are written."""

    hosts: tuple[str, ...] = ()
    folder: Path | None = None


def target_of(url: str, what: What, allowed: Allowed) -> Target:
    """Raises SessionError: output_off, output_forbidden, bad_request, output_refused."""
    if not PRINTED.fullmatch(url) or len(url) > LONGEST_URL:
        raise SessionError(
            "bad_request", f"expected an address of 1 to {LONGEST_URL} ASCII characters, no spaces"
        )
    scheme, colon, name = url.partition(":")
    if scheme in ("file", "hls") and colon:
        return _below(scheme, name, what, allowed.folder)
    if scheme in ("rtmp", "rtmps", "srt"):
        return _server(url, allowed.hosts)
    raise SessionError(
        "bad_request",
        "expected rtmp://..., rtmps://..., srt://..., hls:NAME or file:NAME.ENDING as the address",
    )


def _server(url: str, hosts: tuple[str, ...]) -> Target:
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host = None
    if not host or not AUTHORITY.fullmatch(parts.netloc):
        raise SessionError(
            "bad_request", "expected a host, and a port from 1 to 65535 or none, in the address"
        )
    if not hosts:
        raise SessionError("output_off", "this server pushes to no other; start it with --push HOST")
    if ANY_HOST not in hosts and host not in {each.lower() for each in hosts}:
        raise SessionError(
            "output_forbidden", "this server does not push to that host; --push HOST allows it"
        )
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/..."
    rate = TARGETS[".mp4"].bit_rate
    if parts.scheme == "srt":
        return _srt(url, shown, rate)
    return Target(url, shown, FLV, "aac", rate, {"flvflags": "no_duration_filesize"}, stays=True)


def _srt(url: str, shown: str, rate: int) -> Target:
    """Taken apart here and put together again, so that FFmpeg finds nothing in it that was not checked."""
    try:
        place = parse(url)
        options = read_options(place, OPTIONS)
    except Forbidden as error:
        raise SessionError("bad_request", str(error)) from None
    return Target(place.origin, shown, MPEGTS, "aac", rate, {}, stays=True, srt=options)


def _below(scheme: str, name: str, what: What, folder: Path | None) -> Target:
    if folder is None:
        raise SessionError("output_off", "this server writes no outputs; start it with --outputs FOLDER")
    if not NAME.fullmatch(name):
        raise SessionError(
            "bad_request", "expected a name of letters, digits, '.', '_' and '-', without folders"
        )
    if device := device_of(name):
        raise SessionError("bad_request", f"{name} is the device {device} on Windows; choose another name")
    path = folder / name
    if path.exists() or path.is_symlink():
        raise SessionError("output_refused", f"{name} is there already; choose another name")
    return _playlist(path, name) if scheme == "hls" else _file(path, name, what)


def _playlist(folder: Path, name: str) -> Target:
    options = {
        "hls_time": str(SEGMENT_S),
        "hls_list_size": "0",
        "hls_playlist_type": "event",
        "hls_segment_filename": str(folder).replace("%", "%%") + "/%06d.ts",
        "hls_flags": "temp_file+independent_segments",
    }
    address = str(folder / PLAYLIST)
    rate = TARGETS[".mp4"].bit_rate
    return Target(address, f"hls:{name}", HLS, "aac", rate, options, stays=False, creates=True)


def _file(path: Path, name: str, what: What) -> Target:
    found = TARGETS.get(path.suffix.lower())
    fitting = [ending for ending in ENDINGS if TARGETS[ending].holds_video is (what == "mixed")]
    if found is None or path.suffix.lower() not in fitting:
        raise SessionError("bad_request", f"{what}: expected an ending out of {' '.join(fitting)}")
    options = dict(FRAGMENTS if found.format in ("mp4", "ipod") else found.options)
    form, codec, rate = found.format, found.codec, found.bit_rate
    return Target(str(path), f"file:{name}", form, codec, rate, options, stays=False, creates=True)
