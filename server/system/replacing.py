"""A file that takes another one's place in one step."""

from __future__ import annotations

from pathlib import Path
from time import sleep

from server.system.backoff import Backoff

TRIES = 8
"""Over a second in all."""
PAUSES_S = (0.01, 0.5)


def replace(new: Path, path: Path) -> None:
    """Windows refuses it while anybody has the old one open; who reads it does so for a moment, and is waited for. Not for an
    event loop. Raises OSError."""
    backoff = Backoff(*PAUSES_S)
    for _ in range(TRIES - 1):
        try:
            new.replace(path)
            return
        except PermissionError:
            sleep(backoff.after())
    new.replace(path)
