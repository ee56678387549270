"""Options of the program `ffmpeg` that nobody sees: everybody on a machine may read its processes' arguments."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from server.ingest.srt import NAMES, arguments

FILES = Path("/dev/fd")
"""Where a process finds its open files by their numbers; Windows has no such place."""


@contextmanager
def unseen(options: Mapping[str, str]) -> Iterator[tuple[list[str], tuple[int, ...]]]:
    """Of an output: the words among the arguments, and the files that the program is to have open. It reads a preset there, one
    `name=value` a line; of inputs it takes none. Without such files the options are the words.

    Bound: what a pipe takes at once, 4 KiB at least; `read_options` lets in less. Source: FFmpeg's manual, `-fpre`.
    """
    if not (options and FILES.is_dir()):
        yield arguments(options), ()
        return
    reading, writing = os.pipe()
    try:
        lines = "".join(f"{NAMES.get(name, name)}={value}\n" for name, value in options.items())
        os.write(writing, lines.encode())
        os.close(writing)
        yield ["-fpre", str(FILES / str(reading))], (reading,)
    finally:
        os.close(reading)
