"""`cuestream tune`: which number of threads plays a model fastest on this machine, by playing it.

Every way is tried in turn, some times over, in rotating order: a machine that others use changes its speed meanwhile.
Nobody waits for a quiet moment: each way would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from cuestream.bench import bench
from engine.threads import Threads, cores

ALIKE = 1.03
"""Ways whose real-time factor is so near to the best are told apart by how steady their steps are."""
MOST_THREADS = 32


@dataclass(frozen=True, slots=True)
class Tried:
    """Medians over the rounds."""

    threads: Threads
    real_time_factor: float
    p99_over_p50: float


def ways() -> Iterator[Threads]:
    """One thread, powers of two, all cores; each left to the system, and each on a core of its own."""
    most = min(len(cores()), MOST_THREADS)
    counts = sorted({most, *(1 << n for n in range(most.bit_length()) if 1 << n <= most)})
    for count in counts:
        yield Threads(count)
        if count > 1:
            yield Threads(count, pinned=True)


def try_all(
    folder: Path, seconds: float, rounds: int, say: Callable[[str], object] = lambda _: None
) -> list[Tried]:
    """Every way, the best one first. Raises what `bench` raises."""
    found: dict[Threads, list[tuple[float, float]]] = {threads: [] for threads in ways()}
    order = list(found)
    for turn in range(rounds):
        first = turn % len(order)
        for threads in order[first:] + order[:first]:
            say(f"round {turn + 1} of {rounds}, threads: {threads}")
            one = bench(folder, seconds, threads, patience_s=0.0)
            found[threads].append((one.real_time_factor, one.p99_over_p50))
    return ranked([Tried(threads, *map(median, zip(*rows, strict=True))) for threads, rows in found.items()])


def ranked(tried: list[Tried]) -> list[Tried]:
    best = min(one.real_time_factor for one in tried)
    return sorted(
        tried,
        key=lambda one: (
            (0, one.p99_over_p50) if one.real_time_factor <= ALIKE * best else (1, one.real_time_factor)
        ),
    )
