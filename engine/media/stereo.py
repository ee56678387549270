"""From sound with any channels to stereo, as a filter graph that frames of one kind go through.

Most layouts libswresample mixes by itself. It takes 3 dB off each side of mono, and refuses ambisonics and channels that it
cannot place, such as the nine tracks of a field recorder: those are mixed before it.
"""

from fractions import Fraction
from math import sqrt

from av.audio.frame import AudioFrame
from av.error import FFmpegError
from av.filter import Graph


def to_stereo(first: AudioFrame, resampling: str) -> Graph:
    """A graph for frames like the first one. resampling: what FFmpeg's `aresample` is to do besides, `48000:osf=s16`."""
    name, channels = first.layout.name, first.layout.nb_channels
    if channels == 1 or name.startswith("ambisonic"):  # whose first channel hears all around
        return _graph(first, resampling, [1.0])
    try:
        return _graph(first, resampling, [])
    except FFmpegError:
        return _graph(first, resampling, [1 / sqrt(channels)] * channels)


def _graph(first: AudioFrame, resampling: str, gains: list[float]) -> Graph:
    """gains: of the first channels on both sides alike, the others are left out; with none libswresample mixes."""
    graph = Graph()
    source = graph.add_abuffer(
        sample_rate=first.sample_rate,
        format=first.format.name,
        layout=first.layout.name,
        time_base=first.time_base or Fraction(1, first.sample_rate),
    )
    nodes = [source]
    if gains:
        side = "+".join(f"{gain}*c{channel}" for channel, gain in enumerate(gains))
        nodes.append(graph.add("pan", f"stereo|c0={side}|c1={side}"))
    nodes.append(graph.add("aresample", f"{resampling}:ochl=stereo"))
    graph.link_nodes(*nodes, graph.add("abuffersink")).configure()
    return graph
