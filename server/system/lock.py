"""A file that one process at a time has; the system lets go of it when that ends, however it does."""

from __future__ import annotations

import os
import sys
from pathlib import Path


class Locked(Exception):
    """Another process has it."""


def lock(path: Path) -> int:
    """The open file, its owner's alone; it is let go of when it is closed. Raises Locked, OSError."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the latter is how Windows says it
        os.close(file)
        raise Locked from None
    return file
