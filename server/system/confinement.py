"""What the operating system holds a process to that reads what strangers wrote."""

from __future__ import annotations

import sys

FILES = 64


def confine(memory_bytes: int, writes: bool = False) -> None:
    """From now on: so much memory, no core dump, few files open, and none written to unless it `writes`.

    Less of anything where that is all that we have. macOS does not hold a process to its memory; Windows holds it to memory
    alone, and ends what it started with it.
    """
    if sys.platform == "win32":
        from server.system.windows import enter_job

        enter_job(memory_bytes)
        return
    import resource

    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: FILES}
    if not writes:
        limits[resource.RLIMIT_FSIZE] = 0
    if sys.platform != "darwin":
        limits[resource.RLIMIT_AS] = memory_bytes
    for what, most in limits.items():
        ours = resource.getrlimit(what)[1]
        allowed = most if ours == resource.RLIM_INFINITY else min(most, ours)
        resource.setrlimit(what, (allowed, allowed))
