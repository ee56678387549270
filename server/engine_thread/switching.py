"""How long a thread keeps its core while another one waits for it: the server's take short turns.

What a chunk waited for beyond its own work was the core, some ms behind the engine's thread or another program's. Linux since
6.12 lets a thread say how long its turns are. It gets neither more time by it nor less, and needs no privilege.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

TURN_NS = 100_000
"""The shortest that Linux knows; 2.8 ms by default, with two cores."""
SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274}
"""Numbers of the system call `sched_setattr`; the C library has no name for it."""
ATTRIBUTES = struct.Struct("=IIQiIQQQII")
"""size, policy, flags, nice, priority, runtime, deadline, period, and the two limits of utilisation. Source: sched_setattr(2)."""


def take_short_turns() -> bool:
    """Of the thread that calls, and of threads and processes that it starts later. Whether the kernel knows of it."""
    number = SET_ATTRIBUTES.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = ATTRIBUTES.pack(ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, TURN_NS, 0, 0, 0, 0)
    return ctypes.CDLL(None).syscall(number, 0, attributes, 0) == 0
