"""The folder that outputs are written to, and the room in it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from engine.errors import CuestreamError
from server.output.limits import OutputLimits


class NoFolder(CuestreamError):
    """Nothing can be written where the outputs should lie."""


class Folder:
    """root: it is made when it is missing. Raises NoFolder."""

    def __init__(self, root: Path, limits: OutputLimits) -> None:
        try:
            root.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=root).close()
        except OSError as error:
            raise NoFolder(f"outputs cannot be written to {root}: {error.strerror}") from None
        self.root, self._limits = root.resolve(), limits

    def full(self) -> str:
        """Why nothing more is written, empty when there is room."""
        if self.used() >= self._limits.folder_bytes:
            return "quota"
        return "disk" if shutil.disk_usage(self.root).free < self._limits.free_bytes else ""

    def used(self) -> int:
        """Bytes of all that lies in it."""
        return sum(path.lstat().st_size for path in self.root.rglob("*") if path.is_file())
