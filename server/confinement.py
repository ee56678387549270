"""What the operating system holds a process to that reads what strangers wrote."""

from __future__ import annotations

import resource

FILES = 64


def confine(memory_bytes: int, cpu_s: int | None = None) -> None:
    """From now on: so much memory, no file written, no core dump, few files open; and so much time in all, if it is given."""
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: FILES,
    }
    if cpu_s is not None:
        limits[resource.RLIMIT_CPU] = cpu_s
    for what, most in limits.items():
        resource.setrlimit(what, (most, most))
