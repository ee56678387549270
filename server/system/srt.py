"""SRT, which PyAV's libraries come without: the program `ffmpeg` speaks it for outputs and for ingest."""

from __future__ import annotations

import shutil
import subprocess

PROGRAM = "ffmpeg"
OPTIONS = frozenset({"streamid", "passphrase", "pbkeylen", "latency"})
"""Those that do not turn a caller into a listener or say how the line is opened. latency: in microseconds."""
NO_PROGRAM = "SRT needs the program ffmpeg on the server's machine: apt-get install ffmpeg"
NO_SRT = "the program ffmpeg on the server's machine comes without SRT"
LOOK_S = 10.0


def is_there() -> bool:
    return shutil.which(PROGRAM) is not None


def lacking() -> str | None:
    """What has to be installed; None where SRT is spoken. It runs the program: not for an event loop."""
    if not is_there():
        return NO_PROGRAM
    try:
        command = [PROGRAM, "-hide_banner", "-loglevel", "quiet", "-protocols"]
        said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LOOK_S)
    except (OSError, subprocess.TimeoutExpired):
        return NO_SRT
    return None if b"srt" in said.stdout.split() else NO_SRT
