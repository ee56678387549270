"""Whether an ingest that is asked for may begin, by the limits of the operator. A worker checks again when it connects."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from pathlib import Path

from server.ingest.address import PORTS, SRT, Forbidden, Place, parse, resolve
from server.ingest.limits import IngestLimits
from server.ingest.relay import check_relayed
from server.ingest.srt import options_of
from server.system.srt import lacking

FILE = "file:"
RELAYED = PORTS.keys() - {"http", "https", SRT}


def check(url: str, listen: bool, limits: IngestLimits) -> None:
    """What can be said of it without opening it. Raises Forbidden, and OSError when its host is not known."""
    if len(url) > limits.url_chars:
        raise Forbidden(f"an address has at most {limits.url_chars} characters")
    if url.startswith(FILE):
        if listen:
            raise Forbidden("nobody publishes to a file")
        find_file(url, limits.files)
        return
    place = parse(url)
    if place.scheme == SRT:
        options_of(place, listen)
    if listen:
        _check_listener(place, limits)
    else:
        if place.scheme in RELAYED:
            check_relayed(place.scheme)
        resolve(place, limits.private)
    if place.scheme == SRT and (lack := lacking()):
        raise Forbidden(lack)


def find_file(url: str, folder: Path | None) -> Path:
    """`file:NAME`, below the folder, also after every link was followed. Raises Forbidden."""
    if folder is None:
        raise Forbidden("this server reads no files; start it with --ingest-files FOLDER")
    name = url.removeprefix(FILE)
    if "\0" in name or name.startswith(("/", "\\")):
        raise Forbidden("a file is named from the folder on: file:NAME")
    with suppress(OSError, ValueError):
        root = folder.resolve(strict=True)
        path = (root / name).resolve(strict=True)
        if path.is_relative_to(root) and path.is_file():
            return path
    raise Forbidden("no such file in the folder of this server")


def _check_listener(place: Place, limits: IngestLimits) -> None:
    if place.scheme not in ("rtmp", SRT):
        raise Forbidden("publishers are waited for by rtmp and srt alone")
    if place.port not in limits.ports:
        raise Forbidden(f"publishers are not waited for at port {place.port}; see --ingest-port")
    if place.scheme == "rtmp" and not _names_a_stream(place.path):
        raise Forbidden("an address for publishers is rtmp://ADDRESS:PORT/APP/KEY")
    try:
        ipaddress.ip_address(place.host)
    except ValueError:
        raise Forbidden(
            "publishers are waited for at an address in numbers, 0.0.0.0 is all of them"
        ) from None


def _names_a_stream(path: str) -> bool:
    return len([part for part in path.split("/") if part]) == 2 and "?" not in path
