"""`python -m benchmarks.quality.pictures VIDEO... -o FOLDER`: a video, and the music that a live stream plays for it.

On one time axis: the video's strip with its cuts, the spectrogram of the music with its onsets, and the motion of the picture
beside the onset rate. The benchmark draws the same of its held-out videos, where motion and cuts are what was asked for; of
real videos they are what the engine saw.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import librosa
import numpy as np
import soundfile
from numpy.typing import NDArray

from benchmarks.quality.clips import HELD_OUT, STEPS_PER_S, Task, frames_of, scenes_of
from benchmarks.quality.hearing import SAMPLE_RATE, WINDOW_S, hear
from benchmarks.quality.measures import Clip
from cuestream.music import live
from cuestream.players import find_player
from cuestream.plot import ACCENT, INK, QUIET
from engine.errors import CuestreamError, MediaError, MissingRuntime
from engine.frames import U8, Frame
from engine.media.video import LIVE_FRAMES_PER_S, EveryNth, VideoReader, probe
from engine.player import Player
from training.composer.attributes import Extractor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

WIDTH, LEFT, RIGHT, TOP, BOTTOM, GAP = 13.0, 0.8, 0.7, 0.55, 0.5, 0.16
"""Inches: the figure, its margins, and what lies between the parts."""
SPECTROGRAM, CURVES = 2.7, 1.7
"""Their heights in inches."""
THUMBNAILS, THUMBNAIL_SIDE = 18, 192
WIDEST = 1.25
"""Width over height of a thumbnail at most: of wider pictures the sides are cut off."""
HOP, WINDOW, FFT, MELS = 400, 4096, 16384, 320
"""Of the spectrogram, in samples; the window is padded, so that low tones are drawn smoothly."""
LOWEST_HZ, HIGHEST_HZ, ROWS = 40.0, 12_000.0, 400
OCTAVES_HZ = (62, 125, 250, 500, 1000, 2000, 4000, 8000)
RANGE_DB = 65
RATE_EVERY_S = 0.1
MOTION, ONSETS = "#3a7d7c", ACCENT


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn. strip: pictures at equal distances, any size; aspect: their width over height as they are shown.

    samples: [n], mono, at 32 kHz. motion: [M, 2] of seconds and motion, 0 to 1.
    """

    title: str
    strip: Sequence[U8]
    aspect: float
    cuts_s: Sequence[float]
    samples: F32
    onsets_s: F64
    motion: F64
    motion_is: str

    @property
    def end_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("-o", "--output", required=True, type=Path, help="the folder for NAME.png")
    parser.add_argument("--model", default="starter", help="a name or a folder")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    try:
        player = find_player(options.model)
        for video in options.videos:
            path = options.output / f"{video.stem}.png"
            draw(of_video(player, video, options.seed), path)
            print(path)
    except CuestreamError as error:
        parser.exit(2, f"pictures: {error}\n")


def of_video(player: Player[Any], video: Path, seed: int = 0) -> Picture:
    """A real video as the engine saw it. Raises MediaError when it cannot be read, or is too short."""
    info = probe(video)
    pieces = [*live(player, video, info, replace(player.defaults, seed=seed))]
    samples = np.concatenate([piece.samples for piece in pieces])
    if len(samples) < WINDOW_S * player.sample_rate:
        raise MediaError(f"{video}: a picture needs {WINDOW_S:.0f} s of video, found {info.duration_s:.1f} s")
    if player.sample_rate != SAMPLE_RATE:
        samples = librosa.resample(samples, orig_sr=player.sample_rate, target_sr=SAMPLE_RATE)
    return Picture(
        f"{video.name}, and what {player.name} plays for it live"
        + (f": {player.label}" if player.label else ""),
        thumbnails(video, len(samples) / SAMPLE_RATE),
        info.width / info.height,
        [cut for piece in pieces for cut in piece.record["cuts_s"]],
        samples,
        hear(samples).onsets_s,
        measured_motion(video, player.side),
        "motion, as measured",
    )


