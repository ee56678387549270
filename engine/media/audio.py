"""Sound as the file side handles it: 48 kHz stereo in blocks, whatever the file holds.

A sound is read as one unbroken signal that starts at a chosen time on the file's clock; gaps become silence.
Nothing here holds more than a few blocks, so that three hours cost no more memory than three seconds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, groupby
from math import inf, sqrt
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.error import FFmpegError
from av.filter import Graph

from engine.errors import MediaError
from engine.media.graph import flush, pull
from engine.media.source import audio_stream, open_input
from engine.media.stereo import to_stereo
from engine.media.timeline import packets

SAMPLE_RATE_OUT = 48_000
CHANNELS_OUT = 2

Stereo = npt.NDArray[np.float32]
"""[2, n] float32 at 48 kHz, full scale = 1."""

# ebur128 reports this where every block lies under its absolute gate (BS.1770-4).
_GATE_LUFS = -70.0
# Timestamps that are off by less are rounding (Matroska counts milliseconds), not a gap.
_GAP_S = 0.02


@dataclass(frozen=True, slots=True)
class Loudness:
    """How loud a signal is."""

    lufs: float  # integrated, BS.1770; -inf for silence and for less than 0.4 s
    rms: float  # over all samples of both channels, full scale = 1
    samples: int  # for each channel, at 48 kHz


def measure_loudness(blocks: Iterable[Stereo]) -> Loudness:
    """Integrated loudness of a signal given in blocks [2, n], through FFmpeg's ebur128."""
    graph = Graph()
    source = stereo_buffer(graph)
    meter = graph.add("ebur128", metadata="1", framelog="quiet")
    graph.link_nodes(source, meter, graph.add("abuffersink")).configure()
    lufs, energy, samples = -inf, 0.0, 0
    for block in filter(np.size, blocks):
        graph.push(stereo_frame(block, samples))
        lufs = _latest(graph, lufs)
        samples += block.shape[1]
        energy += float(np.square(block, dtype=np.float64).sum())
    flush(graph)
    lufs = _latest(graph, lufs)
    return Loudness(lufs, sqrt(energy / (CHANNELS_OUT * samples)) if samples else 0.0, samples)


def read_stereo(path: Path, start_s: float = 0.0) -> Iterator[Stereo]:
    """The main sound of a file as one signal in blocks [2, n], n varying.

    start_s: the time on the file's own clock of the first sample given; silence where the sound starts later.
    Unreadable packets become silence. MediaError if the file cannot be opened or has no sound.
    """
    with open_input(path) as container:
        given = 0
        for _, frames in groupby(_decode(container, path, Fraction(start_s)), _kind):
            for block in _convert(frames, given):
                given += block.shape[1]
                yield block


class Signal:
    """A signal in blocks, taken in pieces of any length; silence once it has ended."""

    def __init__(self, blocks: Iterable[Stereo]) -> None:
        self._blocks = iter(blocks)
        self._rest: Stereo = np.zeros((CHANNELS_OUT, 0), np.float32)

    def take(self, samples: int) -> Stereo:
        """The next samples. Returns [2, samples]."""
        pieces = [self._rest]
        missing = samples - self._rest.shape[1]
        while missing > 0:
            piece = next(self._blocks, None)
            if piece is None:
                piece = np.zeros((CHANNELS_OUT, missing), np.float32)
            pieces.append(piece)
            missing -= piece.shape[1]
        joined = np.concatenate(pieces, axis=1)
        self._rest = joined[:, samples:]
        return joined[:, :samples]


def stereo_buffer(graph: Graph) -> av.filter.context.FilterContext:
    """A graph's entrance for blocks [2, n]."""
    return graph.add_abuffer(sample_rate=SAMPLE_RATE_OUT, format="fltp", layout="stereo")


def stereo_frame(block: Stereo, start: int) -> AudioFrame:
    """A block [2, n] as FFmpeg takes it. start: samples since the signal began."""
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(block, np.float32), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_OUT, start, Fraction(1, SAMPLE_RATE_OUT)
    return frame


def stereo_block(frame: AudioFrame) -> Stereo:
    """A planar float frame as a block [2, n]."""
    return frame.to_ndarray().astype(np.float32, copy=False)


def _decode(container: InputContainer, path: Path, start_s: Fraction) -> Iterator[AudioFrame]:
    """Frames whose times count from start_s."""
    stream = audio_stream(container)
    if stream is None:
        raise MediaError(f"{path}: expected a sound track that can be decoded, found none")
    for packet in packets(container, stream):
        try:
            frames = packet.decode()
        except FFmpegError:
            continue
        for frame in frames:
            if frame.pts is not None and frame.time_base:
                frame.pts -= round(start_s / frame.time_base)
            yield frame


def _kind(frame: AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.format.name, frame.layout.name


def _convert(frames: Iterator[AudioFrame], start: int) -> Iterator[Stereo]:
    """Frames of one kind as blocks [2, n]. start: the first sample out, counted from time 0."""
    first = next(frames)
    graph = _converter(first, start)
    for frame in chain([first], frames):
        graph.push(frame)
        yield from map(stereo_block, pull(graph))
    flush(graph)
    yield from map(stereo_block, pull(graph))


def _converter(first: AudioFrame, start: int) -> Graph:
    """Resamples, downmixes, fills gaps with silence and cuts what overlaps. start: see _convert."""
    timing = f"async=1:first_pts={start}:min_comp=0.00001:min_hard_comp={_GAP_S}"
    return to_stereo(first, f"{SAMPLE_RATE_OUT}:osf=fltp:{timing}")


def _latest(graph: Graph, lufs: float) -> float:
    for frame in pull(graph):
        stated = float(frame.metadata.get("lavfi.r128.I", "nan"))
        lufs = stated if stated > _GATE_LUFS else lufs
    return lufs
