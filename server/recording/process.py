"""`python -m server.recording.process`: makes one film for the server, which started it.

The operating system bounds its memory. When its input ends, it finishes the film.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from av.error import FFmpegError

from engine.media import source as media_source
from server.protocol.limits import Limits
from server.recording.film import Film
from server.recording.wire import Job, Music, Picture, Report, line, read
from server.system.confinement import confine
from server.system.environment import end_with_the_input, set_alarm, step_back

OUT = 1
NICE = 10
"""A film has time, up to what may wait for it: music, and outputs, which are sent while they play, go first."""
HANGS_S = 60
"""A record may take so long; then nobody may be left who would end this process."""


def main() -> int:
    end_with_the_input()
    job = read(sys.stdin.buffer)
    assert isinstance(job, Job)
    confine(job.memory_bytes, writes=True)
    step_back(NICE)
    film = Film(Path(job.folder), Limits(image_pixels=job.image_pixels))
    try:
        _tell(Report(make(film, sys.stdin.buffer), done=True))
    except (FFmpegError, OSError, ValueError, MemoryError) as error:
        _tell(Report(error=media_source.reason(error)))
        return 1
    return 0


def make(film: Film, source: BinaryIO) -> int:
    """To its end; returns how many pictures are in it."""
    pictures = 0
    while isinstance(record := read(source), Music | Picture):
        set_alarm(HANGS_S)
        if isinstance(record, Music):
            film.sound(record.first, np.frombuffer(record.samples, np.float32))
        else:
            pictures += 1
            film.picture(record.sample, record.media)
            _tell(Report(pictures - film.left_out))
        set_alarm(0)
    set_alarm(HANGS_S)
    film.close()
    return pictures - film.left_out


def _tell(report: Report) -> None:
    with suppress(OSError):  # nobody may be there any more
        os.write(OUT, line(report))


if __name__ == "__main__":
    sys.exit(main())
