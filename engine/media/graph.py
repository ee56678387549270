"""The two things every filter graph needs: draining its exit and closing its entrances."""

from collections.abc import Iterator

from av.audio.frame import AudioFrame
from av.error import BlockingIOError as NotYet
from av.error import EOFError as Ended
from av.filter import Graph


def pull(graph: Graph) -> Iterator[AudioFrame]:
    """The frames that are ready at the graph's only exit."""
    while True:
        try:
            frame = graph.pull()
        except (NotYet, Ended):
            return
        assert isinstance(frame, AudioFrame)
        yield frame


def flush(graph: Graph) -> None:
    """Say that no more frames will be pushed at any entrance."""
    graph.push(None)
