"""Music that is heard elsewhere: it counts as heard here as soon as it came."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np

from cuestream_client.music import Chunk
from cuestream_client.session import Playout


class Silence:
    """`with Silence() as sink: sink.put(chunk)`."""

    def __init__(self) -> None:
        self.peak = 0.0
        self.playout = Playout(0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def put(self, chunk: Chunk) -> None:
        self.peak = float(np.abs(chunk.samples).max(initial=0.0))
        self.playout = Playout(chunk.session, chunk.end)

    def expect(self, more: bool) -> None:
        """Nothing waits here."""
