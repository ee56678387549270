"""A picture of a run: how late chunks came, and how soon a picture was answered, as shares of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.latency import figures
from benchmarks.latency.listener import Heard

INK, ACCENT, QUIET = "#1b1f3b", "#e4572e", "#8d99ae"


def draw(heard: Sequence[Heard], warm_up_s: float, title: str, path: Path) -> None:
    """Raises ImportError without matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kept = [
        (rows, figures.answer_delays(each, rows))
        for each in heard
        if len(rows := figures.after(each, warm_up_s))
    ]
    if not kept:
        return
    late = np.concatenate([rows[:, figures.LATE] for rows, _ in kept])
    answers = np.concatenate([delays for _, delays in kept])
    age = np.concatenate([figures.ages(rows) for rows, _ in kept])
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for bound in figures.LATE_MS:
        left.axvline(bound, color=QUIET, linewidth=0.6)
    _shares(left, late, INK, "chunks")
    left.set_xlabel("lateness of a chunk (ms)")
    left.set_ylabel("share that is later")
    left.set_yscale("log")
    _shares(right, answers, ACCENT, "picture sent, first chunk that knew it")
    _shares(right, age, INK, "age of the picture when heard")
    right.set_xlabel("ms")
    for axis in (left, right):
        axis.legend(loc="best", fontsize=8, frameon=False)
    figure.suptitle(title, color=INK)
    figure.savefig(path, dpi=120)


def _shares(axis: object, values_s: np.ndarray, colour: str, label: str) -> None:
    """The share of values above each."""
    values = np.sort(values_s) * 1e3
    share = 1 - np.arange(1, len(values) + 1) / (len(values) + 1)
    axis.step(values, share, where="post", color=colour, label=label)  # type: ignore[attr-defined]
