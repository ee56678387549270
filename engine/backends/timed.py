"""A backend that notes how long each of another one's verbs takes: where a stream's time goes, measured in the stream itself."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from engine.backends.base import Backend

VERBS = (
    "encode_frames",
    "look",
    "remember",
    "fuse",
    "write_condition",
    "step",
    "recur",
    "upsample",
    "synthesise",
)
"""In the order in which a picture becomes sound."""


class Timed:
    """Everything of `backend`, which is what it is used as. seconds: of each call, by verb; bound by how long whoever measures
    lets it play. segments: of each call of `step`, how many it read."""

    def __init__(self, backend: Backend[Any, Any], clock: Callable[[], float] = time.perf_counter) -> None:
        self._backend, self._clock = backend, clock
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.segments: list[int] = []

    def clear(self) -> None:
        """Forget what was noted."""
        self.seconds.clear()
        self.segments.clear()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._backend, name)
        return self._noting(name, found) if name in VERBS else found

    def _noting(self, verb: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any) -> Any:
            began = self._clock()
            answer = call(*given)
            self.seconds[verb].append(self._clock() - began)
            if verb == "step":
                tokens = given[4]
                self.segments.append(len(tokens))
            return answer

        return noted
