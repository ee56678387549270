"""A folder that the server writes into: whether it can be written, and what is lacking when nothing more fits."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal, TypeAlias

from engine.errors import CuestreamError

GB = 10**9
Lack: TypeAlias = Literal["quota", "disk"]


class NoFolder(CuestreamError):
    """Nothing can be written where something should lie."""


def make_writable(root: Path, what: str) -> None:
    """The folder is made when it is missing. what: will lie in it, in the plural. Raises NoFolder."""
    try:
        root.mkdir(parents=True, exist_ok=True)
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


def lack(root: Path, used: int, folder_bytes: int, free_bytes: int) -> Lack | None:
    """used: bytes that lie in it, of `folder_bytes` that may; `free_bytes` are to stay free on the disk. A folder that went away
    is made again. Raises OSError."""
    root.mkdir(parents=True, exist_ok=True)
    if used >= folder_bytes:
        return "quota"
    return "disk" if shutil.disk_usage(root).free < free_bytes else None
