"""SRT, which the program `ffmpeg` speaks and PyAV's libraries do not: MPEG-TS from one address to a pipe.

The program is a child of the worker, within the worker's limits and gone with it. It is given an address in numbers that was
checked, and may open nothing but SRT and the pipe.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from urllib.parse import parse_qsl

from server.ingest.address import SRT, Forbidden, Place, resolve
from server.ingest.pipe import Job
from server.system.srt import OPTIONS, PROGRAM

VALUE_CHARS = 512
PIECE_BYTES = 64 * 1024
LOCAL, INODE = 1, 9
"""Columns of Linux's tables of sockets: the address in hexadecimal, and the socket's number."""
NAMES = {"streamid": "srt_streamid"}
"""Where the program itself has an option of that name."""
AS_IT_COMES = ["-f", "data"]
"""Bytes that the program does not look into: as MPEG-TS they are read by the worker alone."""
BOUND_AFTER_S, LOOK_S = 10.0, 0.02
"""How long the program may take until it waits for publishers, and how often it is looked whether it does: it does not say so."""
NOT_BOUND = "the port cannot be waited at: another program may have it"
BROKEN = "no SRT connection: nobody answers there, or takes this passphrase or stream"


def options_of(place: Place, listen: bool) -> dict[str, str]:
    """What an address says beside host and port, as FFmpeg's options. Raises Forbidden; its text has no secrets in it."""
    options = read_options(place, OPTIONS | {"mode"})
    if options.pop("mode", "listener" if listen else "caller") != ("listener" if listen else "caller"):
        raise Forbidden("mode=listener goes with `listen`, or a port of --ingest-port; mode=caller without")
    if listen and "streamid" in options:
        raise Forbidden("whoever waits for SRT cannot ask for a stream; a passphrase keeps others out")
    return options


def read_options(place: Place, known: frozenset[str]) -> dict[str, str]:
    """The query of an address that has no path. Raises as `options_of`."""
    path, _, query = place.path.partition("?")
    if path != "/":
        raise Forbidden("an SRT address is srt://HOST:PORT?..., without a path")
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) < len(pairs) or options.keys() - known:
        raise Forbidden(f"an SRT address says {', '.join(sorted(known))}, each once, and nothing else")
    for name, value in options.items():
        if not _fits(name, value):
            raise Forbidden(f"this is no {name} of SRT")
    return options


def arguments(options: Mapping[str, str]) -> list[str]:
    """As the program is told them, before the address."""
    return [word for name, value in options.items() for word in (f"-{NAMES.get(name, name)}", value)]


def _fits(name: str, value: str) -> bool:
    if not value or len(value) > VALUE_CHARS or not (value.isascii() and value.isprintable()):
        return False
    match name:
        case "passphrase":
            return 10 <= len(value) <= 79
        case "pbkeylen":
            return value in ("16", "24", "32")
        case "latency":
            return value.isdecimal() and len(value) <= 8
    return True


def address_of(place: Place, job: Job) -> str:
    """In numbers, IPv4 first: there is one try. Raises as `resolve`."""
    address = place.host if job.listen else min(resolve(place, job.private), key=lambda each: ":" in each)
    return f"srt://[{address}]:{place.port}" if ":" in address else f"srt://{address}:{place.port}"


def command_of(place: Place, job: Job) -> list[str]:
    """Raises as `options_of` and `resolve`."""
    options = {"mode": "listener" if job.listen else "caller"} | options_of(place, job.listen)
    options["connect_timeout"] = str(int(job.connect_s * 1000))
    source = ["-protocol_whitelist", SRT, *AS_IT_COMES, *arguments(options), "-i", address_of(place, job)]
    sink = ["-map", "0", "-c", "copy", *AS_IT_COMES, "-flush_packets", "1", "pipe:1"]
    return [PROGRAM, "-nostdin", "-loglevel", "quiet", *source, *sink]


class Received:
    """What the program gives, as a file. Nothing is waited for without an end but a publisher."""

    def __init__(self, command: list[str], first_s: float | None, silence_s: float) -> None:
        """first_s: to the first byte; None: however long it takes."""
        self._program = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._patience_s, self._silence_s = first_s, silence_s
        self._came, self._rest = False, b""
        self._pieces: Queue[bytes] = Queue(1)  # what comes while it is full waits in the pipe
        Thread(target=self._fetch, daemon=True).start()

    def wait_until_bound(self, port: int) -> None:
        """Until the program waits for publishers. Raises OSError."""
        end_s = time.monotonic() + BOUND_AFTER_S
        while not is_bound(port, self._program.pid):
            if self._program.poll() is not None or time.monotonic() > end_s:
                raise OSError(NOT_BOUND)
            time.sleep(LOOK_S)

    def read(self, size: int) -> bytes:
        """Raises OSError."""
        if not self._rest:
            try:
                self._rest = self._pieces.get(timeout=self._patience_s)
            except Empty:
                raise OSError(f"nothing came by SRT for {self._patience_s:g} s") from None
            if not self._rest:
                self._pieces.put(b"")  # whoever reads on finds the end again
                if not self._came:
                    raise OSError(BROKEN)
        data, self._rest = self._rest[:size], self._rest[size:]
        self._came, self._patience_s = True, self._silence_s
        return data

    def close(self) -> None:
        self._program.kill()

    def _fetch(self) -> None:
        """Windows cannot wait for a pipe with a limit; the last piece is empty."""
        with self._program as program:
            assert program.stdout is not None
            piece = None
            while piece != b"":
                piece = os.read(program.stdout.fileno(), PIECE_BYTES)
                self._pieces.put(piece)


def is_bound(port: int, pid: int) -> bool:
    """Whether a process has a UDP socket at this port. Where that cannot be seen (not Linux) it is taken to be so."""
    process = Path(f"/proc/{pid}")
    if not process.is_dir():
        return not Path("/proc/self").exists()
    try:
        sockets = {link.readlink().name for link in (process / "fd").iterdir()}
        rows = [row.split() for kind in ("udp", "udp6") for row in _lines(process / "net" / kind)]
    except OSError:
        return False  # it closes what is looked at, or ended
    return any(
        f"socket:[{row[INODE]}]" in sockets and int(row[LOCAL].split(":")[1], 16) == port for row in rows
    )


def _lines(table: Path) -> list[str]:
    """Without its head; a machine without IPv6 has no table of it."""
    return table.read_text("ascii").splitlines()[1:] if table.exists() else []