def of_clip(task: Task, clip: Clip, wav: Path, side: int) -> Picture:
    """A held-out video as its script asks for it, and the music that a contender made for it.

    side: of the frames that the contender saw; drawn in another size it would be another video.
    """
    samples, _ = soundfile.read(wav, dtype="float32")
    scenes = scenes_of(task.video, task.steps)
    steps = [(step, scene.motion_at(step)) for scene in scenes for step in (scene.start, scene.end - 1)]
    return Picture(
        f"held-out video {task.video - HELD_OUT}, and what {Path(task.contender).name} plays for it, seed {task.seed}",
        spread(frames_of(task.video, task.steps, side), task.steps),
        1.0,
        clip.cuts_s.tolist(),
        samples,
        clip.heard.onsets_s,
        np.array(steps) / (STEPS_PER_S, 1),
        "motion, as asked for",
    )


def spread(frames: Sequence[Frame], steps: int) -> list[U8]:
    """What is shown in the middle of each of `THUMBNAILS` equal parts."""
    starts = np.array([frame.step for frame in frames])
    middles = (np.arange(THUMBNAILS) + 0.5) * steps / THUMBNAILS
    return [frames[int(i)].pixels for i in np.searchsorted(starts, middles, "right") - 1]


def thumbnails(video: Path, end_s: float) -> list[U8]:
    """The first frame after the middle of each of `THUMBNAILS` equal parts; the last one stands where there is none."""
    part, found = end_s / THUMBNAILS, list[U8]()
    due = [0]

    def wanted(_index: int, time_s: float) -> bool:
        at_last = due[0] < THUMBNAILS and time_s >= (due[0] + 0.5) * part
        due[0] += at_last
        return at_last

    for frame in VideoReader(video, THUMBNAIL_SIDE, wanted):
        found.append(frame.pixels)
    return found + found[-1:] * (THUMBNAILS - len(found))


def measured_motion(video: Path, side: int) -> F64:
    """[M, 2] of seconds and the motion that the procedural composer would know, about ten a second."""
    extractor, rows = Extractor(), list[tuple[float, float]]()
    for frame in VideoReader(video, side, EveryNth(LIVE_FRAMES_PER_S)):
        seen = extractor.show(Frame(frame.pixels, int(frame.time_s * STEPS_PER_S)))
        rows.append((frame.time_s, seen.motion))
    return np.array(rows)


def onset_rate(onsets_s: F64, moments_s: F64, end_s: float) -> F64:
    """Onsets a second around each moment, weighted by a Hann window of `WINDOW_S`, or what of it lies in the piece."""
    away = (onsets_s[None] - moments_s[:, None]) / WINDOW_S
    weights = np.where(np.abs(away) < 0.5, 1 + np.cos(2 * np.pi * away), 0).sum(1) / WINDOW_S
    return np.asarray(weights / (_below(end_s - moments_s) - _below(-moments_s)), np.float64)


def _below(seconds: F64) -> F64:
    """The share of the Hann window that lies below so many seconds from its middle."""
    away = np.clip(seconds / WINDOW_S, -0.5, 0.5)
    return np.asarray(0.5 + away + np.sin(2 * np.pi * away) / (2 * np.pi), np.float64)


