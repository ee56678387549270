"""A picture of a scored video: its strip, the music's waveform and spectrogram, cuts, window, memory and age of the picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import MediaError, MissingRuntime
from engine.media.audio import SAMPLE_RATE_OUT, read_stereo
from engine.media.video import VideoInfo, VideoReader

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Records = list[dict[str, Any]]

THUMBNAILS = 16
THUMBNAIL_SIDE = 96
FFT = 1024
INK, ACCENT, QUIET = "#1b1f3b", "#e4572e", "#8d99ae"


def plot(output: Path, video: Path, music: Path, records: Records, info: VideoInfo, label: str = "") -> None:
    """Write the picture; its kind (png, svg, pdf) follows the ending.

    label: what the title says of the music. Raises MissingRuntime without matplotlib.
    """
    end_s = max(r["start_s"] + r["duration_s"] for r in records)
    figure = new_figure(12, 8)
    axes = figure.subplots(5, 1, sharex=True, height_ratios=[1.1, 1, 2, 1.6, 1])
    _strip(axes[0], video, end_s)
    samples = np.concatenate([block[0] for block in read_stereo(music)])
    _waveform(axes[1], samples)
    _spectrogram(axes[2], samples)
    _memory(axes[3], records)
    _age(axes[4], records)
    for axis in axes:
        for cut in _cuts(records):
            axis.axvline(cut, color=ACCENT, linewidth=0.8)
        axis.set_xlim(0, end_s)
    axes[-1].set_xlabel("time (s)")
    name = os.fsencode(info.path.name).decode(errors="replace")
    title = f"{name}: the picture, its music, and what the engine held"
    figure.suptitle(f"{title}\n{label}" if label else title, color=INK, parse_math=False)
    save(figure, output)


def check_plot(output: Path) -> None:
    """Raises MissingRuntime without matplotlib, and MediaError where the ending is none of a picture."""
    if output.suffix.lower().removeprefix(".") not in new_figure(1, 1).canvas.get_supported_filetypes():
        found = output.suffix or "none"
        raise MediaError(f"{output}: expected the ending of a picture, .png .svg or .pdf, found {found}")


def new_figure(width: float, height: float) -> Figure:
    """Inches. Raises MissingRuntime without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingRuntime(
            "--plot needs matplotlib; install the extra: pip install 'cuestream[plot]'"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, output: Path) -> None:
    """Its kind (png, svg, pdf) follows the ending. Raises MediaError when it cannot be written."""
    try:
        figure.savefig(output, dpi=120)
    except (OSError, ValueError) as error:
        raise MediaError(f"{output}: cannot be written as a picture: {error}") from error


def _cuts(records: Records) -> list[float]:
    return [cut for record in records for cut in record.get("cuts_s", [])]


def _strip(axis: Axes, video: Path, end_s: float) -> None:
    step = end_s / THUMBNAILS
    due = [0]

    def wanted(_index: int, time_s: float) -> bool:
        if time_s < due[0] * step:
            return False
        due[0] += 1
        return True

    for place, frame in enumerate(VideoReader(video, THUMBNAIL_SIDE, wanted)):
        axis.imshow(frame.pixels, extent=(place * step, (place + 1) * step, 0, 1), aspect="auto")
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    axis.set_ylabel("video")


def _waveform(axis: Axes, samples: NDArray[np.float32]) -> None:
    columns = max(1, len(samples) // 2000)
    usable = samples[: len(samples) // columns * columns].reshape(-1, columns)
    at = np.arange(len(usable)) * columns / SAMPLE_RATE_OUT
    axis.fill_between(at, usable.min(1), usable.max(1), color=INK, linewidth=0)
    axis.set_ylabel("music")


def _spectrogram(axis: Axes, samples: NDArray[np.float32]) -> None:
    padded = np.pad(samples, (0, max(0, FFT - len(samples))))
    axis.specgram(padded, NFFT=FFT, Fs=SAMPLE_RATE_OUT, noverlap=FFT // 2, cmap="magma", vmin=-140)
    axis.set_ylim(0, 16_000)
    axis.set_ylabel("Hz")


def _memory(axis: Axes, records: Records) -> None:
    """Which moments of the video the engine held, over time: long-term memory, and the short-term window."""
    stride = max(1, len(records) // 400)
    kinds = (("memory_s", QUIET, 24, "long-term memory"), ("window_s", INK, 3, "short-term window"))
    for name, colour, size, label in kinds:
        points = np.array([(r["start_s"], held) for r in records[::stride] for held in r[name]])
        if len(points):
            axis.scatter(points[:, 0], points[:, 1], s=size, color=colour, label=label, linewidth=0)
    axis.set_ylabel("moments\nheld (s)")
    axis.legend(loc="upper left", fontsize=8, frameon=False)


def _age(axis: Axes, records: Records) -> None:
    aged = [(r["start_s"], 1000 * r["age_s"]) for r in records if "age_s" in r]
    if aged:
        axis.step(*zip(*aged, strict=True), color=INK, where="post")
    else:
        axis.text(0.5, 0.5, "the whole video was in view", ha="center", transform=axis.transAxes, color=QUIET)
    axis.set_ylabel("age of the\npicture (ms)")
