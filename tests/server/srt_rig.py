"""Programs that send a film by SRT, over loopback."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.system.srt import lacking

LACK = lacking()
needs_srt = pytest.mark.skipif(LACK is not None, reason=LACK or "")
COPY = ["-c", "copy", "-f", "mpegts", "-flush_packets", "1"]
"""So little video would else wait until a message of SRT is full, a few pictures long."""
SENDS = ["ffmpeg", "-nostdin", "-loglevel", "quiet", "-re"]


@contextmanager
def sender(film: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that sends the film over and over, in its own time. It is tried again while nobody is there."""
    command = [*SENDS, "-stream_loop", "-1", "-i", str(film)]
    loop = 'while :; do "$@"; sleep 0.1; done'
    process = subprocess.Popen(["sh", "-c", loop, "sh", *command, *COPY, url], start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
