"""`python -m benchmarks.quality`: the starter model's gate. Prints a table, writes `quality-MODEL.json` and pictures.

Contenders: the model (three seeds), the procedural composer live, the composer's music through the codec (the ceiling), and the
model's music beside the wrong video (chance).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.asked import add_name_option
from benchmarks.quality import measures as by
from benchmarks.quality.clips import (
    CODEC,
    HELD_OUT,
    OTHERS,
    STEPS_PER_S,
    TRUTH,
    Task,
    measure_sounds,
)
from benchmarks.quality.making import OUT, make, wav_of
from benchmarks.quality.musicnn import Embedding
from benchmarks.quality.pictures import draw, of_clip
from benchmarks.report import print_table, result_path, write
from cuestream.players import PROCEDURAL, find_player

GATE = {"follows motion, r": 0.5, "cuts answered": 0.25, "R@3 of 12": 0.62, "Fréchet, x codec": 2.5}
"""What the trained model must reach; the Fréchet distance must not exceed its figure."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="starter", help="a name or a folder")
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--policy", type=json.loads, default={}, help="changes to the policy, as JSON")
    parser.add_argument(
        "--pictures", type=int, default=4, help="clips that are drawn as out/quality/MODEL/VIDEO-SEED.png"
    )
    add_name_option(parser)
    options = parser.parse_args()
    if options.clips < by.GROUP:
        parser.error(f"--clips must be at least {by.GROUP}: the right video is looked for among so many")
    steps, policy = options.seconds * STEPS_PER_S, tuple(sorted(options.policy.items()))
    tasks = {
        "model": [
            Task(options.model, HELD_OUT + i, seed, steps, policy)
            for seed in range(options.seeds)
            for i in range(options.clips)
        ],
        PROCEDURAL: [Task(PROCEDURAL, HELD_OUT + i, 0, steps) for i in range(options.clips)],
        CODEC: [Task(CODEC, HELD_OUT + i, 0, steps) for i in range(options.clips)],
        "fit": [Task(CODEC, OTHERS + i, 1, steps) for i in range(options.clips)],
        "reference": [Task(TRUTH, OTHERS + i, 1, steps) for i in range(options.clips)],
    }
    Embedding.load(OUT)
    measure_sounds([*tasks[CODEC], *tasks["fit"]])
    clips = {}
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
        for contender, wanted in tasks.items():
            clips[contender] = list(_with_progress(contender, pool.map(make, wanted), len(wanted)))
    rows = judged(clips)
    print_table(
        f"{options.model}: {options.clips} held-out videos of {options.seconds} s, {options.seeds} seeds",
        {"measure": "measure", "gate": "gate", "model": "model", "codec": "codec of the truth",
         PROCEDURAL: PROCEDURAL, "chance": "chance", "met": "met"},
        rows,
    )  # fmt: skip
    facts = {
        "model": Path(options.model).name,
        "clips": options.clips,
        "seeds": options.seeds,
        "seconds": options.seconds,
        "policy": options.policy,
    }
    path = result_path(options.name, f"quality-{Path(options.model).name}")
    write(path, rows, facts)
    print(f"wrote {path}")
    _draw([*zip(tasks["model"], clips["model"], strict=True)][: options.pictures])


def _with_progress(contender: str, made: Iterable[by.Clip], count: int) -> Iterable[by.Clip]:
    for done, clip in enumerate(made, 1):
        if done % 20 == 0 or done == count:
            print(f"{contender}: {done} of {count}", flush=True)
        yield clip


def _draw(made: Sequence[tuple[Task, by.Clip]]) -> None:
    """A picture beside the WAV of each."""
    for task, clip in made:
        wav, side = wav_of(task), find_player(task.contender, threads=1).side
        draw(of_clip(task, clip, wav, side), wav.with_suffix(".png"))
        print(wav.with_suffix(".png"))


def judged(clips: dict[str, list[by.Clip]]) -> list[dict[str, Any]]:
    """A row for each measure."""
    clips = clips | {"chance": by.exchanged(clips["model"])}
    contenders = ("model", CODEC, PROCEDURAL, "chance")
    readout = by.Readout.fit(clips["fit"])
    found = {name: by.mean_of(by.ranks(clips[name], readout)) for name in contenders}
    rows = [
        _row(
            "follows motion, r", {name: by.bootstrap(clips[name], by.follows_motion) for name in contenders}
        ),
        _row("cuts answered", {name: by.bootstrap(clips[name], by.cuts_answered) for name in contenders}),
        _row("R@3 of 12", {name: by.bootstrap(clips[name], found[name]) for name in contenders}),
        _frechet_row(clips),
    ]
    for name, part in (("cut hits", 0), ("their chance", 1)):
        rows.append(
            {"measure": name, **{c: f"{by.cut_hits(clips[c])[part]:.2f}" for c in contenders}},
        )
    for field in ("flatness", "chroma_entropy"):
        truth = [float(getattr(clip.heard, field)) for clip in clips["reference"]]
        row: dict[str, Any] = {"measure": field.replace("_", " ")}
        for name in contenders[:3]:
            mean, low, high = by.inside([float(getattr(c.heard, field)) for c in clips[name]], truth)
            row |= {name: f"{mean:.3f}", "gate": f"{low:.3f} to {high:.3f}"}
            if name == "model":
                row["met"] = low <= mean <= high
        rows.append(row)
    return rows


def _row(measure: str, figures: dict[str, by.Figure]) -> dict[str, Any]:
    shown = {name: str(figure) for name, figure in figures.items()}
    return {
        "measure": measure,
        "gate": f">= {GATE[measure]}",
        **shown,
        "met": bool(figures["model"].value >= GATE[measure]),
    }


def _frechet_row(clips: dict[str, list[by.Clip]]) -> dict[str, Any]:
    """Distance to other held-out music, each seed by itself, in units of what the codec alone costs."""
    from benchmarks.quality.distances import frechet, kernel_distance

    reference = by.embeddings(clips["reference"])
    unit = frechet(by.embeddings(clips[CODEC]), reference)
    kernels = {CODEC: kernel_distance(by.embeddings(clips[CODEC]), reference)}
    seeds = sorted({clip.seed for clip in clips["model"]})
    each = [_of_seed(clips["model"], seed) for seed in seeds]
    ratios = [frechet(by.embeddings(part), reference) / unit for part in each]
    kernels["model"] = float(np.mean([kernel_distance(by.embeddings(part), reference) for part in each]))
    kernels[PROCEDURAL] = kernel_distance(by.embeddings(clips[PROCEDURAL]), reference)
    ours = frechet(by.embeddings(clips[PROCEDURAL]), reference) / unit
    ratio = float(np.mean(ratios))
    return {
        "measure": "Fréchet, x codec",
        "gate": f"<= {GATE['Fréchet, x codec']}",
        "model": f"{ratio:.2f} [{min(ratios):.2f}, {max(ratios):.2f}]",
        CODEC: "1.00",
        PROCEDURAL: f"{ours:.2f}",
        "met": ratio <= GATE["Fréchet, x codec"],
        "kernel_distances": {name: round(value, 5) for name, value in kernels.items()},
        "codec_frechet": round(unit, 3),
    }


def _of_seed(clips: Sequence[by.Clip], seed: int) -> list[by.Clip]:
    return [clip for clip in clips if clip.seed == seed]


if __name__ == "__main__":
    main()
