"""A file that FFmpeg writes to through Python, so that what the disk refuses is told whenever it does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from typing import Any


class Written(FileIO):
    """Nothing waits in it. Raises OSError when the disk does."""

    def write(self, data: Any) -> int:
        """All of it: of a disk that is nearly full a part is taken, and FFmpeg asks nobody for the rest."""
        left = memoryview(data)
        while left:
            left = left[super().write(left) :]
        return len(data)

    @contextmanager
    def part(self) -> Iterator[None]:
        """What is written meanwhile is in it as a whole, or it ends before that and is closed."""
        whole = os.fstat(self.fileno()).st_size
        try:
            yield
        except OSError:
            with self:
                self.truncate(whole)
            raise
