"""The second pass: music that has been generated becomes the result that was asked for.

Loudness is measured first, then music and original sound are mixed, encoded and stored beside the video's
own packets, which are copied and never encoded again, with its titles, chapters and subtitles. The music's first
sample lies on the first frame shown.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Literal

from av.audio.frame import AudioFrame
from av.container import OutputContainer

from engine.errors import MediaError
from engine.media.audio import SAMPLE_RATE_OUT, Loudness, Signal, Stereo, measure_loudness, read_stereo
from engine.media.beside import add_subtitles, add_titles, left_out, subtitle_packets
from engine.media.mix import Mix, mix
from engine.media.mux import Span, add_sound, copied, encoded, interleaved
from engine.media.output import check_output, open_output, replacing, target_of
from engine.media.source import open_input
from engine.media.timeline import scan
from engine.media.video import VideoInfo, probe

Part = Literal["measuring", "mixing"]
Progress = Callable[[Part, float, float], None]
"""Called with what is done, and the seconds of it that are done and to do."""

# Quieter music than this is left as it is: raised to the target it would be noise.
_SILENCE_RMS = 2e-3
# Music that ends this much before the video is whole, and is followed by silence; shorter was interrupted.
_SHORTFALL_S = 0.5


@dataclass(frozen=True, slots=True)
class FinishSettings:
    """How the result is to sound."""

    mix: Mix = "keep"
    loudness_lufs: float | None = -16.0  # of the music alone, integrated; None leaves it as it is
    audio_only: bool = False
    music_gain_db: float = 0.0  # on top of the loudness


@dataclass(frozen=True, slots=True)
class FinishReport:
    """What was written."""

    output: Path
    mix: Mix  # drop where the video has no sound
    duration_s: float
    measured_lufs: float  # of the music before the gain; -inf for silence
    gain_db: float  # applied to the music, with music_gain_db
    cut: bool  # whether the result ends before the video, with the music
    left_out: tuple[str, ...] = ()  # of a result with pictures: the video's tracks that are not in it


def finish(
    video: Path, music: Path, output: Path, settings: FinishSettings, progress: Progress | None = None
) -> FinishReport:
    """Mix the music of a WAV file with a video's sound and write the result; the ending says what kind.

    MediaError, one line, for anything that cannot be read or written; output then is as it was before.
    """
    target = target_of(output, settings.audio_only)
    check_output(output, video, settings.audio_only)
    info = probe(video)
    tell = progress or (lambda *_: None)
    span, loudness = _span(video, info, music, target.holds_video, tell)
    kind: Mix = settings.mix if info.has_audio else "drop"
    gain_db = _gain_db(loudness, settings)
    with replacing(output, video, music) as partial:
        sound = mix(
            Signal(_told(read_stereo(music), "mixing", span.samples, tell)),
            None if kind == "drop" else Signal(read_stereo(video, span.start_s)),
            kind,
            10 ** (gain_db / 20),
            span.samples,
        )
        with open_output(partial, target) as container:
            if target.holds_video:
                missing = _write_film(container, output, sound, video, span)
            else:
                missing = ()
                for packet in encoded(add_sound(container, target), sound):
                    container.mux(packet)
    return FinishReport(output, kind, span.duration_s, loudness.lufs, gain_db, span.cut, missing)


def _write_film(
    container: OutputContainer, output: Path, sound: Iterator[AudioFrame], video: Path, span: Span
) -> tuple[str, ...]:
    """Returns what of the video is left out."""
    with open_input(video) as source:
        pictures = copied(source, video, container, span, output)
        sounds = encoded(add_sound(container, target_of(output)), sound)
        subtitles = add_subtitles(source, container)
        add_titles(source, container, span)
        for packet in interleaved(pictures, sounds, subtitle_packets(video, subtitles, span)):
            container.mux(packet)
        return left_out(source, subtitles)


def _span(
    video: Path, info: VideoInfo, music: Path, holds_video: bool, progress: Progress
) -> tuple[Span, Loudness]:
    """From the first frame to the end of the video, or to the end of music that stops before."""
    whole = Span(info.start_s, scan(video).end_s)
    blocks = _first(read_stereo(music), whole.samples)
    loudness = measure_loudness(_told(blocks, "measuring", whole.samples, progress))
    if loudness.samples == 0:
        raise MediaError(f"{music}: expected music, found no samples")
    until_s = info.start_s + loudness.samples / SAMPLE_RATE_OUT
    if until_s >= whole.end_s - _SHORTFALL_S:
        return whole, loudness
    end_s = scan(video, until_s).end_s if holds_video else until_s
    return Span(info.start_s, end_s, until_s), loudness


def _first(blocks: Iterator[Stereo], samples: int) -> Iterator[Stereo]:
    for block in blocks:
        yield block[:, :samples]
        samples -= block.shape[1]
        if samples <= 0:
            return


def _told(blocks: Iterator[Stereo], part: Part, samples: int, progress: Progress) -> Iterator[Stereo]:
    """The same; each is told of when it has been used. samples: of all of them, about."""
    used = 0
    for block in blocks:
        yield block
        used = min(used + block.shape[1], samples)
        progress(part, used / SAMPLE_RATE_OUT, samples / SAMPLE_RATE_OUT)


def _gain_db(loudness: Loudness, settings: FinishSettings) -> float:
    wanted = settings.loudness_lufs
    if wanted is None or not isfinite(loudness.lufs) or loudness.rms < _SILENCE_RMS:
        return settings.music_gain_db
    return wanted - loudness.lufs + settings.music_gain_db
