"""Measuring on a machine that others use too: timing, how busy they keep it, what it is, and how fast it reads memory.

Nothing here names a host or a path of the machine.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimddp", "i8mm", "bf16", "sve")
"""The flags that decide which kernels a runtime takes."""
PACKAGES = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "torch", "transformers", "onnx"),
    *("av", "uvicorn", "starlette", "websockets", "aiortc"),
)
"""Whose versions stand beside a figure, where they are there: of the engine, then of the server."""
WARM_UP = 3
ATTEMPTS = 3
"""How often a measurement is begun again because others were busy."""
QUIET_CORES = 0.15
"""Other programs may use this much: beyond it, threads that wait for each other make 100 ms of 1 ms."""
PROBE_BYTES = 1 << 30
"""Far above any last-level cache, so that the probe reads memory."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that each repeat took."""

    seconds: tuple[float, ...]
    others: float
    """Cores that other processes used meanwhile, on average; above 0.1 the figures are not its own."""
    load: float
    """Load average over one minute, at the end."""

    def ms(self, percent: float) -> float:
        return float(np.percentile(self.seconds, percent)) * 1e3

    @property
    def median_s(self) -> float:
        return self.ms(50) / 1e3

    def row(self) -> dict[str, float]:
        return {
            "best_ms": round(min(self.seconds) * 1e3, 3),
            **{f"p{percent}_ms": round(self.ms(percent), 3) for percent in (50, 95, 99)},
            "repeats": len(self.seconds),
            "others_cores": round(self.others, 2),
            "load_1min": round(self.load, 2),
        }


def measure(call: Callable[[int], object], repeats: int, warm_up: int = WARM_UP) -> Timing:
    """Time `call(i)` for i from 0 on; the first `warm_up` calls count for nothing."""
    for i in range(warm_up):
        call(i)
    seconds = []
    start = Usage.now()
    for i in range(warm_up, warm_up + repeats):
        began = time.perf_counter()
        call(i)
        seconds.append(time.perf_counter() - began)
    return Timing(tuple(seconds), start.others_until(Usage.now()), _load()[0])


def measure_quietly(attempt: Callable[[], Timing], patience_s: float) -> Timing:
    """The quietest of a few attempts, the first quiet one if any is; each waits for its moment."""
    timings: list[Timing] = []
    while len(timings) < ATTEMPTS:
        wait_for_quiet(patience_s)
        timings.append(attempt())
        if timings[-1].others <= QUIET_CORES:
            break
    return min(timings, key=lambda timing: timing.others)


def wait_for_quiet(patience_s: float) -> bool:
    """Whether others left the machine alone for half a second, before patience ended."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        start = Usage.now()
        time.sleep(0.5)
        if start.others_until(Usage.now()) <= QUIET_CORES:
            return True
    return False


@dataclass(frozen=True, slots=True)
class Usage:
    """Clock, CPU seconds of the whole machine, and CPU seconds of this process."""

    clock: float
    machine: float
    own: float

    @classmethod
    def now(cls) -> Usage:
        return cls(time.monotonic(), _busy_seconds(), time.process_time())

    def others_until(self, end: Usage) -> float:
        busy = (end.machine - self.machine) - (end.own - self.own)
        return max(0.0, busy / max(end.clock - self.clock, 1e-9))


def _busy_seconds() -> float:
    """CPU seconds that all processes used since the boot; 0 where there is no /proc."""
    stat = _read("/proc/stat")
    if not (stat and hasattr(os, "sysconf")):
        return 0.0
    fields = [int(x) for x in stat.split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _wait, interrupt, soft, steal = fields[:8]
    return (user + nice + system + interrupt + soft + steal) / os.sysconf("SC_CLK_TCK")


def _load() -> tuple[float, ...]:
    """Over 1, 5 and 15 minutes; zeros where the system does not say."""
    return os.getloadavg() if hasattr(os, "getloadavg") else (0.0, 0.0, 0.0)


def _memory_gib() -> float:
    """0 where the system does not say."""
    if not hasattr(os, "sysconf"):
        return 0.0
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, without its name."""

    cpu: str
    cores: int
    flags: tuple[str, ...]
    memory_gib: float
    huge_pages: str
    system: str
    python: str
    packages: dict[str, str]
    load: tuple[float, ...]

    @classmethod
    def this(cls) -> Machine:
        info = _read("/proc/cpuinfo")
        known = (_line(info, "flags") or _line(info, "Features")).split()
        return cls(
            cpu=_line(info, "model name") or platform.processor() or platform.machine(),
            cores=os.cpu_count() or 1,
            flags=tuple(flag for flag in CPU_FLAGS if flag in known),
            memory_gib=_memory_gib(),
            huge_pages=_read("/sys/kernel/mm/transparent_hugepage/enabled").strip(),
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            packages={name: version for name in PACKAGES if (version := _version(name))},
            load=tuple(round(x, 2) for x in _load()),
        )

    def __str__(self) -> str:
        packages = ", ".join(f"{k} {v}" for k, v in self.packages.items())
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gib} GiB, {' '.join(self.flags)}; "
            f"python {self.python}, {packages}; load {self.load[0]}"
        )


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text("utf-8") if file.is_file() else ""


def _line(text: str, key: str) -> str:
    """The value of the first `key : value` line."""
    pairs = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for name, _, value in pairs if name.strip() == key), "")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """One GiB of float32 read by threads: `numpy.max`, or `numpy.dot` with itself, whichever is faster."""

    best_gb_s: float
    median_gb_s: float
    threads: int


def read_bandwidth(threads: int, repeats: int = 8, patience_s: float = 30.0) -> Bandwidth:
    """The roof of what reads each weight once. numpy asks for huge pages; not all programs do.

    patience_s: how long others may keep it waiting for a quiet moment.
    """
    wait_for_quiet(patience_s)
    parts = np.array_split(np.ones(PROBE_BYTES // 4, np.float32), threads)
    reads: tuple[Callable[[Any], Any], ...] = (np.max, lambda part: np.dot(part, part))
    with ThreadPoolExecutor(threads) as pool:
        timings = [measure(lambda _, f=read: [*pool.map(f, parts)], repeats, 1) for read in reads]  # type: ignore[misc]
    fastest = min(timings, key=lambda t: min(t.seconds))
    best, median = (round(PROBE_BYTES / s / 1e9, 1) for s in (min(fastest.seconds), fastest.median_s))
    return Bandwidth(best, median, threads)
