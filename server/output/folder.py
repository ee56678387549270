"""The folder that outputs are written to, and the room in it."""

from __future__ import annotations

from pathlib import Path

from server.output.limits import OutputLimits
from server.system.disk import Lack, bytes_in, lack, make_writable


class Folder:
    """root: it is made when it is missing. Raises NoFolder."""

    def __init__(self, root: Path, limits: OutputLimits) -> None:
        make_writable(root, "outputs")
        self.root, self._limits = root.resolve(), limits

    def full(self) -> Lack | None:
        """Why nothing more is written, None when there is room."""
        return lack(self.root, self.used(), self._limits.folder_bytes, self._limits.free_bytes)

    def used(self) -> int:
        """Bytes of all that lies in it."""
        return bytes_in(self.root)
