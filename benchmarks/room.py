"""`python -m benchmarks.room`: the real-time factor of a live stream over the context at a hand-over and the short-term window.

A longer context means that two segments play for more of the time; a longer window, that every step attends to more frames.
Steps are measured with one segment and with two, each half full, which it is on average in both cases; all other parts are those
of one stream that plays.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.asked import add_name_option, add_patience_option, duration, positive
from benchmarks.models import add_model_options, model_folder
from benchmarks.step import engine_steps
from cuestream import measuring
from cuestream.bench import STEP, bench
from cuestream.cases import Case
from engine.backends.native import on_cpu
from engine.backends.onnxruntime import OnnxBackend
from engine.library import recommended
from engine.segments import context_steps
from engine.sight import window_slots
from engine.spec import StreamPolicy
from training.shell import in_one_line

COLUMNS = {
    "context_s": "context s",
    "short_term_s": "window s",
    "one_ms": "one segment ms",
    "two_ms": "two ms",
    "two_share": "two, of the time",
    "step_ms": "mean step ms",
    "rest": "RTF of the rest",
    "real_time_factor": "RTF",
}


def step_ms(backend: OnnxBackend, case: Case, options: argparse.Namespace) -> float:
    def attempt() -> measuring.Timing:
        return measuring.measure(
            engine_steps(backend, case, options.repeats + measuring.WARM_UP), options.repeats
        )

    return measuring.measure_quietly(attempt, options.patience).ms(50)


def rows(
    backend: OnnxBackend, policy: StreamPolicy, rest: float, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    spec = backend.spec
    known = dict[Case, float]()
    for context_s, window_s in product(options.contexts, options.windows):
        at = replace(policy, context_s=context_s, short_term_s=window_s)
        context, frames = context_steps(spec, at), window_slots(spec, at)
        share = context / (spec.trained_steps - context)
        one, two = (Case(policy.guided, spec.trained_steps // 2, frames, segments) for segments in (1, 2))
        for case in (one, two):
            known[case] = known.get(case) or step_ms(backend, case, options)
        mean = known[one] * (1 - share) + known[two] * share
        yield {
            "context_s": context_s,
            "short_term_s": window_s,
            "one_ms": round(known[one], 2),
            "two_ms": round(known[two], 2),
            "two_share": round(share, 3),
            "step_ms": round(mean, 2),
            "rest": round(rest, 3),
            "real_time_factor": round(mean / 1e3 * spec.code_rate + rest, 3),
        }


@in_one_line()
def main() -> None:
    options = arguments()
    folder = model_folder(options)
    backend = on_cpu(folder, options.threads)
    changes = {
        "encode_every_steps": options.encode_every,
        "refresh_every_steps": options.refresh_every,
        "chunk_steps": options.chunk_steps,
        "short_term_s": options.windows[0],
    }
    policy = replace(recommended(folder, backend.spec), **changes)
    played = bench(folder, options.music_s, options.threads, policy)
    rest = sum(part.real_time_factor for part in played.parts if part.name != STEP)
    table = list(rows(backend, policy, rest, options))
    facts = {
        "model": backend.spec.name,
        "precision": backend.manifest.label,
        "policy": changes,
        "parts": [asdict(part) for part in played.parts],
    }
    path = report.result_path(options.name, report.result_name("room", backend.manifest))
    title = f"Context and window: {backend.spec.name} {backend.manifest.label}, {options.threads} threads"
    report.write(path, table, facts)
    report.print_table(title, COLUMNS, table)
    with suppress(ImportError):  # the picture needs the extra `plot`
        plot(table, title, path.with_suffix(".png"))
    print(f"wrote {path}")


def plot(table: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    for window in dict.fromkeys(row["short_term_s"] for row in table):
        mine = [row for row in table if row["short_term_s"] == window]
        x, y = ([row[key] for row in mine] for key in ("context_s", "real_time_factor"))
        axes.plot(x, y, marker="o", markersize=3, label=f"window of {window:g} s")
    axes.axhline(1, color="grey", linestyle="--", linewidth=1)
    axes.set(
        xlabel="context at a hand-over, s",
        ylabel="seconds of compute for a second of music",
        ylim=(0, None),
        title=title,
    )
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.room", description=__doc__)
    add_model_options(parser)
    parser.add_argument("--contexts", type=duration, nargs="+", default=[5, 7.5, 10, 15], help="seconds")
    parser.add_argument("--windows", type=duration, nargs="+", default=[5, 10, 20, 30], help="seconds")
    parser.add_argument(
        "--encode-every", type=positive, default=25, help="steps between two frames that are looked at"
    )
    parser.add_argument(
        "--refresh-every",
        type=positive,
        default=25,
        help="steps between two stale frames that are fused again",
    )
    parser.add_argument("--chunk-steps", type=positive, default=10)
    parser.add_argument(
        "--music-s", type=duration, default=12, help="that is played to measure all parts but the step"
    )
    parser.add_argument("--repeats", type=positive, default=30)
    add_patience_option(parser)
    add_name_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
