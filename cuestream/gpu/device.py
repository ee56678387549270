"""The device itself: its name and driver, what it copies in a second, what it draws."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch

COPIED = 2 << 30
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


def describe(device: torch.device) -> Device:
    versions = {name: version(name) for name in PACKAGES}
    if device.type != "cuda":
        return Device(str(device), "", 0.0, "none", None, 1.0, versions)
    about = torch.cuda.get_device_properties(device)
    return Device(
        name=about.name,
        capability=f"{about.major}.{about.minor}",
        memory_gb=round(about.total_memory / 1e9, 1),
        driver=asked("driver_version") or "unknown",
        cuda=torch.version.cuda,
        copy_gb_s=round(copy_bandwidth(device) / 1e9, 1),
        versions=versions,
    )


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, once the clocks are up; the median of a few."""
    _warm_up(device)
    source = torch.randint(0, 255, (COPIED,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = sorted(timed(lambda: target.copy_(source)) for _ in range(REPEATS))
    return 2 * COPIED / seconds[REPEATS // 2]


def free_gb(device: torch.device) -> float | None:
    """Memory that nobody has taken; None where the device does not say."""
    return torch.cuda.mem_get_info(device)[0] / 1e9 if device.type == "cuda" else None


def _warm_up(device: torch.device) -> None:
    square = torch.randn(4096, 4096, device=device, dtype=torch.float16)
    until_s = time.monotonic() + WARM_UP_S
    while time.monotonic() < until_s:
        square @ square
        torch.cuda.synchronize(device)


def timed(call: Any) -> float:
    """Seconds on the device, by its own events."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def power_w() -> float | None:
    """What the device draws now; None where the driver does not say."""
    try:
        return float(asked("power.draw") or "")
    except ValueError:
        return None


def asked(what: str) -> str | None:
    """What nvidia-smi says of the first device."""
    query = ("nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits", "--id=0")
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True, encoding="utf-8")
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
