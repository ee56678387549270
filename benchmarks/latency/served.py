"""The server under test, as a process of its own, and what it says of itself."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import IO

from prometheus_client.parser import text_string_to_metric_families

from engine.errors import CuestreamError

READY_S, LEAVE_S = 120.0, 20.0
LOOP, DECODERS = "event loop", "decoders"
HOST_ONLY, HOST_PACED = "host-only", "host-paced"
"""Models of `benchmarks.latency.host_only`, whose device does nothing."""
OVERHEAD, ENCODE, LAG = (
    "cuestream_chunk_overhead_seconds",
    "cuestream_chunk_encode_seconds",
    "cuestream_loop_lag_seconds",
)


@dataclass(frozen=True, slots=True)
class Spent:
    """cpu_s: of a processor. waited_s: ready to run, while others had them all."""

    cpu_s: float = 0.0
    waited_s: float = 0.0

    def since(self, before: Spent) -> Spent:
        return Spent(self.cpu_s - before.cpu_s, self.waited_s - before.waited_s)


@dataclass(frozen=True, slots=True)
class Seen:
    """Of the server and the processes that it started. buckets: of each histogram, how many were at most so long, in seconds.

    rss_mb: the most that each ever had, together. parts: of the event loop, of each other thread by its number, and of the
    processes that decode."""

    at_s: float
    cpu_s: float
    rss_mb: float
    buckets: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    parts: Mapping[str, Spent] = field(default_factory=dict)

    def since(self, before: Seen) -> Seen:
        buckets = {
            name: {bound: count - before.buckets.get(name, {}).get(bound, 0) for bound, count in rows.items()}
            for name, rows in self.buckets.items()
        }
        parts = {name: spent.since(before.parts.get(name, Spent())) for name, spent in self.parts.items()}
        return Seen(self.at_s - before.at_s, self.cpu_s - before.cpu_s, self.rss_mb, buckets, parts)

    def by_part(self) -> dict[str, dict[str, float]]:
        """Cores that each used, and how long it waited for one. The engine's thread is the busiest beside the event loop's."""
        threads = (spent for name, spent in self.parts.items() if name not in (LOOP, DECODERS))
        engine = max(threads, default=Spent(), key=lambda spent: spent.cpu_s)
        named = (
            {LOOP: self.parts[LOOP], "engine": engine, DECODERS: self.parts[DECODERS]} if self.parts else {}
        )
        return {
            name: {"cores": round(spent.cpu_s / self.at_s, 3), "waited": round(spent.waited_s / self.at_s, 3)}
            for name, spent in named.items()
        }

    def ms(self, name: str, share: float) -> float | None:
        """The bound of the bucket that holds this share, None when nothing was measured; infinite beyond the last."""
        rows = sorted(self.buckets.get(name, {}).items())
        if not rows or not rows[-1][1]:
            return None
        return next(bound for bound, count in rows if count >= share * rows[-1][1]) * 1e3


@dataclass(frozen=True, slots=True)
class Served:
    process: subprocess.Popen[str]
    address: str

    @property
    def url(self) -> str:
        return f"ws{self.address.removeprefix('http')}v1/stream"

    def look(self) -> Seen:
        with urllib.request.urlopen(f"{self.address}metrics", timeout=10) as answer:
            page = answer.read().decode()
        buckets: dict[str, dict[float, float]] = {}
        for family in text_string_to_metric_families(page):
            if family.name in (OVERHEAD, ENCODE, LAG):
                rows = (s for s in family.samples if s.name.endswith("_bucket"))
                buckets[family.name] = {float(sample.labels["le"]): sample.value for sample in rows}
        pids = [self.process.pid, *children(self.process.pid)]
        used, peak = sum(map(cpu_s, pids)), sum(map(peak_mb, pids))
        return Seen(time.monotonic(), used, peak, buckets, parts(*pids))


@contextlib.contextmanager
def serving(model: str, sessions: int, threads: int, chunk_ms: int, *more: str) -> Iterator[Served]:
    """more: other options. Raises CuestreamError, with what it said, when it does not start."""
    program = "benchmarks.latency.host_only" if model in (HOST_ONLY, HOST_PACED) else "cuestream"
    command = [sys.executable, "-m", program, "serve", "--model", model, "--port", "0", "--drain", "0"]
    command += [
        "--max-sessions",
        str(sessions),
        "--threads",
        str(threads),
        "--chunk-ms",
        str(chunk_ms),
        *more,
    ]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True, encoding="utf-8") as process:
        try:
            yield Served(process, _address(process))
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(LEAVE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"http://[^/]+/", line):
            Thread(target=_read_on, args=(process.stderr,), daemon=True).start()
            return found[0]
    raise CuestreamError(f"the server did not start: {''.join(said)}")


def _read_on(pipe: IO[str]) -> None:
    """So that a server that has much to say is not held up."""
    with contextlib.suppress(ValueError):  # closed
        for line in pipe:
            print(line, end="", file=sys.stderr)


def children(pid: int) -> list[int]:
    """The processes that it started; none where there is no /proc."""
    said = (path.read_text("utf-8") for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for children in said for child in children.split()]


def parts(pid: int, *others: int) -> dict[str, Spent]:
    """Of a server's threads, and of its processes together; none where there is no /proc."""
    threads = {path.name: spent(path) for path in Path(f"/proc/{pid}/task").glob("*")}
    if not threads:
        return {}
    tasks = [spent(path) for other in others for path in Path(f"/proc/{other}/task").glob("*")]
    decoders = Spent(sum(each.cpu_s for each in tasks), sum(each.waited_s for each in tasks))
    return {LOOP: threads.pop(f"{pid}"), **threads, DECODERS: decoders}


def spent(task: Path) -> Spent:
    """By a thread; nothing by one that has ended. Source: proc_pid_schedstat(5), nanoseconds."""
    with contextlib.suppress(OSError):
        cpu, waited, _ = map(int, (task / "schedstat").read_text("utf-8").split())
        return Spent(cpu / 1e9, waited / 1e9)
    return Spent()


def cpu_s(pid: int) -> float:
    """User and system time of a process and its threads; 0 where there is no /proc."""
    path = Path(f"/proc/{pid}/stat")
    if not path.is_file():
        return 0.0
    fields = path.read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    path = Path(f"/proc/{pid}/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", path.read_text("utf-8")) if path.is_file() else None
    return int(found[1]) / 1024 if found else 0.0
