"""`python -m benchmarks.trace --model starter`: every decoder step of minutes of a stream, across hand-overs of its segments.

A stream is shown a seeded video and plays each step when it is due, or with `--fast` as fast as it goes. The picture shows how
long each step took; where the line below is dark two segments play, and each of its ends is a hand-over.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks import report
from benchmarks.asked import add_name_option, duration, lasting
from benchmarks.models import add_effort_option, add_model_options, model_folder
from cuestream.bench import Bench, bench
from engine.backends.manifest import Manifest
from training.shell import in_one_line

STRETCH = 500
"""Steps, ten seconds of music: a shared machine changes its speed from minute to minute, which is not the program's doing."""
AROUND = 25
"""Steps before and behind a hand-over that would show what it costs."""
LASTS_S = 600.0
FLOOR_S = 20.0
"""How long the machine alone is looked at, before the stream and after it."""
COLUMNS = {
    "segments": "segments",
    "steps": "steps",
    "mb_a_step": "MB/step",
    "p50_ms": "p50 ms",
    "p99_ms": "p99",
    "p99_over_p50": "p99/p50",
    "of_roof": "of roof",
}


@in_one_line()
def main() -> None:
    options = arguments()
    folder = model_folder(options)
    floors = [floor()]
    found = bench(folder, options.seconds, options.threads, paced=not options.fast, effort=options.effort)
    floors.append(floor())
    rows = [asdict(roof) for roof in found.roofs]
    ms = np.array(found.step_ms)
    facts = {
        "model": found.model,
        "precision": found.precision,
        "music_s": found.music_s,
        "paced": not options.fast,
        "others_cores": found.others_cores,
        "roof_gb_s": found.bandwidth.best_gb_s,
        "p99_over_p50": found.p99_over_p50,
        "machine_p99_over_p50": floors,
        **steadiness(ms, np.array(found.segments)),
        "percentiles_ms": {p: round(float(np.percentile(ms, p)), 3) for p in (1, 50, 90, 95, 99, 99.9, 100)},
        "parts": [asdict(part) for part in found.parts],
    }
    apart = ("fast" * options.fast, options.effort.removeprefix("full"), lasting(options.seconds, LASTS_S))
    path = report.result_path(options.name, report.result_name("trace", Manifest.read(folder), *apart))
    title = (
        f"Decoder steps: {found.model} {found.precision}, {found.music_s:g} s, p99/p50 {found.p99_over_p50:g}"
    )
    report.write(path, rows, facts)
    report.print_table(title, COLUMNS, rows)
    kept = (
        "machine_p99_over_p50",
        "hand_overs",
        "within_ten_seconds",
        "around_hand_overs",
        "percentiles_ms",
        "others_cores",
    )
    print({key: facts[key] for key in kept})
    with suppress(ImportError):  # the picture needs the extra `plot`
        plot(found, title, path.with_suffix(".png"))
    print(f"wrote {path}")


def floor(seconds: float = FLOOR_S) -> float:
    """p99/p50 of what depends on nothing: the same arithmetic again and again, 1 to 2 ms of it in the first cache, by one thread.
    No step on this machine can be steadier, and one by two threads waits for the slower of them."""
    numbers = np.linspace(1, 2, 2048, dtype=np.float32)
    taken, until_s = [], perf_counter() + seconds
    while (began_s := perf_counter()) < until_s:
        for _ in range(1000):
            np.sqrt(numbers, out=numbers)
        taken.append(perf_counter() - began_s)
    return round(float(np.percentile(taken, 99) / np.percentile(taken, 50)), 3)


def steadiness(ms: np.ndarray, segments: np.ndarray) -> dict[str, float | int | None]:
    """ms, segments: of each step [n]. A hand-over is where one segment plays on alone, or where the next follower begins at once.

    within_ten_seconds: the median p99/p50 of stretches. around_hand_overs: p99 of the steps there over p50 of all, None without.
    """
    stretches = [ms[at : at + STRETCH] for at in range(0, len(ms) - STRETCH + 1, STRETCH)] or [ms]
    over = [np.percentile(stretch, 99) / np.percentile(stretch, 50) for stretch in stretches]
    changes = np.flatnonzero(np.diff(segments) < 0) + 1
    there = np.zeros(len(ms), bool)
    for at in changes:
        there[max(0, at - AROUND) : at + AROUND] = True
    around = float(np.percentile(ms[there], 99) / np.percentile(ms, 50)) if len(changes) else None
    return {
        "hand_overs": len(changes),
        "within_ten_seconds": round(float(np.median(over)), 3),
        "around_hand_overs": None if around is None else round(around, 3),
    }


def plot(found: Bench, title: str, path: Path) -> None:
    from matplotlib.figure import Figure

    ms, segments = np.array(found.step_ms), np.array(found.segments)
    at = np.arange(len(ms)) / (len(ms) / found.music_s)
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(at, ms, ".", markersize=1.2, alpha=0.5, color="#4f7cac")
    for percent, style in ((50, "-"), (99, "--")):
        axes.axhline(
            np.percentile(ms, percent), linestyle=style, color="#e4572e", linewidth=1, label=f"p{percent}"
        )
    axes.fill_between(
        at,
        0,
        0.03,
        where=segments == 2,
        transform=axes.get_xaxis_transform(),
        color="black",
        label="two segments",
    )
    axes.set(
        ylim=(0, np.percentile(ms, 99.9) * 1.3), xlabel="seconds of music", ylabel="ms a step", title=title
    )
    axes.legend(fontsize=8, loc="upper right")
    figure.savefig(path, dpi=120)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trace", description=__doc__)
    add_model_options(parser)
    add_effort_option(parser)
    parser.add_argument("--seconds", type=duration, default=LASTS_S)
    parser.add_argument("--fast", action="store_true", help="do not wait for a step to be due")
    add_name_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
