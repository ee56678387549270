"""Streams that look and sound together: what each would ask its backend alone, asked for all in one go where that gains anything.

Whoever fails does so alone, and what one sees and plays depends on nobody beside it, but for the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from engine.asking import Asking, together
from engine.backends.base import Backend
from engine.player import Stream
from engine.stream import AudioChunk, ScoreStream

T = TypeVar("T")


def look_all(streams: Sequence[Stream]) -> list[Exception | None]:
    """The looks that the streams' next steps begin with, where they gain by it, and what each raised; `ask` does the others."""
    those = [(at, s) for at, s in enumerate(streams) if isinstance(s, ScoreStream) and _shares(s)]
    raised: list[Exception | None] = [None] * len(streams)
    for at, ended in _all(those, ScoreStream.looking):
        raised[at] = ended
    return raised


def take_all(streams: Sequence[Stream]) -> list[AudioChunk | Exception | None]:
    """The next chunk of each stream that has one, as its `take` would give it, or what that raised."""
    taken: list[AudioChunk | Exception | None] = [None] * len(streams)
    those: list[tuple[int, ScoreStream]] = []
    for at, stream in enumerate(streams):
        if isinstance(stream, ScoreStream) and _shares(stream):
            those.append((at, stream))
        else:
            taken[at] = _tried(stream.take)
    for at, chunk in _all(those, ScoreStream.taking):
        taken[at] = chunk
    return taken


def _shares(stream: ScoreStream) -> bool:
    return stream.backend.answers_together


def _all(
    streams: Iterable[tuple[int, ScoreStream]], ask: Callable[[ScoreStream], Asking[T] | None]
) -> list[tuple[int, T | Exception | None]]:
    """Do what each of the numbered streams has to do, if anything, with the others of its backend."""
    ended: list[tuple[int, T | Exception | None]] = []
    askings: dict[int, list[tuple[int, Backend[Any, Any], Asking[T]]]] = {}
    for at, stream in streams:
        asking = _tried(ask, stream)
        if isinstance(asking, Exception):
            ended.append((at, asking))
        elif asking is not None:
            askings.setdefault(id(stream.backend), []).append((at, stream.backend, asking))
    for group in askings.values():
        answers = together(group[0][1], [asking for _, _, asking in group])
        ended += zip((at for at, _, _ in group), answers, strict=True)
    return ended


def _tried(call: Callable[..., T], *given: Any) -> T | Exception:
    try:
        return call(*given)
    except Exception as error:
        return error
