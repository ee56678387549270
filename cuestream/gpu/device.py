"""The device itself: its name and driver, what it copies in a second, what it draws. Without a GPU it is the host."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

COPIED = {"cuda": 2 << 30, "cpu": 256 << 20}
"""Bytes of the copy: far above any last-level cache."""
WARM_UP_S = 0.5
"""Of matrix products, until the clocks are where they stay."""
REPEATS = 8
PACKAGES = ("torch", "triton", "transformers", "numpy")


@dataclass(frozen=True, slots=True)
class Device:
    name: str
    capability: str
    memory_gb: float
    driver: str
    cuda: str | None
    copy_gb_s: float
    """Bytes read and written by a copy on the device, in a second."""
    versions: dict[str, str]

    def __str__(self) -> str:
        known = f" ({self.capability}), {self.memory_gb:g} GB, driver {self.driver}, CUDA {self.cuda}"
        of = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.name}{known if self.capability else ''}; a copy moves {self.copy_gb_s:g} GB/s; {of}"


def describe(device: torch.device) -> Device:
    versions = {name: version(name) for name in PACKAGES}
    copy_gb_s = round(copy_bandwidth(device) / 1e9, 1)
    if device.type != "cuda":
        return Device(str(device), "", 0.0, "none", None, copy_gb_s, versions)
    about = torch.cuda.get_device_properties(device)
    return Device(
        name=about.name,
        capability=f"{about.major}.{about.minor}",
        memory_gb=round(about.total_memory / 1e9, 1),
        driver=driver(),
        cuda=torch.version.cuda,
        copy_gb_s=copy_gb_s,
        versions=versions,
    )


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, once the clocks are up; the median of a few."""
    copied = COPIED[device.type]
    source = torch.randint(0, 255, (copied,), dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    _warm_up(device)
    seconds = sorted(timed(device, lambda: target.copy_(source)) for _ in range(REPEATS))
    return 2 * copied / seconds[REPEATS // 2]


def free_gb(device: torch.device) -> float | None:
    """Memory that nobody has taken; None where the device does not say."""
    return torch.cuda.mem_get_info(device)[0] / 1e9 if device.type == "cuda" else None


def _warm_up(device: torch.device) -> None:
    if device.type != "cuda":
        return
    square = torch.randn(4096, 4096, device=device, dtype=torch.float16)
    until_s = time.monotonic() + WARM_UP_S
    while time.monotonic() < until_s:
        square @ square
        torch.cuda.synchronize(device)


def timed(device: torch.device, call: Any) -> float:
    """Seconds, on a GPU by its own events."""
    if device.type != "cuda":
        began = time.perf_counter()
        call()
        return time.perf_counter() - began
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def driver() -> str:
    """One for all devices."""
    said = _asked("driver_version")
    return said.splitlines()[0] if said else "unknown"


def power_w(device: torch.device) -> float | None:
    """What the device draws now; None where the driver does not say, and where MIG divides it: it says nothing of the parts."""
    uuid = torch.cuda.get_device_properties(device).uuid  # its number may be another one to nvidia-smi
    said = _asked("mig.mode.current,power.draw", f"--id=GPU-{uuid}") or ""
    mig, _, draws = said.partition(", ")
    try:
        return None if mig == "Enabled" else float(draws)
    except ValueError:
        return None


def _asked(what: str, *which: str) -> str | None:
    """What nvidia-smi says, a line for each device."""
    query = ("nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits", *which)
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True, encoding="utf-8")
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
