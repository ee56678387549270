"""`python -m benchmarks.quality.energy`: onsets a second by `energy`, and how soon a change of it is heard.

Held-out drawn videos, each played at every energy; then each again, with an energy that turns over in the middle.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.asked import add_name_option
from benchmarks.quality.clips import HELD_OUT, STEPS_PER_S, Task, frames_of, music, played
from benchmarks.quality.hearing import SAMPLE_RATE, hear
from benchmarks.report import print_table, result_path, write
from cuestream.players import find_player

F64 = NDArray[np.float64]

ENERGIES = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
CALM, LIVELY = -0.8, 0.8
SHOWN_S = 5
"""Before and after the change."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="starter", help="a name or a folder")
    parser.add_argument("--videos", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=20)
    add_name_option(parser)
    options = parser.parse_args()
    videos, steps = range(HELD_OUT, HELD_OUT + options.videos), options.seconds * STEPS_PER_S
    rates = [[onset_rate(options.model, video, energy, steps) for energy in ENERGIES] for video in videos]
    by_energy = [
        {"energy": energy, "onsets_per_s": round(float(found.mean()), 2), "std": round(float(found.std()), 2)}
        for energy, found in zip(ENERGIES, np.transpose(rates), strict=True)
    ]
    seconds = [f"{second:+d}" for second in range(-SHOWN_S, SHOWN_S)]
    turns = [
        {"from": before, "to": after}
        | dict(zip(seconds, mean_turn(options.model, videos, before, after).round(1).tolist(), strict=True))
        for before, after in ((CALM, LIVELY), (LIVELY, CALM))
    ]
    print_table(
        f"{options.model}: onsets a second by energy, {options.videos} videos of {options.seconds} s",
        {"energy": "energy", "onsets_per_s": "onsets/s", "std": "std over videos"},
        by_energy,
    )
    print_table(
        "onsets a second, by seconds from a change",
        {"from": "from", "to": "to"} | {second: second for second in seconds},
        turns,
    )
    path = result_path(options.name, f"quality-{Path(options.model).name}-energy")
    write(path, [*by_energy, *turns], {"videos": options.videos, "seconds": options.seconds})
    print(f"wrote {path}")


def onset_rate(model: str, video: int, energy: float, steps: int) -> float:
    """Onsets a second of one piece."""
    samples = music(Task(model, video, 1, steps, (("energy", energy),)))
    return len(hear(samples).onsets_s) / (len(samples) / SAMPLE_RATE)


def mean_turn(model: str, videos: Sequence[int], before: float, after: float) -> F64:
    """Onsets of each second around a change in the middle of `4 * SHOWN_S` seconds, means over videos."""
    found = [onsets_around(model, video, before, after) for video in videos]
    mean: F64 = np.mean(found, 0)
    return mean


def onsets_around(model: str, video: int, before: float, after: float) -> NDArray[np.int64]:
    player = find_player(model, threads=1)
    policy = replace(player.defaults, seed=1, energy=before)
    turn, end = 2 * SHOWN_S * STEPS_PER_S, 4 * SHOWN_S * STEPS_PER_S
    frames = frames_of(video, end, player.side)
    samples = played(player, policy, frames, end, {turn: replace(policy, energy=after)})
    counts: NDArray[np.int64] = np.histogram(hear(samples).onsets_s, np.arange(SHOWN_S, 3 * SHOWN_S + 1))[0]
    return counts


if __name__ == "__main__":
    main()
