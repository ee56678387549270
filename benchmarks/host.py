"""`python -m benchmarks.host`: what a tick of many listeners takes on the host, with a device whose work is done at once.

The streams, their batcher and the backend of a GPU (`engine.backends.lockstep`) are the real ones, and play as `cuestream bench
gpu` has it: five pictures a second for each listener, chunks of 100 ms. Every graph is made by doing its work once, and replaying
it does nothing: music and features are always the same, and what is left is Python and the arrays of the host. It is no
measurement of a GPU: launches, copies over the bus and waiting for the device cost nothing here. What would lie on the
device is narrow, so that this machine does not spend its time in copies that a GPU would make; pictures, columns, the codec and
its sound are as large as those of the published model.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks import report
from benchmarks.asked import add_name_option, add_patience_option, positive
from cuestream.gpu.setting import random_model
from cuestream.gpu.streams import CHUNK_S, Audience
from cuestream.measuring import Usage, wait_for_quiet
from engine import batcher
from engine.backends.captured import Graph
from engine.backends.lockstep import LockstepBackend
from engine.spec import ModelSpec, StreamPolicy
from engine.stream import ScoreStream
from export.random_model import published_spec

PARTS = {
    "show": "pictures are compared and put into mailboxes",
    "look": "what is asked for pictures",
    "look, arrays": "its arrays, to and from where the device reads and writes them",
    "ask": "what is asked for steps",
    "step, arrays": "its arrays",
    "hear": "columns that were drawn",
    "codec": "what is asked for chunks",
    "codec, arrays": "its arrays",
    "rest": "who is due, and the measuring itself",
}
COLUMNS = {
    "listeners": "listeners",
    "tick_p50_ms": "ms a tick, p50",
    "tick_p99_ms": "p99",
    "us_a_stream": "µs a stream",
}
JOINING_TICKS = 20
"""In which listeners join one after another, so that what is due at some of their steps is not due for all in one tick."""
WARM_UP_TICKS = 150
"""Before anything is measured: graphs are made, and windows of 10 s fill. Long-term memory changes with each slot still, so that
each held frame is stale and one is fused again every 100 ms; later it changes less often."""


class Still:
    """A graph that was replayed when it was made."""

    def replay(self) -> None:
        pass


class HostBackend(LockstepBackend):
    """As on a GPU, whose work is done before it is asked for."""

    def __init__(self, spec: ModelSpec, places: int) -> None:
        super().__init__(random_model(spec, "cpu"), "cpu", torch.float16, kept="int8", places=places)
        self._graphs = True

    def capture(self, work: Callable[[], Any]) -> tuple[Graph, Any]:
        return Still(), work()


def narrow_spec() -> ModelSpec:
    """Small, with one narrow layer of each kind before the codec, and one patch for a picture."""
    spec = published_spec("small")
    return replace(
        spec,
        name="narrow",
        vision=replace(spec.vision, width=12, layers=1, heads=3, mlp_width=12, patch_size=224),
        long_short=replace(spec.long_short, depth=1, heads=1, head_dim=16, mlp_width=12),
        decoder=replace(spec.decoder, width=32, layers=1, heads=2, ffn_width=32),
    )


class Spans:
    """CPU seconds of calls by part, each without those of another part that it makes."""

    def __init__(self) -> None:
        self.seconds = Counter[str]()
        self._others = [0.0]

    def of(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any, **named: Any) -> Any:
            self._others.append(0.0)
            began = time.thread_time()
            try:
                return call(*given, **named)
            finally:
                took = time.thread_time() - began
                self.seconds[part] += took - self._others.pop()
                self._others[-1] += took

        return noted

    @contextmanager
    def noted(self) -> Iterator[None]:
        """While this lasts, calls are noted."""
        answer_all = LockstepBackend.answer_all

        def answered(backend: LockstepBackend, asked: Any) -> Any:
            sounds = type(asked[0]).__module__.startswith("engine.codec")
            return self.of("codec, arrays" if sounds else "look, arrays", answer_all)(backend, asked)

        with (
            patch.object(LockstepBackend, "answer_all", answered),
            patch.object(LockstepBackend, "draw_all", self.of("step, arrays", LockstepBackend.draw_all)),
            patch.object(batcher, "look_all", self.of("look", batcher.look_all)),
            patch.object(ScoreStream, "ask", self.of("ask", ScoreStream.ask)),
            patch.object(ScoreStream, "hear", self.of("hear", ScoreStream.hear)),
            patch.object(Audience, "show", self.of("show", Audience.show)),
            patch.object(Audience, "step", self.of("rest", Audience.step)),
            patch.object(Audience, "take", self.of("codec", Audience.take)),
        ):
            yield


class Crowd:
    """So many listeners, by a clock that goes on by a tick at each tick."""

    def __init__(self, spec: ModelSpec, count: int, context_s: float) -> None:
        self.audience = Audience(HostBackend(spec, count), StreamPolicy(context_s=context_s))
        self._waiting = list(range(count))
        self._joining = -(-count // JOINING_TICKS)
        self._ticks = 0

    def tick(self) -> None:
        now_s = self._ticks * CHUNK_S
        self._ticks += 1
        for key in self._waiting[: self._joining]:
            self.audience.join(key, now_s)
        del self._waiting[: self._joining]
        self.audience.show(now_s)
        self.audience.take(self.audience.step(now_s), lambda: now_s)

    def ticks(self, count: int) -> Iterator[float]:
        """CPU seconds of each of so many: what others do on this machine counts little."""
        for _ in range(count):
            began = time.thread_time()
            self.tick()
            yield time.thread_time() - began


def measure(count: int, options: argparse.Namespace) -> dict[str, Any]:
    crowd, spans = Crowd(narrow_spec(), count, options.context_s), Spans()
    list(crowd.ticks(WARM_UP_TICKS))
    wait_for_quiet(options.patience)
    usage = Usage.now()
    took_ms = np.array(list(crowd.ticks(options.ticks))) * 1e3
    others = usage.others_until(Usage.now())
    with spans.noted():
        list(crowd.ticks(options.ticks))
    if options.profile:
        profile(crowd, options.ticks)
    return {
        "listeners": count,
        **{f"tick_p{percent}_ms": round(float(np.percentile(took_ms, percent)), 2) for percent in (50, 99)},
        "us_a_stream": round(float(np.median(took_ms)) * 1e3 / count, 1),
        "parts_ms": {part: round(spans.seconds[part] * 1e3 / options.ticks, 2) for part in PARTS},
        "others_cores": round(others, 2),
    }


def profile(crowd: Crowd, ticks: int) -> None:
    """Prints where the time goes by function."""
    with cProfile.Profile(time.thread_time) as found:
        list(crowd.ticks(ticks))
    pstats.Stats(found).sort_stats("tottime").print_stats(45)


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    rows = [measure(count, options) for count in options.listeners]
    path = report.result_path(options.name, "host")
    report.write(path, rows, {"context_s": options.context_s, "ticks": options.ticks, "parts": PARTS})
    report.print_table("The host's part of a tick of 100 ms", COLUMNS, rows)
    parts = [{"part": part, "what": what} | _by_count(rows, part) for part, what in PARTS.items()]
    counts = {str(count): f"{count}: ms a tick" for count in options.listeners}
    report.print_table("By part, mean", {"part": "part", "what": ""} | counts, parts)
    print(f"wrote {path}")


def _by_count(rows: list[dict[str, Any]], part: str) -> dict[str, float]:
    return {str(row["listeners"]): row["parts_ms"][part] for row in rows}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host", description=__doc__)
    parser.add_argument("--listeners", type=positive, nargs="+", default=[64, 192])
    parser.add_argument("--ticks", type=positive, default=100, help="that are measured")
    parser.add_argument("--context-s", type=float, default=5.0, help="as in `cuestream bench gpu`")
    parser.add_argument("--profile", action="store_true", help="print where the time goes, by function")
    add_patience_option(parser)
    add_name_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