def draw(picture: Picture, output: Path) -> None:
    """Write the picture; its kind (png, svg, pdf) follows the ending. Raises MissingRuntime without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingRuntime(
            "pictures need matplotlib; install the extra: pip install 'cuestream[plot]'"
        ) from error
    inside = WIDTH - LEFT - RIGHT
    heights = (inside / THUMBNAILS / min(picture.aspect, WIDEST), SPECTROGRAM, CURVES)
    height = TOP + sum(heights) + 2 * GAP + BOTTOM
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    FigureCanvasAgg(figure)
    edges = {
        "left": LEFT / WIDTH,
        "right": 1 - RIGHT / WIDTH,
        "bottom": BOTTOM / height,
        "top": 1 - TOP / height,
        "hspace": GAP / (sum(heights) / 3),
    }
    axes = figure.subplots(3, 1, sharex=True, height_ratios=heights, gridspec_kw=edges)
    for axis, part in zip(axes, (_strip, _spectrogram, _curves), strict=True):
        part(axis, picture)
        axis.set_xlim(0, picture.end_s)
    axes[-1].set_xlabel("time (s)", color=INK)
    figure.text(LEFT / WIDTH, 1 - 0.28 / height, picture.title, color=INK, fontsize=11.5)
    figure.savefig(output, dpi=110)


def _strip(axis: Axes, picture: Picture) -> None:
    part = picture.end_s / len(picture.strip)
    for place, pixels in enumerate(picture.strip):
        extent = (place * part, (place + 1) * part, 0, 1)
        axis.imshow(
            _cropped(pixels, picture.aspect), extent=extent, aspect="auto", interpolation="antialiased"
        )
    for edge in range(1, len(picture.strip)):
        axis.axvline(edge * part, color="white", linewidth=1)
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    _marks(axis, picture.cuts_s, 1.09, INK)
    axis.set_ylabel("video\n▾ cuts", color=INK)
    _frameless(axis)


def _cropped(pixels: U8, aspect: float) -> U8:
    """The middle of a picture whose sides would not fit; pixels are square as stored, whatever the aspect."""
    columns = pixels.shape[1]
    away = round(columns * (1 - min(1.0, WIDEST / aspect)) / 2)
    return pixels[:, away : columns - away]


def _spectrogram(axis: Axes, picture: Picture) -> None:
    axis.imshow(
        by_octaves(picture.samples),
        origin="lower",
        extent=(0, picture.end_s, 0, np.log2(HIGHEST_HZ / LOWEST_HZ)),
        aspect="auto",
        cmap="magma",
        interpolation="bilinear",
    )
    axis.set_yticks(
        [float(np.log2(hz / LOWEST_HZ)) for hz in OCTAVES_HZ],
        [f"{hz // 1000}k" if hz >= 1000 else str(hz) for hz in OCTAVES_HZ],
    )
    _marks(axis, picture.onsets_s, 0.98, "white")
    _lines(axis, picture.cuts_s, "white")
    axis.set_ylabel("music (Hz)\n▾ onsets", color=INK)
    _frameless(axis)


def by_octaves(samples: F32) -> F32:
    """Decibels below the loudest, [ROWS, frames], rows at equal intervals of pitch."""
    mel = librosa.feature.melspectrogram(
        y=samples,
        sr=SAMPLE_RATE,
        n_fft=FFT,
        win_length=WINDOW,
        hop_length=HOP,
        n_mels=MELS,
        fmin=LOWEST_HZ / 2,
        fmax=HIGHEST_HZ * 1.1,
    )
    level = librosa.power_to_db(mel, ref=np.max, top_db=RANGE_DB)
    hertz = librosa.mel_frequencies(n_mels=MELS + 2, fmin=LOWEST_HZ / 2, fmax=HIGHEST_HZ * 1.1)[1:-1]
    place = np.interp(np.geomspace(LOWEST_HZ, HIGHEST_HZ, ROWS), hertz, np.arange(MELS))
    below = np.minimum(place.astype(int), MELS - 2)
    share = (place - below)[:, None]
    return np.asarray(level[below] * (1 - share) + level[below + 1] * share, np.float32)


def _curves(axis: Axes, picture: Picture) -> None:
    """Motion as an area, onset rate as a line on an axis of its own."""
    times, motion = picture.motion.T
    axis.fill_between(times, motion, color=MOTION, alpha=0.25, linewidth=0)
    axis.plot(times, motion, color=MOTION, linewidth=1.4)
    axis.set_ylim(0, 1.05)
    axis.set_ylabel(picture.motion_is.replace(", ", "\n"), color=MOTION)
    axis.tick_params(axis="y", colors=MOTION)
    moments = np.arange(0, picture.end_s, RATE_EVERY_S)
    rate = onset_rate(picture.onsets_s, moments, picture.end_s)
    other = axis.twinx()
    other.plot(moments, rate, color=ONSETS, linewidth=1.8)
    other.set_ylim(0, max(4.0, 1.1 * float(rate.max())))
    other.set_ylabel("onsets a second", color=ONSETS)
    other.tick_params(axis="y", colors=ONSETS)
    _lines(axis, picture.cuts_s, QUIET)
    for each in (axis, other):
        _frameless(each)
    axis.tick_params(bottom=True)


def _marks(axis: Axes, moments_s: Sequence[float] | F64, height: float, colour: str) -> None:
    """A small triangle at each moment, at a share of the axis' height."""
    axis.plot(
        moments_s,
        np.full(len(moments_s), height),
        "v",
        color=colour,
        markersize=4.5,
        markeredgewidth=0,
        transform=axis.get_xaxis_transform(),
        clip_on=False,
    )


def _lines(axis: Axes, moments_s: Sequence[float], colour: str) -> None:
    for moment in moments_s:
        axis.axvline(moment, color=colour, linewidth=1.1, linestyle=(0, (4, 3)), alpha=0.8)


def _frameless(axis: Axes) -> None:
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.tick_params(bottom=False)


if __name__ == "__main__":
    main()
