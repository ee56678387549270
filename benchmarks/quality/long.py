"""`python -m benchmarks.quality.long`: ten minutes without a stop. Do key, tempo or loudness drift, does it loop, do seams click?

The model plays for one long drawn video; beside it stands the composer's music for the same video through the codec. What the
picture asks for is in both, so a drift is what the difference of the two does over time.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import linregress

from benchmarks.asked import add_name_option
from benchmarks.quality.clips import (
    CODEC,
    OTHERS,
    STEPS_PER_S,
    Task,
    chunks,
    frames_of,
    measure_sounds,
    music,
)
from benchmarks.quality.hearing import FEATURES, SAMPLE_RATE, WINDOW_S, Heard, hear
from benchmarks.quality.keys import keeps_key
from benchmarks.report import print_table, result_path, write
from cuestream.players import find_player

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

MINUTE = int(60 / WINDOW_S)
HOP = SAMPLE_RATE // STEPS_PER_S
LOOP_S = 8.0
"""A loop is looked for between stretches of this length."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="starter", help="a name or a folder")
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--videos", type=int, default=2)
    add_name_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for video in range(OTHERS + 500, OTHERS + 500 + options.videos):
        steps = options.minutes * 60 * STEPS_PER_S
        samples, seams = played(options.model, video, steps)
        truth = Task(CODEC, video, 0, steps)
        measure_sounds([truth])
        written = music(truth)
        rows.append(
            {
                "video": video - OTHERS,
                **judged(hear(samples), hear(written)),
                "in_key": round(keeps_key(samples), 2),
                "in_key_truth": round(keeps_key(written), 2),
                **clicks(samples, seams),
            }
        )
    print_table(
        f"{options.model}: {options.minutes} minutes without a stop",
        {"video": "video", "loudness_drift": "loudness, dB/min", "onset_drift": "onsets/s a min",
         "in_key": "in key", "in_key_truth": "(truth)", "longest_silence_s": "silence s",
         "loop": "loop", "loop_truth": "(truth)", "seams": "seams", "seam_flux": "flux at seams",
         "seam_jump": "jump at seams"},
        rows,
    )  # fmt: skip
    path = result_path(options.name, f"quality-{Path(options.model).name}-long")
    write(path, rows, {"minutes": options.minutes})
    print(f"wrote {path}")


def played(model: str, video: int, steps: int) -> tuple[F32, list[int]]:
    """Samples, and the code frames that are the first with a code of the segment that took over."""
    player = find_player(model, threads=1)
    policy = replace(player.defaults, seed=0, chunk_steps=1)
    heard = list(chunks(player, policy, frames_of(video, steps, player.side), steps))
    delay = (
        player.backend.spec.decoder.codebooks - 1
    )  # the last codebook's, behind the first one that a chunk tells of
    seams = [
        after.first_sample // HOP - delay
        for before, after in pairwise(heard)
        if after.segment != before.segment
    ]
    return np.concatenate([chunk.samples for chunk in heard]), seams


def judged(made: Heard, truth: Heard) -> dict[str, Any]:
    """Drifts with their standard errors, and how alike the minutes are."""
    windows = min(len(made.windows), len(truth.windows))
    minutes = np.arange(windows) / MINUTE
    row: dict[str, Any] = {}
    for name, feature in (("loudness_drift", "loudness"), ("onset_drift", "onsets")):
        k = FEATURES.index(feature)
        line = linregress(minutes, made.windows[:windows, k] - truth.windows[:windows, k])
        row[name] = f"{line.slope:+.2f} ± {2 * line.stderr:.2f}"
    gaps = np.diff(made.onsets_s)
    return row | {
        "longest_silence_s": round(float(gaps.max()), 1),
        "loop": round(alike(made), 3),
        "loop_truth": round(alike(truth), 3),
    }


def alike(heard: Heard) -> float:
    """Mean over stretches of the largest correlation of their features with those of another stretch further on."""
    each = int(LOOP_S / WINDOW_S)
    scaled = (heard.windows - heard.windows.mean(0)) / (heard.windows.std(0) + 1e-9)
    rows = np.column_stack((scaled, 3 * heard.chroma.T / heard.chroma.sum(0)[:, None]))
    count = len(rows) // each
    stretches = rows[: count * each].reshape(count, -1)
    stretches = stretches - stretches.mean(0)
    stretches /= np.linalg.norm(stretches, axis=1, keepdims=True) + 1e-9
    same = stretches @ stretches.T - 2 * np.eye(count)
    return float(same.max(1).mean())


def clicks(samples: F32, seams: list[int]) -> dict[str, Any]:
    """Change of the spectrum and jump of the waveform at seams, as percentiles among all code frames; a click is near 100."""
    frames = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
    spectra = np.log(np.abs(np.fft.rfft(frames * np.hanning(HOP).astype(np.float32), axis=1)) + 1e-4)
    flux = np.concatenate(([0.0], np.abs(np.diff(spectra, axis=0)).mean(1)))
    jump = np.concatenate(([0.0], np.abs(frames[1:, 0] - frames[:-1, -1])))
    inside = [seam for seam in seams if seam < len(flux)]

    def place(values: F64) -> float:
        return round(float(np.mean([(values < values[seam]).mean() * 100 for seam in inside])), 1)

    return {"seams": len(inside), "seam_flux": place(flux), "seam_jump": place(jump)}


if __name__ == "__main__":
    main()
