"""A folder that the server writes into: whether it can be written, and what is lacking when nothing more fits."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from threading import Lock
from typing import Literal, TypeAlias

from engine.errors import CuestreamError

GB = 10**9
Lack: TypeAlias = Literal["quota", "disk"]
COUNTS_EVERY = 100
"""Times as long as a count took."""


class NoFolder(CuestreamError):
    """Nothing can be written where something should lie."""


def make_writable(root: Path, what: str, mode: int = 0o777) -> None:
    """The folder is made when it is missing. what: will lie in it, in the plural. Raises NoFolder."""
    try:
        root.mkdir(mode, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=root).close()
    except OSError as error:
        raise NoFolder(f"{what} cannot be written to {root}: {error.strerror}") from None


def bytes_in(root: Path) -> int:
    """Of all files under it; one that goes away meanwhile counts nothing."""
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


class Room:
    """A folder that `folder_bytes` may lie in, with `free_bytes` that stay free on its disk. Made when it is missing. Raises
    NoFolder.

    Called in any thread. Counting thousands of files takes a while, so all who ask share one count, and all counting takes a
    hundredth of the time. What is written between two counts may be too much.
    """

    def __init__(
        self,
        root: Path,
        what: str,
        folder_bytes: int,
        free_bytes: int,
        monotonic: Callable[[], float] = time.perf_counter,
    ) -> None:
        """what: will lie in it, in the plural."""
        make_writable(root, what)
        self.root = root
        self._folder_bytes, self._free_bytes, self._monotonic = folder_bytes, free_bytes, monotonic
        self._lock = Lock()
        self._used, self._again_s = 0, -inf

    def lack(self) -> Lack | None:
        """Why nothing more is written, None while there is room. A folder that went away is made again. Raises OSError."""
        self.root.mkdir(parents=True, exist_ok=True)
        if self._is_full():
            return "quota"
        return "disk" if shutil.disk_usage(self.root).free < self._free_bytes else None

    def _is_full(self) -> bool:
        """As counted of late; that it is full is known from a new count only."""
        with self._lock:
            now_s = self._monotonic()
            if now_s >= self._again_s or self._used >= self._folder_bytes:
                self._used = bytes_in(self.root)
                counted_s = self._monotonic()
                self._again_s = counted_s + COUNTS_EVERY * (counted_s - now_s)
            return self._used >= self._folder_bytes
