"""`python -m benchmarks.latency`: how soon music is heard, how late it comes, and how old the picture in it is.

`cuestream serve` runs in a process of its own, paced listeners in others. First `--starts` sessions come one after another, for
the time to first audio; then `--sessions` play at once for `--seconds`. "Sent" is when a picture was written to the socket,
"came" when the bytes of the sound were in the listener's hand; everything is on one machine, over loopback, on one clock.
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.asked import add_name_option, duration, lasting, positive
from benchmarks.latency import figures
from benchmarks.latency.limits import physical_limits
from benchmarks.latency.listener import Plan
from benchmarks.latency.load import Loaded, play_in_turn, play_together, scene
from benchmarks.latency.picture import draw
from benchmarks.latency.served import ENCODE, LAG, OVERHEAD, Seen, Served, serving
from cuestream import measuring
from cuestream.players import SYNTHETIC
from training.shell import in_one_line

COLUMNS = {
    "figure": "figure",
    "count": "of",
    "p50_ms": "p50 ms",
    "p95_ms": "p95",
    "p99_ms": "p99",
    "max_ms": "max",
}
DARK, BRIGHT = 50, 205
BETWEEN_S = 0.0531
"""Sessions that begin together do so by so much apart: nobody presses Start at once, nor in step with the chunks."""
MODEL_HELP = (
    "as for cuestream serve; synthetic is the floor; host-only and host-paced have a GPU that does nothing"
)
LASTS_S = 60.0
FRESH_S, APART_S = 0.2, 0.1
"""How long a session of the first part plays, and the pause behind it."""


@in_one_line()
def main() -> None:
    options = arguments()
    limits = physical_limits(options.model, options.lead_ms, options.chunk_ms)
    plan = Plan(
        "",
        options.fps,
        options.format,
        options.warm_up + options.seconds,
        scene(DARK),
        scene(BRIGHT),
        options.buffer / 1000,
        0.0,
        options.model == SYNTHETIC and options.format == "pcm_s16",
    )
    more = ("--provider", options.provider, "--lead-ms", str(options.lead_ms))
    more += ("--most-busy", str(options.most_busy))
    with serving(options.model, options.sessions + 1, options.threads, options.chunk_ms, *more) as served:
        plan = replace(plan, url=served.url)
        fresh = play_one_after_another(plan, options.starts)
        paced = play_paced(served, plan, options)
    rows, facts = results(fresh, *paced, limits, options)
    report.print_table(title(options), COLUMNS, rows)
    for name, value in facts.items():
        print(f"{name}: {value}")
    path = report.result_path(options.name, default_name(options))
    report.write(path, rows, {**played_by(options.provider), **vars(options), **facts})
    with suppress(ImportError):  # the picture needs the extra `plot`
        draw(paced[0].heard, options.warm_up, title(options), path.with_suffix(".png"))
    print(f"wrote {path}")


def played_by(provider: str) -> dict[str, Any]:
    """The machine is in every result; of a GPU's provider the GPU, too."""
    return {} if provider == "cpu" else report.device()


def default_name(options: argparse.Namespace) -> str:
    """Of the model, a folder by its name, and of what is not as it comes."""
    provider, sent = options.provider.removeprefix("cpu"), options.format.removeprefix("pcm_s16")
    apart = filter(None, (provider, sent, lasting(options.seconds, LASTS_S)))
    return "-".join(("latency", model_name(options), str(options.sessions), *apart))


def model_name(options: argparse.Namespace) -> str:
    return Path(options.model).resolve().name


def title(options: argparse.Namespace) -> str:
    sessions = f"{options.sessions} session{'s' * (options.sessions > 1)}"
    return f"Latency: {model_name(options)}, {sessions}, {options.fps:g} pictures a second, {options.format}"


def play_one_after_another(plan: Plan, starts: int) -> Loaded:
    """A session that was never there before, so many times; the first one warms up."""
    loaded = play_in_turn([replace(plan, seconds=FRESH_S)] * (starts + 1), APART_S)
    return replace(loaded, heard=loaded.heard[1:])


def play_paced(served: Served, plan: Plan, options: argparse.Namespace) -> tuple[Loaded, Seen, float]:
    """The listeners, what the server used meanwhile, and the cores that others used."""
    begins_s = time.monotonic() + 2 + 0.01 * options.sessions
    plans = [replace(plan, begins_s=begins_s + i * BETWEEN_S) for i in range(options.sessions)]
    usage, before = measuring.Usage.now(), served.look()
    loaded = play_together(plans, options.processes)
    seen, ended = served.look().since(before), measuring.Usage.now()
    busy = usage.others_until(ended) - (seen.cpu_s + loaded.cpu_s) / (ended.clock - usage.clock)
    return loaded, seen, max(0.0, busy)


def results(
    fresh: Loaded,
    paced: Loaded,
    seen: Seen,
    others: float,
    limits: dict[str, Any],
    options: argparse.Namespace,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    alone = {
        **figures.spread("", figures.first_audio(fresh.heard)),
        "figure": "first audio, one after another",
    }
    server = [
        {
            "figure": name,
            "p50_ms": seen.ms(key, 0.5),
            "p95_ms": seen.ms(key, 0.95),
            "p99_ms": seen.ms(key, 0.99),
        }
        for name, key in (("server: overhead of a chunk, at most", OVERHEAD), ("server: encoding it", ENCODE))
    ]
    lag = {"figure": "server: lateness of its loop", "p99_ms": seen.ms(LAG, 0.99)}
    facts = {
        **figures.shares(paced.heard, options.warm_up),
        "server_cores": round(seen.cpu_s / seen.at_s, 2),
        "server_by_part": seen.by_part(),
        "server_peak_rss_mb": round(seen.rss_mb),
        "listeners_cores": round(paced.cpu_s / seen.at_s, 2),
        "others_cores": round(others, 2),
        "load_1min": round(os.getloadavg()[0], 2),
        "fresh_errors": sorted({each.error for each in fresh.heard if each.error}),
        "model": model_name(options),
        "limits": limits,
    }
    return [alone, *figures.summary(paced.heard, options.warm_up), *server, lag], facts


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--model", default="starter", help=MODEL_HELP)
    parser.add_argument("--sessions", type=positive, default=1, help="that play at once")
    parser.add_argument("--seconds", type=duration, default=LASTS_S, help="that count, behind the warm-up")
    parser.add_argument("--warm-up", type=float, default=5, help="seconds that do not count")
    parser.add_argument("--starts", type=positive, default=40, help="fresh sessions, one after another")
    parser.add_argument("--fps", type=float, default=12, help="pictures a second; the server asks for 12")
    parser.add_argument("--format", default="pcm_s16", choices=("pcm_s16", "pcm_f32", "opus", "flac"))
    parser.add_argument("--buffer", type=float, default=60, help="milliseconds that a listener holds back")
    parser.add_argument("--processes", type=positive, default=2, help="that the listeners are spread over")
    parser.add_argument("--threads", type=int, default=0, help="of the engine, as for cuestream serve")
    parser.add_argument("--provider", default="cpu", help="as for cuestream serve")
    parser.add_argument("--lead-ms", type=int, default=340, help="as for cuestream serve")
    parser.add_argument("--chunk-ms", type=int, default=20, help="as for cuestream serve")
    parser.add_argument("--most-busy", type=float, default=0.6, help="as for cuestream serve")
    add_name_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
