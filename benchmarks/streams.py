"""`python -m benchmarks.streams --model starter`: what a step of several streams takes, together and one after another.

Streams of one model, each with its seed, are shown a video and advance in lock step, as a server's do. Together, the backend
reads its weights once for all; apart, each stream asks alone. A step is everything of a stream's step but its audio.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.asked import add_name_option, add_patience_option, positive
from benchmarks.models import add_effort_option, add_model_options, model_folder
from cuestream.measuring import Timing, Usage, wait_for_quiet
from engine.backends.native import on_cpu
from engine.backends.onnxruntime import OnnxBackend
from engine.batcher import advance_all
from engine.keys import Keys
from engine.library import recommended
from engine.stream import ScoreStream
from export.imagined import FRAME_STEPS, picture
from training.shell import in_one_line

COLUMNS = {
    "streams": "streams",
    "way": "way",
    "p50_ms": "p50 ms",
    "p95_ms": "p95",
    "p99_ms": "p99",
    "a_stream_ms": "p50 a stream",
    "real_time_factor": "RTF of all",
    "others_cores": "others",
}
WARM_UP_STEPS = 50
Advance = Callable[[Sequence[ScoreStream]], None]


def together(streams: Sequence[ScoreStream]) -> None:
    for raised in advance_all([(stream, 1) for stream in streams]):
        if raised is not None:
            raise raised


def apart(streams: Sequence[ScoreStream]) -> None:
    for stream in streams:
        stream.advance()


def measure(
    backend: OnnxBackend, folder: Path, count: int, advance: Advance, options: argparse.Namespace
) -> Timing:
    """Seconds of each step of all, and of the audio that is taken after it."""
    spec = backend.spec
    policy = recommended(folder, spec).at_effort(options.effort)
    keys = Keys.load(folder, spec.decoder.codebooks, spec.decoder.card)
    streams = [ScoreStream(backend, replace(policy, seed=seed), keys=keys) for seed in range(count)]
    seconds, usage = [], Usage.now()
    for step in range(options.steps + WARM_UP_STEPS):
        if step == WARM_UP_STEPS:
            usage = Usage.now()
        if step % FRAME_STEPS == 0:
            shown = picture(spec.vision.image_size, step, spec.code_rate, 0)
            for stream in streams:
                stream.push(shown)
        began = time.perf_counter()
        advance(streams)
        if step >= WARM_UP_STEPS:
            seconds.append(time.perf_counter() - began)
        for stream in streams:
            stream.take()
    return Timing(tuple(seconds), usage.others_until(Usage.now()), 0.0)


def rows(backend: OnnxBackend, folder: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for count in options.streams:
        for way, advance in (("apart", apart), ("together", together)):
            wait_for_quiet(options.patience)
            timing = measure(backend, folder, count, advance, options)
            yield {
                "streams": count,
                "way": way,
                **timing.row(),
                "a_stream_ms": round(timing.ms(50) / count, 3),
                "real_time_factor": round(float(np.mean(timing.seconds)) * backend.spec.code_rate, 3),
            }


@in_one_line()
def main() -> None:
    options = arguments()
    folder = model_folder(options)
    backend = on_cpu(folder, options.threads)
    table = list(rows(backend, folder, options))
    usual = report.result_name("streams", backend.manifest, options.effort.removeprefix("full"))
    path = report.result_path(options.name, usual)
    title = f"Streams in lock step: {backend.spec.name} {backend.manifest.label}, {options.threads} threads"
    facts = {"model": backend.spec.name, "precision": backend.manifest.label, "threads": options.threads}
    report.write(path, table, facts)
    report.print_table(title, COLUMNS, table)
    with suppress(ImportError):  # the picture needs the extra `plot`
        plot(table, title, path.with_suffix(".png"))
    print(f"wrote {path}")


def plot(table: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for way, colour in (("apart", "#c06c84"), ("together", "#29a19c")):
        mine = [row for row in table if row["way"] == way]
        for percent, style in (("p50_ms", "-"), ("p99_ms", ":")):
            axes.plot(
                [row["streams"] for row in mine],
                [row[percent] for row in mine],
                style,
                marker="o",
                markersize=3,
                color=colour,
                label=f"{way}, {percent.removesuffix('_ms')}",
            )
    axes.axhline(20, color="grey", linestyle="--", linewidth=1, label="a step of music")
    axes.set(xlabel="streams", ylabel="ms a step of all", ylim=(0, None), title=title)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    add_model_options(parser)
    add_effort_option(parser)
    parser.add_argument("--streams", type=positive, nargs="+", default=[1, 2, 3, 4, 6, 8])
    parser.add_argument(
        "--steps", type=positive, default=600, help="of each; the starter's second segment begins at 375"
    )
    add_patience_option(parser)
    add_name_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
