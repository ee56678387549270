"""Putting music and the original sound together: three ways, each a filter graph that ends in a limiter.

Both signals go in block by block and in step, so that what the filters hold is a few milliseconds.
"""

from collections.abc import Callable, Iterator
from typing import Literal

from av.audio.frame import AudioFrame
from av.filter import Graph
from av.filter.context import FilterContext

from engine.media.audio import SAMPLE_RATE_OUT, Signal, stereo_buffer, stereo_frame
from engine.media.graph import flush, pull

Mix = Literal["keep", "duck", "drop"]
"""keep: original plus music. duck: the same, music down while the original is loud. drop: music alone."""

_BLOCK_SAMPLES = SAMPLE_RATE_OUT // 10

# -1 dB below full scale leaves room for what AAC and MP3 overshoot. latency=1 takes the look-ahead out again.
_LIMITER = "limit=0.891:level=disabled:latency=1:attack=5:release=50"
# Speech (about -20 dB) takes some 8 dB off the music within a syllable; it comes back in half a second.
_DUCKER = "threshold=0.03:ratio=5:attack=40:release=500:detection=rms"


def mix(music: Signal, original: Signal | None, kind: Mix, gain: float, samples: int) -> Iterator[AudioFrame]:
    """Mix so many samples, limited to -1 dB, as planar float stereo frames at 48 kHz that follow each other.

    original: None for a video without sound, where every kind is drop. gain: factor for the music.
    """
    graph = _graph("drop" if original is None else kind)
    for start in range(0, samples, _BLOCK_SAMPLES):
        length = min(_BLOCK_SAMPLES, samples - start)
        graph.push(stereo_frame(music.take(length) * gain, start), at=0)
        if original is not None and kind != "drop":
            graph.push(stereo_frame(original.take(length), start), at=1)
        yield from pull(graph)
    flush(graph)
    yield from pull(graph)


def _graph(kind: Mix) -> Graph:
    graph = Graph()
    limiter = graph.add("alimiter", _LIMITER)
    _WIRINGS[kind](graph, limiter)
    form = graph.add("aformat", f"sample_fmts=fltp:sample_rates={SAMPLE_RATE_OUT}:channel_layouts=stereo")
    graph.link_nodes(limiter, form, graph.add("abuffersink")).configure()
    return graph


def _drop(graph: Graph, limiter: FilterContext) -> None:
    stereo_buffer(graph).link_to(limiter)


def _keep(graph: Graph, limiter: FilterContext) -> None:
    music, original, total = stereo_buffer(graph), stereo_buffer(graph), _sum(graph)
    music.link_to(total)
    original.link_to(total, 0, 1)
    total.link_to(limiter)


def _duck(graph: Graph, limiter: FilterContext) -> None:
    music, original, total = stereo_buffer(graph), stereo_buffer(graph), _sum(graph)
    ducker, split = graph.add("sidechaincompress", _DUCKER), graph.add("asplit", "2")
    music.link_to(ducker)
    original.link_to(split)
    split.link_to(ducker, 0, 1)
    ducker.link_to(total)
    split.link_to(total, 1, 1)
    total.link_to(limiter)


def _sum(graph: Graph) -> FilterContext:
    return graph.add("amix", "inputs=2:normalize=0:duration=longest:dropout_transition=0")


_WIRINGS: dict[Mix, Callable[[Graph, FilterContext], None]] = {"keep": _keep, "duck": _duck, "drop": _drop}
